/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame table: one entry for each 4 KiB frame of guest RAM that the pager owns, and the lists
 * of the clock. The entry of a program page holds the address of its one PTE; there is no reverse
 * map and no swap cache.
 */
#ifndef DILOS_UNIKERNEL_FAR_FRAME_H
#define DILOS_UNIKERNEL_FAR_FRAME_H

#include <stdint.h>

#include "computenode/unikernel/kernel/port.h"

struct frame_range {
    phys_addr_t start; /* page aligned */
    uint64_t page_count;
};

/*
 * Takes over all RAM that boot found free. The table itself is placed at the start of the first
 * range that has room. frame_limit: how many frames may be used (0: all). Once, at boot.
 */
void frames_init(const struct frame_range *ranges, uint32_t range_count, uint64_t frame_limit);

/*
 * A zeroed frame for the kernel itself (page tables, heap): never evicted. May reclaim, so not in
 * fault context, except that page tables come from the reserve. Errors: -ENOMEM.
 */
int frame_alloc_kernel(phys_addr_t *ret) MUST_CHECK;
void frame_free_kernel(phys_addr_t pa);

#endif
