/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's half of the address space (layout.h). The program's half is far/'s. */
#ifndef DILOS_UNIKERNEL_ARCH_PAGING_H
#define DILOS_UNIKERNEL_ARCH_PAGING_H

#include <stdint.h>

#include "computenode/unikernel/arch/x86_64/pvh.h"
#include "computenode/unikernel/kernel/port.h"

/*
 * Replaces the boot tables: direct map of all RAM, image with text, constants and data each with
 * their own rights, device registers, guard pages below the stacks. Tables come from
 * pvh_page_take(). Once.
 */
void paging_init(const struct pvh_info *info);

/* Registers of devices between 3.75 and 4 GiB, uncached. */
volatile void *paging_device(uint64_t physical);

/* Physical address of something in the kernel's image (static storage). */
phys_addr_t image_to_phys(const void *image_address);

#endif
