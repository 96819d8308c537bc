/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few chunks of the root block device kept in memory: the start of a program reads hundreds of
 * pages one after the other, each of which would be a request of its own.
 *
 * Context: all but rootcache_init() also in fault context (memory is taken once, at init), and
 * re-entrant: copying out of a chunk may fault, and that fault may read another chunk.
 */
#ifndef DILOS_UNIKERNEL_FS_ROOTCACHE_H
#define DILOS_UNIKERNEL_FS_ROOTCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define ROOTCACHE_CHUNK_BYTES 65536u
#define ROOTCACHE_SLOTS_MIN   8u /* copies nest at most this deep */
#define ROOTCACHE_SLOTS_MAX   64u

struct rootcache_slot;

/* slot_count is clamped to the limits above. Errors: -ENOMEM. */
int rootcache_init(uint32_t slot_count, uint64_t device_bytes) MUST_CHECK;

/*
 * The bytes at `offset` of the device, up to the end of their chunk. They stay valid until
 * rootcache_put(). Errors: -EIO (also beyond the end of the device).
 */
int rootcache_get(uint64_t offset, struct rootcache_slot **ret_slot, const void **ret_data,
                  uint64_t *ret_bytes) MUST_CHECK;
void rootcache_put(struct rootcache_slot *slot);

/* Copies to plain kernel memory. The signature fits struct erofs. Errors: -EIO. */
int rootcache_read(void *context, uint64_t offset, void *to, size_t bytes) MUST_CHECK;

#endif
