/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory as the VMM shares it: regions of file descriptors, mapped here. Every address
 * that the guest or the VMM names is translated and checked against them. Owned by the data thread.
 */
#ifndef DILOS_AGENT_GUEST_MEMORY_H
#define DILOS_AGENT_GUEST_MEMORY_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/wire/vhost_user.h"

struct guest_region {
    uint64_t guest_address;
    uint64_t bytes;
    uint64_t user_address;
    uint8_t *host; /* of guest_address */
    void *mapping; /* NULL: not ours to unmap */
    uint64_t mapped_bytes;
};

struct guest_memory {
    uint32_t region_count;
    struct guest_region regions[VHOST_USER_REGIONS_MAX];
};

/*
 * Maps the regions of `table`, whose descriptors are `fds` in order; the descriptors stay the
 * caller's. `memory` must be empty. Errors (memory stays empty): -EINVAL a region reaches beyond
 * the end of its file or is not aligned to pages, others of mmap.
 */
int guest_memory_map(struct guest_memory *memory, const struct vhost_user_memory *table,
                     const int *fds) MUST_CHECK;
void guest_memory_unmap(struct guest_memory *memory);

/*
 * The host address of [address, address + bytes), or NULL if that isn't wholly inside one region.
 * by_user: addresses of the front end's own mapping.
 */
void *guest_memory_at(const struct guest_memory *memory, uint64_t address, uint64_t bytes);
void *guest_memory_by_user(const struct guest_memory *memory, uint64_t address, uint64_t bytes);

#endif
