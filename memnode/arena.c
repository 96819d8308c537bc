/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/text.h"

struct slab {
    int fd;
    bool mapped;
    bool huge;
};

struct arena {
    uint64_t slab_bytes;
    uint32_t slab_count;
    uint8_t *base; /* reserved, aligned to huge_page_bytes */
    void *reserved;
    uint64_t reserved_bytes;
    uint64_t huge_page_bytes; /* 0: normal pages */
    bool pinned;
    struct slab *slabs;
};

static int open_file(uint64_t bytes, bool huge, int *ret_fd)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0);
    int fd = memfd_create("dilos-slab", flags);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
        /* Huge pages are taken at once: running out later would be SIGBUS. */
        (huge && fallocate(fd, 0, 0, (off_t)bytes) != 0)) {
        int error = -errno;
        (void)close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

static int check_sizes(const struct arena_config *config, char *ret_error)
{
    char text[2][16];
    if (!IS_POWER_OF_TWO(config->slab_bytes) || config->slab_bytes < ARENA_SLAB_BYTES_MIN ||
        config->slab_bytes > ARENA_SLAB_BYTES_MAX) {
        (void)snprintf(ret_error, ARENA_ERROR_BYTES,
                       "the slab size is %s; it has to be a power of two from 1M to 1G: change "
                       "--slab-size",
                       text_format_size(config->slab_bytes, text[0]));
        return -EINVAL;
    }
    if (config->bytes < config->slab_bytes) {
        (void)snprintf(ret_error, ARENA_ERROR_BYTES,
                       "the arena of %s holds not even one slab of %s: raise --memory or lower "
                       "--slab-size",
                       text_format_size(config->bytes, text[0]),
                       text_format_size(config->slab_bytes, text[1]));
        return -EINVAL;
    }
    if (config->bytes / config->slab_bytes > ARENA_SLAB_COUNT_MAX) {
        (void)snprintf(ret_error, ARENA_ERROR_BYTES,
                       "the arena of %s would have more than %u slabs of %s: raise --slab-size",
                       text_format_size(config->bytes, text[0]), ARENA_SLAB_COUNT_MAX,
                       text_format_size(config->slab_bytes, text[1]));
        return -EINVAL;
    }
    return 0;
}

static bool huge_pages_suffice(const struct arena_config *config, uint64_t *ret_page_bytes)
{
    struct arena_huge huge;
    arena_machine_huge(&huge);
    if (!config->huge || huge.page_bytes == 0 || !IS_ALIGNED(config->slab_bytes, huge.page_bytes) ||
        huge.free_count < config->bytes / huge.page_bytes) {
        return false;
    }
    *ret_page_bytes = huge.page_bytes;
    return true;
}

static int check_machine(const struct arena_config *config, char *ret_error)
{
    uint64_t available = config->available_bytes;
    char text[2][16];
    if (available == 0) {
        available = arena_machine_available();
    }
    if (available == 0 || config->bytes <= available) {
        return 0;
    }
    (void)snprintf(ret_error, ARENA_ERROR_BYTES,
                   "the arena of %s is larger than the %s of memory that this machine has "
                   "available: lower --memory, stop something, or add memory",
                   text_format_size(config->bytes, text[0]), text_format_size(available, text[1]));
    return -ENOMEM;
}

/* Each slab is a descriptor: raises the soft limit as far as needed and allowed. */
static int check_descriptors(uint64_t slab_count, char *ret_error)
{
    struct rlimit limit;
    rlim_t wanted = slab_count + ARENA_DESCRIPTOR_ROOM;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return -errno;
    }
    if (limit.rlim_cur >= wanted) {
        return 0;
    }
    if (limit.rlim_max >= wanted) {
        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0) {
            return 0;
        }
    }
    (void)snprintf(ret_error, ARENA_ERROR_BYTES,
                   "%llu slabs need %llu open files, the limit is %llu: raise the limit "
                   "(LimitNOFILE=, ulimit -n) or --slab-size",
                   (unsigned long long)slab_count, (unsigned long long)wanted,
                   (unsigned long long)limit.rlim_max);
    return -EMFILE;
}

static int reserve(struct arena *arena)
{
    uint64_t unit = arena->huge_page_bytes != 0 ? arena->huge_page_bytes : PAGE_BYTES;
    arena->reserved_bytes = arena->slab_bytes * arena->slab_count + unit;
    arena->reserved = mmap(NULL, arena->reserved_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena->reserved == MAP_FAILED) {
        arena->reserved = NULL;
        return -errno;
    }
    arena->base = (uint8_t *)(uintptr_t)ALIGN_UP((uintptr_t)arena->reserved, unit);
    return 0;
}

static int open_slabs(struct arena *arena)
{
    arena->slabs = calloc(arena->slab_count, sizeof(arena->slabs[0]));
    if (arena->slabs == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < arena->slab_count; i++) {
        arena->slabs[i].fd = -1;
    }
    for (uint32_t i = 0; i < arena->slab_count; i++) {
        struct slab *slab = &arena->slabs[i];
        int error = open_file(arena->slab_bytes, arena->huge_page_bytes != 0, &slab->fd);
        if (error != 0) {
            return error;
        }
        slab->huge = arena->huge_page_bytes != 0;
    }
    return 0;
}

static int open_with_pages(const struct arena_config *config, uint64_t huge_page_bytes,
                           struct arena **ret)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL) {
        return -ENOMEM;
    }
    arena->slab_bytes = config->slab_bytes;
    arena->slab_count = (uint32_t)(config->bytes / config->slab_bytes);
    arena->huge_page_bytes = huge_page_bytes;
    int error = reserve(arena);
    if (error == 0) {
        error = open_slabs(arena);
    }
    if (error != 0) {
        (void)arena_close(arena);
        return error;
    }
    *ret = arena;
    return 0;
}

int arena_open(const struct arena_config *config, struct arena **ret, char *ret_error)
{
    uint64_t huge_page_bytes = 0;
    ret_error[0] = '\0';
    int error = check_sizes(config, ret_error);
    if (error == 0) {
        error = check_descriptors(config->bytes / config->slab_bytes, ret_error);
    }
    /* Free huge pages don't count as available memory; somebody may take them before we do. */
    if (error == 0 && huge_pages_suffice(config, &huge_page_bytes) &&
        open_with_pages(config, huge_page_bytes, ret) == 0) {
        return 0;
    }
    if (error == 0) {
        error = check_machine(config, ret_error);
    }
    if (error == 0) {
        error = open_with_pages(config, 0, ret);
    }
    if (error != 0 && ret_error[0] == '\0') {
        (void)snprintf(ret_error, ARENA_ERROR_BYTES, "the arena can't be made: %s",
                       strerror(-error));
    }
    return error;
}

struct arena *arena_close(struct arena *arena)
{
    if (arena == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; arena->slabs != NULL && i < arena->slab_count; i++) {
        if (arena->slabs[i].fd >= 0) {
            (void)close(arena->slabs[i].fd);
        }
    }
    if (arena->reserved != NULL) {
        CHECK(munmap(arena->reserved, arena->reserved_bytes) == 0);
    }
    free(arena->slabs);
    free(arena);
    return NULL;
}

uint32_t arena_slab_count(const struct arena *arena)
{
    return arena->slab_count;
}

uint64_t arena_slab_bytes(const struct arena *arena)
{
    return arena->slab_bytes;
}

uint32_t arena_huge_count(const struct arena *arena)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < arena->slab_count; i++) {
        count += arena->slabs[i].huge ? 1 : 0;
    }
    return count;
}

uint8_t *arena_slab_base(const struct arena *arena, uint32_t slab)
{
    CHECK(slab < arena->slab_count);
    return arena->base + (uint64_t)slab * arena->slab_bytes;
}

int arena_slab_fd(const struct arena *arena, uint32_t slab)
{
    CHECK(slab < arena->slab_count);
    return arena->slabs[slab].fd;
}

static int map_fixed(struct arena *arena, uint32_t slab, int fd)
{
    void *base = mmap(arena_slab_base(arena, slab), arena->slab_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED, fd, 0);
    return base == MAP_FAILED ? -errno : 0;
}

int arena_slab_prepare(struct arena *arena, uint32_t slab)
{
    CHECK(slab < arena->slab_count);
    if (arena->slabs[slab].mapped) {
        return 0;
    }
    int error = map_fixed(arena, slab, arena->slabs[slab].fd);
    arena->slabs[slab].mapped = error == 0;
    return error;
}

int arena_pin(struct arena *arena)
{
    for (uint32_t i = 0; i < arena->slab_count; i++) {
        int error = arena_slab_prepare(arena, i);
        if (error != 0) {
            return error;
        }
    }
    arena->pinned = true;
    return 0;
}

void arena_unpin(struct arena *arena)
{
    arena->pinned = false;
}

static bool reads_as_zeros(int fd, uint64_t offset)
{
    static const uint8_t zeros[PAGE_BYTES];
    uint8_t page[PAGE_BYTES];
    return pread(fd, page, sizeof(page), (off_t)offset) == (ssize_t)sizeof(page) &&
           memcmp(page, zeros, sizeof(page)) == 0;
}

/*
 * A file without a single page is zero throughout; the file system says so at once. hugetlbfs
 * doesn't know SEEK_DATA (it answers with the offset), there each page is read.
 */
static bool is_scrubbed(const struct arena *arena, const struct slab *slab)
{
    if (slab->huge) {
        for (uint64_t at = 0; at < arena->slab_bytes; at += PAGE_BYTES) {
            if (!reads_as_zeros(slab->fd, at)) {
                return false;
            }
        }
        return true;
    }
    return lseek(slab->fd, 0, SEEK_DATA) == -1 && errno == ENXIO && reads_as_zeros(slab->fd, 0) &&
           reads_as_zeros(slab->fd, arena->slab_bytes - PAGE_BYTES);
}

static int punch(const struct arena *arena, int fd)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)arena->slab_bytes) ==
                   0
               ? 0
               : -errno;
}

int arena_slab_scrub(struct arena *arena, uint32_t slab)
{
    CHECK(slab < arena->slab_count);
    struct slab *item = &arena->slabs[slab];
    if (arena->pinned) {
        memset(arena_slab_base(arena, slab), 0, arena->slab_bytes);
        return reads_as_zeros(item->fd, 0) &&
                       reads_as_zeros(item->fd, arena->slab_bytes - PAGE_BYTES)
                   ? 0
                   : -EIO;
    }
    int error = punch(arena, item->fd);
    if (error != 0) {
        return error;
    }
    if (!is_scrubbed(arena, item)) {
        return -EIO;
    }
    /* The pages are ours again, before somebody else on the machine takes them. */
    if (item->huge && fallocate(item->fd, 0, 0, (off_t)arena->slab_bytes) != 0) {
        return -errno;
    }
    return 0;
}

int arena_slab_replace(struct arena *arena, uint32_t slab, bool old_unused)
{
    CHECK(slab < arena->slab_count);
    struct slab *item = &arena->slabs[slab];
    bool huge = item->huge;
    int fd = -1;
    int error = old_unused ? punch(arena, item->fd) : 0;
    if (error == 0) {
        error = open_file(arena->slab_bytes, huge, &fd);
    }
    if (error != 0 && huge) {
        huge = false;
        error = open_file(arena->slab_bytes, false, &fd);
    }
    if (error == 0 && item->mapped) {
        error = map_fixed(arena, slab, fd);
    }
    if (error != 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return error;
    }
    (void)close(item->fd);
    item->fd = fd;
    item->huge = huge;
    return 0;
}
