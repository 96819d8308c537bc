/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"

/* Appends the parts of `path` to the `length` bytes at `to`; returns the new length. */
static size_t append_parts(char *to, size_t length, const char *path)
{
    while (*path != '\0') {
        size_t part = strcspn(path, "/");
        if (part == 2 && memcmp(path, "..", 2) == 0) {
            while (length > 0 && to[--length] != '/') {
            }
        } else if (part > 0 && !(part == 1 && path[0] == '.')) {
            to[length++] = '/';
            memcpy(to + length, path, part);
            length += part;
        }
        path += part;
        path += strspn(path, "/");
    }
    return length;
}

char *files_absolute(const char *base, const char *path)
{
    char *to = malloc(strlen(base) + strlen(path) + 3);
    CHECK(to != NULL);
    size_t length = path[0] == '/' ? 0 : append_parts(to, 0, base);
    length = append_parts(to, length, path);
    if (length == 0) {
        to[length++] = '/';
    }
    to[length] = '\0';
    return to;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Returns an exit code. */
static int parse_one(const char *item, const char *here, const char *directory,
                     Dilos__FileSpec *ret)
{
    const char *colon = strchr(item, ':');
    size_t host_length = colon == NULL ? strlen(item) : (size_t)(colon - item);
    if (host_length == 0 || (colon != NULL && colon[1] == '\0')) {
        return cli_fail(EXIT_USAGE, NULL, "--file %s: wanted HOST or HOST:GUEST", item);
    }
    char *host = strndup(item, host_length);
    CHECK(host != NULL);
    ret->host_path = files_absolute(here, host);
    if (colon != NULL) {
        ret->guest_path = files_absolute(directory, colon + 1);
    } else if (host[0] == '/') {
        ret->guest_path = files_absolute("/", host);
    } else {
        ret->guest_path = files_absolute(directory, last_part(ret->host_path));
    }
    free(host);
    return EXIT_DONE;
}

int files_parse(const struct args_list *list, const char *directory, Dilos__FileSpec ***ret_files,
                size_t *ret_count)
{
    *ret_files = calloc(list->count + 1u, sizeof(**ret_files));
    CHECK(*ret_files != NULL);
    *ret_count = 0;
    char *here = getcwd(NULL, 0);
    if (here == NULL) {
        return cli_fail(EXIT_FAILED, "change to a folder that exists",
                        "the working directory is gone");
    }
    int exit_code = EXIT_DONE;
    for (uint32_t i = 0; i < list->count && exit_code == EXIT_DONE; i++) {
        Dilos__FileSpec *file = malloc(sizeof(*file));
        CHECK(file != NULL);
        dilos__file_spec__init(file);
        (*ret_files)[(*ret_count)++] = file;
        exit_code = parse_one(list->items[i], here, directory, file);
    }
    free(here);
    return exit_code;
}

void files_free(Dilos__FileSpec **files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dilos__file_spec__free_unpacked(files[i], NULL);
    }
    free(files);
}
