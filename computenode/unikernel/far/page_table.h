/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page tables of the space: four levels, 4 KiB pages (Intel SDM vol. 3, 4.5). The pager has
 * user space and the kernel window; other entries of the root belong to the kernel.
 */
#ifndef DILOS_UNIKERNEL_FAR_PAGE_TABLE_H
#define DILOS_UNIKERNEL_FAR_PAGE_TABLE_H

#include <stdint.h>

#include "computenode/unikernel/far/page.h"

#define PT_ENTRIES 512 /* of a table; those of its pages lie one after the other */

/* The entry of the page of `va`; NULL if there is no table for it (then the page is empty). */
pte_t *pt_find(uint64_t va);

/* As pt_find, but makes the tables. Fault context. Errors: as reclaim_direct(). */
int pt_get(uint64_t va, pte_t **ret) MUST_CHECK;

/* The first entry that isn't empty in [*va, end); moves *va to its page. NULL if there is none. */
pte_t *pt_next(uint64_t *va, uint64_t end);

/*
 * After the pages of [start, end) were emptied: frees the tables there that lie wholly in the hole
 * [hole_start, hole_end), in which nothing is mapped. Flushes the TLB if any was freed.
 */
void pt_trim(uint64_t start, uint64_t end, uint64_t hole_start, uint64_t hole_end);

#endif
