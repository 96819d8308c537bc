/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of far/ share: the one pager and its counters. Not for anybody else.
 *
 * Context: any. One CPU runs the space for now and owns all of this; with several CPUs the lists,
 * the batch and the requests become one set per CPU, which is why they sit in one structure.
 */
#ifndef DILOS_UNIKERNEL_FAR_INTERNAL_H
#define DILOS_UNIKERNEL_FAR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/blkq.h"
#include "lib/base/list.h"
#include "lib/wire/gueststats.h"

struct prefetcher;

struct pager {
    struct list free;
    struct list active;
    struct list clean;
    uint64_t free_count;
    uint64_t active_count;
    uint64_t clean_count;
    uint64_t writing_count;
    uint64_t pinned_count;  /* frames with at least one pin */
    uint64_t reserve_count; /* the kernel's own allocations leave this many frames to faults */
    uint64_t low_count;     /* with fewer free frames a fault helps to reclaim */
    uint64_t high_count;    /* reclaim stops at this many */

    struct blkq *demand; /* NULL: no far memory */
    struct blkq *background;
    uint64_t far_bytes;
    uint64_t local_bytes;
    struct gueststats *stats; /* never NULL */
    const struct prefetcher *prefetcher;
};

extern struct pager pager;

/* As at boot: no frames, no far memory. */
void pager_reset(void);

/* One 8-byte store, so that the agent never reads a torn value. */
static inline void stat_set(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline void stat_add(uint64_t *counter, uint64_t delta)
{
    stat_set(counter, *counter + delta);
}

/* Counts a duration in a histogram of gueststats.h. */
static inline void stat_time(uint64_t *buckets, uint64_t ns)
{
    unsigned bucket = ns == 0 ? 0 : 63 - (unsigned)__builtin_clzll(ns);
    stat_add(&buckets[MIN(bucket, GUESTSTATS_BUCKETS - 1)], 1);
}

/* A zeroed frame for a page table; reclaims if none is free. Errors: as reclaim_direct(). */
int frame_alloc_table(phys_addr_t *ret) MUST_CHECK;

#endif
