/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/image.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "computenode/agent/elf_deps.h"
#include "computenode/agent/image_cache.h"
#include "computenode/agent/image_stage.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define MANIFEST_BYTES_MAX 4096u
#define LINK_TRIES         3u

static int fail(struct image_result *ret, int error, const char *what, const char *name)
{
    (void)snprintf(ret->error, sizeof(ret->error), "%s%s", what, name);
    return error;
}

static int plan_program(struct image_plan *plan, const struct image_request *request,
                        struct image_result *ret)
{
    int r = elf_deps_find_program(request->program, getenv("PATH"), ret->program);
    if (r == -EINVAL) {
        return fail(ret, r, "give the program as an absolute path or by name, not as ",
                    request->program);
    }
    if (r < 0) {
        return fail(ret, r, "there is no such program on the agent's host: ", request->program);
    }
    struct elf_deps *deps = elf_deps_collect(ret->program, ret->error);
    if (deps == NULL) {
        return -EINVAL;
    }
    r = 0;
    for (uint32_t i = 0; i < deps->count && r == 0; i++) {
        r = image_plan_mirror(plan, deps->paths[i]);
    }
    if (r == 0 && deps->needs_cache) {
        r = image_plan_mirror(plan, "/etc/ld.so.cache");
    }
    free(deps);
    return r < 0 ? fail(ret, r, image_plan_error(plan), "") : 0;
}

/* What every program may expect of a root file system. */
static int plan_base(struct image_plan *plan)
{
    static const struct {
        const char *path;
        uint32_t mode;
    } folders[] = {{"/tmp", 01777}, {"/proc", 0555}, {"/dev", 0755},     {"/sys", 0555},
                   {"/run", 0755},  {"/etc", 0755},  {"/var/tmp", 01777}};
    static const struct {
        const char *path;
        const char *text;
    } texts[] = {
        {"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
        {"/etc/group", "root:x:0:\nnogroup:x:65534:\n"},
        {"/etc/hosts", "127.0.0.1 localhost dilos\n::1 localhost\n"},
        {"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(folders) && r == 0; i++) {
        r = image_plan_folder(plan, folders[i].path, folders[i].mode);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts) && r == 0; i++) {
        r = image_plan_text(plan, texts[i].path, texts[i].text);
    }
    if (r == 0 && access("/etc/localtime", R_OK) == 0) {
        r = image_plan_mirror(plan, "/etc/localtime");
    }
    return r;
}

static int plan_all(struct image_plan *plan, const struct image_request *request,
                    struct image_result *ret)
{
    int r = plan_program(plan, request, ret);
    if (r < 0) {
        return r;
    }
    for (uint32_t i = 0; i < request->file_count && r == 0; i++) {
        const struct image_file *file = &request->files[i];
        r = image_plan_put(plan, file->host_path,
                           file->guest_path[0] == '\0' ? file->host_path : file->guest_path);
    }
    r = r < 0 ? r : plan_base(plan);
    return r < 0 ? fail(ret, r, image_plan_error(plan), "") : 0;
}

static int image_size(struct image_result *ret)
{
    struct stat info;
    if (stat(ret->path, &info) < 0) {
        return fail(ret, -errno, "the image is gone: ", ret->path);
    }
    ret->bytes = (uint64_t)info.st_size;
    return 0;
}

static int make_folder(const char *folder, struct image_result *ret)
{
    int r = sys_make_folders(folder);
    return r < 0 ? fail(ret, r, "a folder can't be made: ", folder) : 0;
}

/* Gives the image its further name. A file system apart from the images' can't: then it has none.
 */
static int image_link(const struct image_request *request, struct image_result *ret)
{
    if (request->link == NULL) {
        return 0;
    }
    (void)unlink(request->link);
    if (link(ret->path, request->link) < 0) {
        return errno == EXDEV || errno == EPERM
                   ? 0
                   : fail(ret, -errno, "the image can't be linked to ", request->link);
    }
    (void)snprintf(ret->path, sizeof(ret->path), "%s", request->link);
    return 0;
}

/* Finds the image of the same inputs, or makes it. */
static int make_cached(const struct image_request *request, struct image_result *ret)
{
    struct image_plan *plan;
    char folder[IMAGE_PATH_BYTES];
    char hash[IMAGE_HASH_BYTES];
    int r = image_plan_open(&plan);
    if (r < 0) {
        return fail(ret, r, "out of memory", "");
    }
    r = plan_all(plan, request, ret);
    if (r == 0) {
        (void)snprintf(folder, sizeof(folder), "%s/cache", request->folder);
        image_plan_hash(plan, hash);
        int length = snprintf(ret->path, sizeof(ret->path), "%s/%s.erofs", folder, hash);
        ret->entry_count = image_plan_count(plan);
        r = length < 0 || (unsigned)length >= sizeof(ret->path)
                ? fail(ret, -ENAMETOOLONG, "the state folder's path is too long", "")
                : make_folder(folder, ret);
    }
    for (uint32_t i = 0; r == 0; i++) {
        if (access(ret->path, R_OK) < 0) {
            r = image_stage_make(plan, ret->path, ret->error);
        }
        image_cache_touch(ret->path);
        r = r < 0 ? r : image_link(request, ret);
        if (r != -ENOENT || i == LINK_TRIES) {
            break;
        }
        r = 0; /* pruned by another launch just now */
    }
    plan = image_plan_close(plan);
    r = r < 0 ? r : image_size(ret);
    bool kept = request->link == NULL || strcmp(ret->path, request->link) == 0;
    if (r == 0 && kept) {
        (void)image_cache_prune(folder, request->cache_bytes);
    }
    return r;
}

static int manifest_read(const char *folder, const char *name, struct image_info *ret)
{
    char path[2 * IMAGE_PATH_BYTES];
    char *text;
    size_t bytes;
    (void)snprintf(path, sizeof(path), "%s/%s.txt", folder, name);
    int r = sys_read_file(path, MANIFEST_BYTES_MAX, &text, &bytes);
    if (r < 0) {
        return r;
    }
    unsigned long long size = 0;
    unsigned long long created = 0;
    unsigned count = 0;
    memset(ret, 0, sizeof(*ret));
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    r = sscanf(text, "bytes %llu\nentries %u\ncreated_ns %llu\nprogram %1023[^\n]", &size, &count,
               &created, ret->program) == 4
            ? 0
            : -EBADMSG;
    ret->bytes = size;
    ret->entry_count = count;
    ret->created_ns = created;
    free(text);
    return r;
}

static int manifest_write(const struct image_request *request, const struct image_result *result)
{
    char path[2 * IMAGE_PATH_BYTES];
    char text[MANIFEST_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s.txt", request->folder, request->name);
    int length =
        snprintf(text, sizeof(text), "bytes %llu\nentries %u\ncreated_ns %llu\nprogram %s\n",
                 (unsigned long long)result->bytes, result->entry_count,
                 (unsigned long long)sys_realtime_ns(), result->program);
    return sys_write_file(path, text, (size_t)length);
}

/* The image that was built under that name; its program may be called by name or path. */
static int use_named(const struct image_request *request, struct image_result *ret)
{
    struct image_info info;
    if (!text_is_name(request->name)) {
        return fail(ret, -EINVAL, "not a name of an image: ", request->name);
    }
    if (manifest_read(request->folder, request->name, &info) < 0) {
        return fail(ret, -ENOENT,
                    "this agent has no image of that name (dilosctl image list): ", request->name);
    }
    if (request->file_count > 0) {
        return fail(ret, -EINVAL,
                    "files can't be added to an image that is built: leave out --file, or --image ",
                    request->name);
    }
    const char *base = strrchr(info.program, '/');
    bool by_name = strcmp(request->program, base == NULL ? info.program : base + 1) == 0;
    if (!by_name && request->program[0] != '\0' && request->program[0] != '/') {
        return fail(ret, -EINVAL, "the program of that image is ", info.program);
    }
    bool own = by_name || request->program[0] == '\0';
    (void)snprintf(ret->program, sizeof(ret->program), "%s", own ? info.program : request->program);
    (void)snprintf(ret->path, sizeof(ret->path), "%s/%s.erofs", request->folder, request->name);
    ret->entry_count = info.entry_count;
    int r = image_link(request, ret);
    return r < 0 ? r : image_size(ret);
}

int image_prepare(const struct image_request *request, struct image_result *ret)
{
    memset(ret, 0, sizeof(*ret));
    return request->name[0] != '\0' ? use_named(request, ret) : make_cached(request, ret);
}

int image_build(const struct image_request *request, struct image_result *ret)
{
    char path[2 * IMAGE_PATH_BYTES];
    memset(ret, 0, sizeof(*ret));
    if (!text_is_name(request->name)) {
        return fail(ret, -EINVAL, "an image's name has to be [a-z0-9][a-z0-9-]*, not ",
                    request->name);
    }
    struct image_request named = *request;
    (void)snprintf(path, sizeof(path), "%s/%s.erofs", request->folder, request->name);
    named.link = path;
    int r = make_cached(&named, ret);
    if (r < 0) {
        return r;
    }
    r = manifest_write(request, ret);
    return r < 0 ? fail(ret, r, "the manifest can't be written: ", strerror(-r)) : 0;
}

int image_list(const char *folder, struct image_info **ret)
{
    struct image_info *list = calloc(IMAGE_NAMED_MAX, sizeof(*list));
    struct dirent **names;
    if (list == NULL) {
        return -ENOMEM;
    }
    int count = scandir(folder, &names, NULL, alphasort);
    int found = 0;
    for (int i = 0; i < count; i++) {
        char *suffix = strrchr(names[i]->d_name, '.');
        if (suffix != NULL && strcmp(suffix, ".txt") == 0 && found < (int)IMAGE_NAMED_MAX) {
            *suffix = '\0';
            found += manifest_read(folder, names[i]->d_name, &list[found]) == 0 ? 1 : 0;
        }
        free(names[i]);
    }
    if (count >= 0) {
        free(names);
    }
    *ret = list;
    return found;
}
