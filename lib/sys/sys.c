/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/sys.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/text.h"

#define READ_STEP_BYTES  4096
#define ID_FILE_BYTES    256
#define LOCK_FILE_BYTES  32
#define NS_PER_SECOND    UINT64_C(1000000000)
#define HASH_OFFSET      UINT64_C(0xcbf29ce484222325) /* FNV-1a, 64 bits */
#define HASH_PRIME       UINT64_C(0x100000001b3)
#define HASH_OTHER_START UINT64_C(0x9e3779b97f4a7c15)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    int error = clock_gettime(clock, &now);
    CHECK(error == 0);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t sys_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t sys_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void sys_random(void *to, size_t bytes)
{
    uint8_t *at = to;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            abort(); /* every key depends on it: nothing can go on without */
        }
        at += got;
        bytes -= (size_t)got;
    }
}

static void format_id(uint64_t high, uint64_t low, char to[SYS_ID_BYTES])
{
    (void)snprintf(to, SYS_ID_BYTES, "%016llx%016llx", (unsigned long long)high,
                   (unsigned long long)low);
}

void sys_random_id(char to[SYS_ID_BYTES])
{
    uint64_t words[2];
    sys_random(words, sizeof(words));
    format_id(words[0], words[1], to);
}

/* FNV-1a with an avalanche at the end; two starts give two independent halves. No adversary. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (uint8_t)*text) * HASH_PRIME;
    }
    hash ^= hash >> 32;
    return hash * HASH_OTHER_START;
}

void sys_host_id(char to[SYS_ID_BYTES])
{
    /* A machine without machine-id (a container) still has its boot id. */
    static const char *const paths[] = {"/etc/machine-id", "/proc/sys/kernel/random/boot_id"};
    uint64_t high = HASH_OFFSET;
    uint64_t low = HASH_OTHER_START;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char *text = NULL;
        size_t bytes;
        if (sys_read_file(paths[i], ID_FILE_BYTES, &text, &bytes) == 0) {
            high = hash_text(high, text);
            low = hash_text(low, text);
            free(text);
        }
    }
    format_id(high, low, to);
}

void sys_host_name(char to[SYS_NAME_BYTES], const char *otherwise)
{
    char name[SYS_NAME_BYTES] = "";
    if (gethostname(name, sizeof(name) - 1) != 0) {
        name[0] = '\0';
    }
    name[strcspn(name, ".")] = '\0';
    for (char *c = name; *c != '\0'; c++) {
        *c = (char)(isalnum((unsigned char)*c) ? tolower((unsigned char)*c) : '-');
    }
    (void)snprintf(to, SYS_NAME_BYTES, "%s", text_is_name(name) ? name : otherwise);
}

void sys_forbid_dumps(void)
{
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
}

void sys_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

static void free_text(char **text)
{
    free(*text);
}

/* Reads up to `room` bytes; -errno, or how many (0: end of file). */
static ssize_t read_some(int fd, char *to, size_t room)
{
    for (;;) {
        ssize_t got = read(fd, to, room);
        if (got >= 0) {
            return got;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

int sys_read_file(const char *path, size_t bytes_max, char **ret, size_t *ret_bytes)
{
    CLEANUP(sys_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    CLEANUP(free_text) char *text = NULL;
    size_t length = 0;
    for (;;) {
        /* Sizes that stat tells aren't true for files of /proc: read until the end. */
        char *larger = realloc(text, length + READ_STEP_BYTES + 1);
        if (larger == NULL) {
            return -ENOMEM;
        }
        text = larger;
        ssize_t got = read_some(fd, text + length, READ_STEP_BYTES);
        if (got < 0) {
            return (int)got;
        }
        if (got == 0) {
            break;
        }
        length += (size_t)got;
        if (length > bytes_max) {
            return -EFBIG;
        }
    }
    text[length] = '\0';
    *ret = text;
    *ret_bytes = length;
    text = NULL;
    return 0;
}

static int write_all(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t put = write(fd, at, bytes);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return -errno;
        }
        at += put;
        bytes -= (size_t)put;
    }
    return 0;
}

/* Makes the rename durable: the folder's own entry is written too. */
static int sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 1 : MAX((size_t)(slash - path), (size_t)1);
    if (length >= sizeof(folder)) {
        return -ENAMETOOLONG;
    }
    memcpy(folder, slash == NULL ? "." : path, length);
    folder[length] = '\0';
    CLEANUP(sys_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) != 0 ? -errno : 0;
}

int sys_write_file(const char *path, const void *data, size_t bytes)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof(temporary)) {
        return -ENAMETOOLONG;
    }
    CLEANUP(sys_close) int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int error = write_all(fd, data, bytes);
    if (error == 0 && fsync(fd) != 0) {
        error = -errno;
    }
    if (error == 0 && rename(temporary, path) != 0) {
        error = -errno;
    }
    if (error != 0) {
        (void)unlink(temporary);
        return error;
    }
    return sync_folder_of(path);
}

static int make_folder(const char *path)
{
    if (mkdir(path, 0700) == 0) {
        return 0;
    }
    int error = -errno;
    struct stat status;
    if (error == -EEXIST || error == -EROFS || error == -EACCES) {
        if (stat(path, &status) == 0) {
            return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
        }
    }
    return error;
}

int sys_make_folders(const char *path)
{
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0) {
        return -ENOENT;
    }
    if (length >= sizeof(partial)) {
        return -ENAMETOOLONG;
    }
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (partial[i] != '/') {
            continue;
        }
        partial[i] = '\0';
        int error = make_folder(partial);
        if (error != 0) {
            return error;
        }
        partial[i] = '/';
    }
    return make_folder(partial);
}

static int read_pid(int fd)
{
    char text[LOCK_FILE_BYTES] = "";
    ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
    return got > 0 ? (int)strtol(text, NULL, 10) : 0;
}

static int write_pid(int fd)
{
    char text[LOCK_FILE_BYTES];
    int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) < 0) {
        return -errno;
    }
    return write_all(fd, text, (size_t)length);
}

int sys_lock_file(const char *path, int *ret_fd, int *ret_pid)
{
    CLEANUP(sys_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    /* The kernel drops the lock when its holder dies, so what a stale file says is no matter. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = -errno;
        if (error == -EWOULDBLOCK) {
            *ret_pid = read_pid(fd);
        }
        return error;
    }
    int error = write_pid(fd);
    if (error != 0) {
        return error;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

size_t sys_iovec_bytes(const struct iovec *iovecs, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += iovecs[i].iov_len;
    }
    return bytes;
}
