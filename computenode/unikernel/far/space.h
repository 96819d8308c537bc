/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that implement mm.h share. */
#ifndef DILOS_UNIKERNEL_FAR_SPACE_H
#define DILOS_UNIKERNEL_FAR_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/area.h"
#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/far/page.h"

struct mm {
    struct areas user;
    struct areas window; /* the kernel window; one program, so it sits here */
    uint64_t heap_start;
    uint64_t heap_end; /* what brk(2) tells */
};

void mm_init(struct mm *mm);

/* A range of whole pages of user space. Guards against wrap-around. Errors: -EINVAL. */
int range_of(uint64_t va, uint64_t length, uint64_t *ret_end) MUST_CHECK;

/* May this much private writable memory be promised to one mapping? */
bool space_can_hold(uint64_t bytes);

/* Removes whatever is mapped in the range; two nodes are reserved by the caller. */
void space_remove(struct mm *mm, uint64_t start, uint64_t end);

enum zap_mode {
    ZAP_FREE,       /* the pages are gone; pinned frames are left to their last unpin */
    ZAP_KEEP_PINNED /* the pages read as zeros; pinned ones are zeroed where they are */
};

/* Empties all pages of a range: frees frames, discards far pages, flushes the TLB. */
void zap_range(uint64_t start, uint64_t end, enum zap_mode mode);

#endif
