/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/guest_memory.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/base/check.h"

static int region_map(struct guest_region *to, const struct vhost_user_region *from, int fd)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return -errno;
    }
    /* Beyond the end of the file an access would be a SIGBUS. */
    if (from->mmap_offset + from->bytes > (uint64_t)info.st_size) {
        return -EINVAL;
    }
    if (!IS_ALIGNED(from->mmap_offset, PAGE_BYTES) || !IS_ALIGNED(from->bytes, PAGE_BYTES) ||
        !IS_ALIGNED(from->guest_address, PAGE_BYTES)) {
        return -EINVAL;
    }
    void *mapping = mmap(NULL, from->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                         (off_t)from->mmap_offset);
    if (mapping == MAP_FAILED) {
        return -errno;
    }
    *to = (struct guest_region){.guest_address = from->guest_address,
                                .bytes = from->bytes,
                                .user_address = from->user_address,
                                .host = mapping,
                                .mapping = mapping,
                                .mapped_bytes = from->bytes};
    return 0;
}

int guest_memory_map(struct guest_memory *memory, const struct vhost_user_memory *table,
                     const int *fds)
{
    CHECK(memory->region_count == 0);
    CHECK(table->region_count <= VHOST_USER_REGIONS_MAX);
    for (uint32_t i = 0; i < table->region_count; i++) {
        int r = region_map(&memory->regions[i], &table->regions[i], fds[i]);
        if (r < 0) {
            guest_memory_unmap(memory);
            return r;
        }
        memory->region_count++;
    }
    return 0;
}

void guest_memory_unmap(struct guest_memory *memory)
{
    for (uint32_t i = 0; i < memory->region_count; i++) {
        if (memory->regions[i].mapping != NULL) {
            (void)munmap(memory->regions[i].mapping, memory->regions[i].mapped_bytes);
        }
    }
    memory->region_count = 0;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
    for (uint32_t i = 0; i < memory->region_count; i++) {
        const struct guest_region *region = &memory->regions[i];
        uint64_t offset = address - region->guest_address; /* wraps if it is below */
        if (offset < region->bytes && bytes <= region->bytes - offset) {
            return region->host + offset;
        }
    }
    return NULL;
}

void *guest_memory_by_user(const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
    for (uint32_t i = 0; i < memory->region_count; i++) {
        const struct guest_region *region = &memory->regions[i];
        uint64_t offset = address - region->user_address;
        if (offset < region->bytes && bytes <= region->bytes - offset) {
            return region->host + offset;
        }
    }
    return NULL;
}
