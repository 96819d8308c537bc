/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the VMM hands over (Xen's x86/HVM direct boot ABI, struct hvm_start_info): RAM, command
 * line, and the boot specification as module 0.
 */
#ifndef DILOS_UNIKERNEL_ARCH_PVH_H
#define DILOS_UNIKERNEL_ARCH_PVH_H

#include <stdint.h>

#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/kernel/port.h"

#define PVH_RANGES_MAX       32
#define PVH_CMDLINE_CAPACITY 2048

struct pvh_range {
    uint64_t start; /* page aligned */
    uint64_t bytes; /* whole pages */
};

struct pvh_info {
    uint32_t ram_count;
    struct pvh_range ram[PVH_RANGES_MAX];
    struct pvh_range module; /* bytes as given, not rounded; 0: none */
    char cmdline[PVH_CMDLINE_CAPACITY];
    uint64_t ram_bytes;
};

/*
 * Copies everything out of the start info. Errors: -EINVAL no start info, or one that makes no
 * sense; -E2BIG more than PVH_RANGES_MAX ranges. On the boot tables (the first 4 GiB only).
 */
int pvh_read(uint32_t start_info_physical, struct pvh_info *ret) MUST_CHECK;

/* A zeroed page below 4 GiB, before frames_init(). Panics if there is none. */
phys_addr_t pvh_page_take(void);

/*
 * RAM that is left: without the first MiB, the image, the module, and the pages taken. After it
 * pvh_page_take() must not be called. Returns how many of `ret` (PVH_RANGES_MAX) are filled.
 */
uint32_t pvh_free_ranges(const struct pvh_info *info, struct frame_range *ret);

/* How many pages of RAM are taken by the image, the module and pvh_page_take(). */
uint64_t pvh_pages_taken(void);

#endif
