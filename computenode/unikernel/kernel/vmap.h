/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of the kernel's vmap area (arch/x86_64/layout.h, VMAP_BASE to VMAP_END), for the heap.
 * Implemented by the architecture. Not in fault context: tables come from frame_alloc_kernel().
 */
#ifndef DILOS_UNIKERNEL_KERNEL_VMAP_H
#define DILOS_UNIKERNEL_KERNEL_VMAP_H

#include <stdint.h>

#include "computenode/unikernel/kernel/port.h"

/* Maps one frame, writable, not executable, at `va`, where nothing is mapped. Errors: -ENOMEM. */
int vmap_page(uint64_t va, phys_addr_t pa) MUST_CHECK;

/* Takes the mapping away and returns the frame that was there. */
phys_addr_t vunmap_page(uint64_t va);

#endif
