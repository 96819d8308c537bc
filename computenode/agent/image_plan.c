/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/image_plan.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/check.h"

#define LINKS_MAX   40u
#define SLOTS       (IMAGE_ENTRIES_MAX * 2)
#define FOLDER_MODE 0755u

struct image_plan {
    uint32_t count;
    struct image_entry *entries; /* IMAGE_ENTRIES_MAX */
    uint32_t *slots;             /* by guest path: index + 1, or 0 */
    char error[IMAGE_ERROR_BYTES];
};

static int fail(struct image_plan *plan, int error, const char *format, ...) PRINTF_LIKE(3, 4);

static int fail(struct image_plan *plan, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(plan->error, sizeof(plan->error), format, arguments);
    va_end(arguments);
    return error;
}

int image_plan_open(struct image_plan **ret)
{
    struct image_plan *plan = calloc(1, sizeof(*plan));
    if (plan == NULL) {
        return -ENOMEM;
    }
    plan->entries = calloc(IMAGE_ENTRIES_MAX, sizeof(*plan->entries));
    plan->slots = calloc(SLOTS, sizeof(*plan->slots));
    if (plan->entries == NULL || plan->slots == NULL) {
        (void)image_plan_close(plan);
        return -ENOMEM;
    }
    *ret = plan;
    return 0;
}

struct image_plan *image_plan_close(struct image_plan *plan)
{
    if (plan != NULL) {
        for (uint32_t i = 0; i < plan->count; i++) {
            free(plan->entries[i].guest_path);
            free(plan->entries[i].source);
        }
        free(plan->entries);
        free(plan->slots);
        free(plan);
    }
    return NULL;
}

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t state, const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        state = (state ^ ((const uint8_t *)data)[i]) * 0x100000001b3ull;
    }
    return state;
}

static uint32_t *slot_of(const struct image_plan *plan, const char *guest_path)
{
    uint64_t at = hash(0xcbf29ce484222325ull, guest_path, strlen(guest_path)) % SLOTS;
    while (plan->slots[at] != 0 &&
           strcmp(plan->entries[plan->slots[at] - 1].guest_path, guest_path) != 0) {
        at = (at + 1) % SLOTS;
    }
    return &plan->slots[at];
}

const struct image_entry *image_plan_find(const struct image_plan *plan, const char *guest_path)
{
    uint32_t index = *slot_of(plan, guest_path);
    return index == 0 ? NULL : &plan->entries[index - 1];
}

/* Replaces an entry of the same path, except a folder by a folder. */
static int add(struct image_plan *plan, const struct image_entry *from, const char *guest_path,
               const char *source)
{
    uint32_t *slot = slot_of(plan, guest_path);
    struct image_entry *entry;
    if (*slot != 0) {
        entry = &plan->entries[*slot - 1];
        if (entry->kind == IMAGE_FOLDER || from->kind == IMAGE_FOLDER) {
            return entry->kind == from->kind
                       ? 0
                       : fail(plan, -EEXIST, "%s would be a file and a folder", guest_path);
        }
    } else if (plan->count == IMAGE_ENTRIES_MAX) {
        return fail(plan, -E2BIG, "more than %u files for one image", IMAGE_ENTRIES_MAX);
    } else {
        entry = &plan->entries[plan->count];
    }
    char *path_copy = strdup(guest_path);
    char *source_copy = strdup(source);
    if (path_copy == NULL || source_copy == NULL) {
        free(path_copy);
        free(source_copy);
        return fail(plan, -ENOMEM, "out of memory");
    }
    if (*slot == 0) {
        *slot = ++plan->count;
    } else {
        free(entry->guest_path);
        free(entry->source);
    }
    *entry = *from;
    entry->guest_path = path_copy;
    entry->source = source_copy;
    return 0;
}

/* Appends one component to a normal path. */
static int path_append(struct image_plan *plan, char *path, const char *name, size_t length)
{
    size_t used = strlen(path);
    if (length == 0 || (length == 1 && name[0] == '.')) {
        return 0;
    }
    if (length == 2 && name[0] == '.' && name[1] == '.') {
        char *slash = strrchr(path, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        return 0;
    }
    if (used + 1 + length >= IMAGE_PATH_BYTES) {
        return fail(plan, -ENAMETOOLONG, "the path %.60s... is too long", path);
    }
    path[used] = '/';
    memcpy(path + used + 1, name, length);
    path[used + 1 + length] = '\0';
    return 0;
}

static int folders_above(struct image_plan *plan, const char *guest_path)
{
    char path[IMAGE_PATH_BYTES];
    const struct image_entry folder = {.kind = IMAGE_FOLDER, .mode = FOLDER_MODE};
    for (const char *slash = strchr(guest_path + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        (void)snprintf(path, sizeof(path), "%.*s", (int)(slash - guest_path), guest_path);
        int r = add(plan, &folder, path, "");
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int add_link(struct image_plan *plan, const char *guest_path, const char *target)
{
    const struct image_entry link = {.kind = IMAGE_LINK, .mode = 0777};
    const struct image_entry *there = image_plan_find(plan, guest_path);
    if (there != NULL && there->kind == IMAGE_FOLDER) {
        return 0; /* something is in it already: it stays a folder, and gets the rest */
    }
    int r = folders_above(plan, guest_path);
    return r < 0 ? r : add(plan, &link, guest_path, target);
}

static int add_file(struct image_plan *plan, const char *host_path, const char *guest_path,
                    const struct stat *info)
{
    struct image_entry file = {
        .kind = IMAGE_FILE,
        .mode = info->st_mode & 0777,
        .bytes = (uint64_t)info->st_size,
        .mtime_ns =
            (uint64_t)info->st_mtim.tv_sec * 1000000000ull + (uint64_t)info->st_mtim.tv_nsec,
    };
    int r = folders_above(plan, guest_path);
    return r < 0 ? r : add(plan, &file, guest_path, host_path);
}

/* One link on the way: `rest` is what follows it. Starts `path` and `todo` anew. */
static int follow(struct image_plan *plan, const char *target, char *path, char *todo,
                  const char *rest)
{
    char joined[IMAGE_PATH_BYTES];
    int length = snprintf(joined, sizeof(joined), "%s/%s", target, rest);
    if (length < 0 || (unsigned)length >= sizeof(joined)) {
        return fail(plan, -ENAMETOOLONG, "the link %s leads too far", path);
    }
    (void)strcpy(todo, joined);
    if (target[0] == '/') {
        path[0] = '\0';
    } else {
        *strrchr(path, '/') = '\0';
    }
    return 0;
}

/* The target of a link: of the host (and planned then), or of the plan. 1: it is one. */
static int link_target(struct image_plan *plan, const char *path, bool of_host, char *target)
{
    if (!of_host) {
        const struct image_entry *entry = image_plan_find(plan, path);
        if (entry == NULL || entry->kind != IMAGE_LINK) {
            return 0;
        }
        (void)snprintf(target, IMAGE_PATH_BYTES, "%s", entry->source);
        return 1;
    }
    struct stat info;
    if (lstat(path, &info) < 0) {
        return fail(plan, -errno, "%s: %s", path, strerror(errno));
    }
    if (!S_ISLNK(info.st_mode)) {
        return 0;
    }
    ssize_t n = readlink(path, target, IMAGE_PATH_BYTES - 1);
    if (n < 0) {
        return fail(plan, -errno, "%s: %s", path, strerror(errno));
    }
    target[n] = '\0';
    int r = add_link(plan, path, target);
    return r < 0 ? r : 1;
}

/* Walks `from` component by component through links; the real path is left in `ret`. */
static int resolve(struct image_plan *plan, const char *from, bool of_host, char *ret)
{
    char todo[IMAGE_PATH_BYTES];
    char target[IMAGE_PATH_BYTES];
    uint32_t links = 0;
    if (from[0] != '/' || strlen(from) >= sizeof(todo)) {
        return fail(plan, -EINVAL, "%.80s: paths have to be absolute and shorter than %u bytes",
                    from, IMAGE_PATH_BYTES);
    }
    (void)strcpy(todo, from);
    ret[0] = '\0';
    const char *at = todo;
    while (*at != '\0') {
        size_t length = strcspn(at, "/");
        int r = path_append(plan, ret, at, length);
        at += length + (at[length] == '/' ? 1 : 0);
        if (r == 0 && ret[0] != '\0') {
            r = link_target(plan, ret, of_host, target);
        }
        if (r < 0) {
            return r;
        }
        if (r > 0) {
            if (++links > LINKS_MAX) {
                return fail(plan, -ELOOP, "%s: too many symbolic links", from);
            }
            char rest[IMAGE_PATH_BYTES];
            (void)snprintf(rest, sizeof(rest), "%s", at);
            r = follow(plan, target, ret, todo, rest);
            if (r < 0) {
                return r;
            }
            at = todo;
        }
    }
    return 0;
}

static int put(struct image_plan *plan, const char *host_path, const char *guest_path,
               uint32_t depth);

static int put_folder(struct image_plan *plan, const char *host_path, const char *guest_path,
                      uint32_t depth)
{
    struct dirent **names;
    int count = scandir(host_path, &names, NULL, alphasort);
    int r = count < 0 ? fail(plan, -errno, "%s: %s", host_path, strerror(errno)) : 0;
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        if (r == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char from[IMAGE_PATH_BYTES];
            char to[IMAGE_PATH_BYTES];
            int a = snprintf(from, sizeof(from), "%s/%s", host_path, name);
            int b = snprintf(to, sizeof(to), "%s/%s", guest_path, name);
            r = a < 0 || b < 0 || (unsigned)a >= sizeof(from) || (unsigned)b >= sizeof(to)
                    ? fail(plan, -ENAMETOOLONG, "a path in %s is too long", host_path)
                    : put(plan, from, to, depth + 1);
        }
        free(names[i]);
    }
    if (count >= 0) {
        free(names);
    }
    return r;
}

static int put_link(struct image_plan *plan, const char *host_path, const char *guest_path)
{
    char target[IMAGE_PATH_BYTES];
    ssize_t n = readlink(host_path, target, sizeof(target) - 1);
    if (n < 0) {
        return fail(plan, -errno, "%s: %s", host_path, strerror(errno));
    }
    target[n] = '\0';
    return add_link(plan, guest_path, target);
}

static int put(struct image_plan *plan, const char *host_path, const char *guest_path,
               uint32_t depth)
{
    struct stat info;
    /* The path that was asked for is followed, links inside of folders stay links. */
    if ((depth == 0 ? stat(host_path, &info) : lstat(host_path, &info)) < 0) {
        return fail(plan, -errno, "%s: %s", host_path, strerror(errno));
    }
    if (depth > IMAGE_DEPTH_MAX) {
        return fail(plan, -ELOOP, "%s: folders nested more than %u deep", host_path,
                    IMAGE_DEPTH_MAX);
    }
    if (S_ISDIR(info.st_mode)) {
        int r = image_plan_folder(plan, guest_path, info.st_mode & 0777);
        return r < 0 ? r : put_folder(plan, host_path, guest_path, depth);
    }
    if (S_ISLNK(info.st_mode)) {
        return put_link(plan, host_path, guest_path);
    }
    if (S_ISREG(info.st_mode)) {
        if (access(host_path, R_OK) < 0) {
            return fail(plan, -errno, "%s can't be read: %s", host_path, strerror(errno));
        }
        return add_file(plan, host_path, guest_path, &info);
    }
    return depth > 0 ? 0 /* sockets and devices in a folder have no contents */
                     : fail(plan, -EINVAL, "%s is neither a file nor a folder", host_path);
}

int image_plan_mirror(struct image_plan *plan, const char *host_path)
{
    char real[IMAGE_PATH_BYTES];
    int r = resolve(plan, host_path, true, real);
    return r < 0 ? r : put(plan, real, real, 0);
}

int image_plan_put(struct image_plan *plan, const char *host_path, const char *guest_path)
{
    char place[IMAGE_PATH_BYTES];
    if (host_path[0] != '/') {
        return fail(plan, -EINVAL, "%.80s: paths of files have to be absolute", host_path);
    }
    int r = resolve(plan, guest_path, false, place);
    if (r == 0 && place[0] == '\0') {
        return fail(plan, -EINVAL, "%.80s can't take the place of the whole root folder",
                    host_path);
    }
    return r < 0 ? r : put(plan, host_path, place, 0);
}

int image_plan_text(struct image_plan *plan, const char *guest_path, const char *contents)
{
    const struct image_entry text = {.kind = IMAGE_TEXT, .mode = 0644};
    if (image_plan_find(plan, guest_path) != NULL) {
        return 0; /* the user's own goes first */
    }
    int r = folders_above(plan, guest_path);
    return r < 0 ? r : add(plan, &text, guest_path, contents);
}

int image_plan_folder(struct image_plan *plan, const char *guest_path, uint32_t mode)
{
    const struct image_entry folder = {.kind = IMAGE_FOLDER, .mode = mode};
    int r = folders_above(plan, guest_path);
    return r < 0 ? r : add(plan, &folder, guest_path, "");
}

const char *image_plan_error(const struct image_plan *plan)
{
    return plan->error;
}

uint32_t image_plan_count(const struct image_plan *plan)
{
    return plan->count;
}

const struct image_entry *image_plan_entry(const struct image_plan *plan, uint32_t index)
{
    CHECK(index < plan->count);
    return &plan->entries[index];
}

void image_plan_hash(const struct image_plan *plan, char to[IMAGE_HASH_BYTES])
{
    uint64_t halves[2] = {0xcbf29ce484222325ull, 0x84222325cbf29ce4ull};
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct image_entry *entry = &plan->entries[i];
        uint64_t numbers[4] = {entry->kind, entry->mode, entry->bytes, entry->mtime_ns};
        for (uint32_t half = 0; half < 2; half++) {
            halves[half] = hash(halves[half], numbers, sizeof(numbers));
            halves[half] = hash(halves[half], entry->guest_path, strlen(entry->guest_path) + 1);
            halves[half] = hash(halves[half], entry->source, strlen(entry->source) + 1);
        }
    }
    (void)snprintf(to, IMAGE_HASH_BYTES, "%016llx%016llx", (unsigned long long)halves[0],
                   (unsigned long long)halves[1]);
}
