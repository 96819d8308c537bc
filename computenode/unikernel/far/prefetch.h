/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guessing which remote pages will be wanted. A prefetcher sees each far fault of a thread, while
 * the read is in flight, and may start a stream. The pages of a stream's window are read and mapped
 * with A = 0; the first one is a marker, whose first touch shows that the reader has come so far:
 * then the next window, twice as long, is read while the reader goes through this one.
 *
 * Hits decide: streams that are never reached stop the prefetcher for the thread, but for a try now
 * and then. A stream takes only frames that are free beyond the reserve.
 */
#ifndef DILOS_UNIKERNEL_FAR_PREFETCH_H
#define DILOS_UNIKERNEL_FAR_PREFETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/pager_thread.h"

#define PREFETCH_WINDOW_MIN 2
#define PREFETCH_WINDOW_MAX 64
#define PREFETCH_MISSES_MAX 4  /* in a row, then it is quiet */
#define PREFETCH_QUIET      16 /* starts that are let pass then */

struct prefetcher {
    const char *name;
    /*
     * The distance, in pages, at which the fault that was entered last in the thread's history
     * suggests to go on; 0: none. Fault context.
     */
    int64_t (*stride)(const struct pager_thread *t);
};

extern const struct prefetcher prefetch_none;
extern const struct prefetcher prefetch_readahead; /* prefetch_readahead.c */
extern const struct prefetcher prefetch_trend;     /* prefetch_trend.c */

/* NULL if there is none of this name. */
const struct prefetcher *prefetch_find(const char *name, uint32_t length);

/*
 * The running thread has faulted at `va`: a demand read of it has just been submitted, or it was a
 * marker. Starts what the prefetcher suggests; returns how many pages. Never waits.
 */
uint32_t prefetch_observe(uint64_t va, bool marker);

/* Place `back` (0: the last) of the thread's history. */
static inline uint32_t prefetch_place(const struct pager_thread *t, uint32_t back)
{
    return (t->next + PAGER_HISTORY - 1 - back) % PAGER_HISTORY;
}

#endif
