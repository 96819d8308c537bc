/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/image_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Looked at in one go; a cache never holds so many but by accident. */
#define ENTRIES_MAX 4096u
#define NAME_BYTES  80u

struct entry {
    char name[NAME_BYTES];
    uint64_t used_ns;
    uint64_t bytes;
};

struct listing {
    uint32_t count;
    uint64_t bytes; /* of all images, in use or not */
    struct entry entries[ENTRIES_MAX];
};

void image_cache_touch(const char *path)
{
    (void)utimensat(AT_FDCWD, path, NULL, 0);
}

static bool is_image(const char *name)
{
    const char *suffix = strrchr(name, '.');
    return suffix != NULL && strcmp(suffix, ".erofs") == 0 && strlen(name) < NAME_BYTES;
}

static void look_at(int folder_fd, const char *name, struct listing *listing)
{
    struct stat info;
    if (!is_image(name) || fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(info.st_mode)) {
        return;
    }
    listing->bytes += (uint64_t)info.st_size;
    if (info.st_nlink == 1 && listing->count < ENTRIES_MAX) {
        struct entry *entry = &listing->entries[listing->count++];
        (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
        entry->bytes = (uint64_t)info.st_size;
        entry->used_ns =
            (uint64_t)info.st_mtim.tv_sec * 1000000000ull + (uint64_t)info.st_mtim.tv_nsec;
    }
}

static int by_use(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

uint32_t image_cache_prune(const char *folder, uint64_t bytes_max)
{
    uint32_t gone = 0;
    DIR *directory = opendir(folder);
    struct listing *listing = calloc(1, sizeof(*listing));
    if (directory == NULL || listing == NULL) {
        goto out;
    }
    const struct dirent *item;
    while ((item = readdir(directory)) != NULL) {
        look_at(dirfd(directory), item->d_name, listing);
    }
    qsort(listing->entries, listing->count, sizeof(listing->entries[0]), by_use);
    for (uint32_t i = 0; i < listing->count && listing->bytes > bytes_max; i++) {
        if (unlinkat(dirfd(directory), listing->entries[i].name, 0) == 0) {
            listing->bytes -= listing->entries[i].bytes;
            gone++;
        }
    }
out:
    if (directory != NULL) {
        (void)closedir(directory);
    }
    free(listing);
    return gone;
}
