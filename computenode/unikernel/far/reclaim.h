/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock: one hand goes around the frame table; each reclaimer takes the next few frames by an
 * atomic addition, so any number of them work at once on different frames (docs/decisions/0031).
 * A frame that was used since the hand passed has A cleared; one that was not is evicted if clean,
 * written if dirty. A page goes only if it was not used between two passes, with a TLB flush
 * between them.
 */
#ifndef DILOS_UNIKERNEL_FAR_RECLAIM_H
#define DILOS_UNIKERNEL_FAR_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame_table.h"
#include "lib/base/compiler.h"

#define RECLAIM_SLICE 32 /* frames that the hand passes in one go, at most */

/* At boot, with so many frames for pages. */
void reclaim_init(uint64_t usable_count);
/* Sets the watermarks for so many frames. */
void reclaim_watermarks(uint64_t usable_count);
/* Sets what is each processor's part, when their number is known. */
void reclaim_share_out(void);

/*
 * A fault's part, if there are fewer free frames than there should be: larger for who has just
 * taken `taken_count` frames ahead of need. Starts writes, waits for nothing. true: there is more
 * to do, and doing it may help. Fault context.
 */
bool reclaim_slice(uint32_t taken_count);
/* The same without a limit on what it brings, for who has time. */
bool reclaim_more(void);

/*
 * Frees frames until this processor can take `needed_count`; waits for writes. Counted. Errors:
 * -ENOMEM nothing can be evicted (all is pinned, or there is no far memory), -ENOSPC, -EIO dirty
 * pages can't be written for that reason. Fault context.
 */
int reclaim_direct(uint64_t needed_count) MUST_CHECK;

/* Evicts the page of a claimed frame if rule 4 of page.h lets it; the frame is free then. */
bool reclaim_evict(struct frame *frame);

/* Are there fewer free frames than reclaim wants? */
bool reclaim_wants(void);

#endif
