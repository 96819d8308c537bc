/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock: its hand passes active frames, clears A, writes unused dirty pages and puts unused
 * clean ones on the clean list, from whose head frames are freed. A page goes only if it was not
 * used between two passes, with a TLB flush between them.
 */
#ifndef DILOS_UNIKERNEL_FAR_RECLAIM_H
#define DILOS_UNIKERNEL_FAR_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame_table.h"
#include "lib/base/compiler.h"

#define RECLAIM_SLICE 32 /* frames that the hand passes in one go */

/* Sets the watermarks for so many frames. */
void reclaim_init(uint64_t usable_count);

/*
 * One bounded slice, if there are fewer free frames than there should be. Starts writes, waits
 * for nothing. true: there is more to do, and doing it may help. Fault context.
 */
bool reclaim_slice(void);

/*
 * Frees frames until `needed_count` are free; waits for writes. Counted. Errors: -ENOMEM nothing
 * can be evicted (all is pinned, or there is no far memory), -ENOSPC, -EIO dirty pages can't be
 * written for that reason. Fault context.
 */
int reclaim_direct(uint64_t needed_count) MUST_CHECK;

/* Evicts the page of a frame on the active or clean list if rule 4 of page.h lets it. */
bool reclaim_evict(struct frame *frame);

#endif
