/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/image_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sys/sys.h"

#define COPY_BYTES_MAX (1u << 30) /* in one call */
#define DELETE_FDS     16
#define STAGED_BYTES   (2 * IMAGE_PATH_BYTES)
#define LOG_BYTES      (STAGED_BYTES + 32)

extern char **environ;

static int delete_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)where;
    if (kind == FTW_DNR || kind == FTW_D) {
        (void)chmod(path, 0700);
    }
    (void)remove(path);
    return 0;
}

void image_stage_delete(const char *folder)
{
    (void)nftw(folder, delete_one, DELETE_FDS, FTW_DEPTH | FTW_PHYS);
}

/* copy_file_range(2) first: it may share blocks; sendfile(2) where that can't be. */
static int copy_bytes(int from, int to)
{
    bool shares = true;
    for (;;) {
        ssize_t n = shares ? copy_file_range(from, NULL, to, NULL, COPY_BYTES_MAX, 0)
                           : sendfile(to, from, NULL, COPY_BYTES_MAX);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && shares) {
            shares = false; /* neither has moved: both begin at the files' own positions */
            continue;
        }
        if (n < 0) {
            return -errno;
        }
    }
}

static int copy_file(const char *from_path, const char *to_path, uint32_t mode)
{
    CLEANUP(sys_close) int from = open(from_path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return -errno;
    }
    CLEANUP(sys_close)
    int to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) {
        return -errno;
    }
    int r = copy_bytes(from, to);
    return r == 0 && fchmod(to, mode) < 0 ? -errno : r;
}

static int write_text(const char *path, const char *text, uint32_t mode)
{
    int r = sys_write_file(path, text, strlen(text));
    return r == 0 && chmod(path, mode) < 0 ? -errno : r;
}

static int make_entry(const struct image_entry *entry, const char *path)
{
    switch (entry->kind) {
    case IMAGE_FOLDER:
        return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
    case IMAGE_FILE:
        return copy_file(entry->source, path, entry->mode);
    case IMAGE_LINK:
        return symlink(entry->source, path) < 0 ? -errno : 0;
    case IMAGE_TEXT:
        return write_text(path, entry->source, entry->mode);
    }
    return -EINVAL;
}

static int stage(const struct image_plan *plan, const char *folder, char *ret_error)
{
    char path[STAGED_BYTES];
    for (uint32_t i = 0; i < image_plan_count(plan); i++) {
        const struct image_entry *entry = image_plan_entry(plan, i);
        (void)snprintf(path, sizeof(path), "%s%s", folder, entry->guest_path);
        int r = make_entry(entry, path);
        if (r < 0) {
            (void)snprintf(ret_error, IMAGE_ERROR_BYTES, "%s can't be put into the image: %s%s",
                           entry->guest_path, strerror(-r),
                           r == -ENOSPC ? "; make room in the agent's state folder" : "");
            return r;
        }
    }
    /* Folders get their own permissions last: one may be read-only. */
    for (uint32_t i = 0; i < image_plan_count(plan); i++) {
        const struct image_entry *entry = image_plan_entry(plan, i);
        if (entry->kind == IMAGE_FOLDER) {
            (void)snprintf(path, sizeof(path), "%s%s", folder, entry->guest_path);
            (void)chmod(path, entry->mode | 0700);
        }
    }
    return chmod(folder, 0755) < 0 ? -errno : 0;
}

static int spawn_mkfs(const char *const *arguments, const char *log_path, int *ret_status)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return -ENOMEM;
    }
    int r = -posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log_path,
                                              O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (r == 0) {
        r = -posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    }
    if (r == 0) {
        r = -posix_spawnp(&pid, arguments[0], &actions, NULL, (char *const *)(uintptr_t)arguments,
                          environ);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    while (r == 0 && waitpid(pid, ret_status, 0) < 0) {
        r = errno == EINTR ? 0 : -errno;
    }
    return r;
}

static int run_mkfs(const char *image, const char *folder, char *ret_error)
{
    char log_path[LOG_BYTES];
    (void)snprintf(log_path, sizeof(log_path), "%s.log", image);
    const char *arguments[] = {
        "mkfs.erofs", "-x-1", "-T0",  "-U00000000-0000-0000-0000-000000000000",
        "--all-root", image,  folder, NULL};
    int status = 0;
    int r = spawn_mkfs(arguments, log_path, &status);
    if (r == -ENOENT) {
        (void)snprintf(ret_error, IMAGE_ERROR_BYTES,
                       "mkfs.erofs is not installed on the agent's host: apt-get install "
                       "erofs-utils");
    } else if (r < 0) {
        (void)snprintf(ret_error, IMAGE_ERROR_BYTES, "mkfs.erofs can't be run: %s", strerror(-r));
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        char *said = NULL;
        size_t bytes;
        (void)!sys_read_file(log_path, 4096, &said, &bytes);
        (void)snprintf(ret_error, IMAGE_ERROR_BYTES, "mkfs.erofs failed: %s",
                       said == NULL ? "it said nothing" : said);
        free(said);
        r = -EIO;
    }
    (void)unlink(log_path);
    return r;
}

int image_stage_make(const struct image_plan *plan, const char *path, char *ret_error)
{
    char folder[STAGED_BYTES];
    char image[STAGED_BYTES + 16];
    (void)snprintf(folder, sizeof(folder), "%s.XXXXXX", path);
    if (mkdtemp(folder) == NULL) {
        int error = errno;
        (void)snprintf(ret_error, IMAGE_ERROR_BYTES, "%.1024s: %s", folder, strerror(error));
        return -error;
    }
    (void)snprintf(image, sizeof(image), "%s.new", folder);
    int r = stage(plan, folder, ret_error);
    r = r < 0 ? r : run_mkfs(image, folder, ret_error);
    if (r == 0 && rename(image, path) < 0) {
        r = -errno;
        (void)snprintf(ret_error, IMAGE_ERROR_BYTES, "%s: %s", path, strerror(errno));
    }
    if (r < 0) {
        (void)unlink(image);
    }
    image_stage_delete(folder);
    return r;
}
