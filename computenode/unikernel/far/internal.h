/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of far/ share: the one pager, and what each processor has of its own. Not for
 * anybody else.
 *
 * Who may touch what, with several processors (docs/decisions/0031):
 *  - struct pager_cpu belongs to its processor. Kernel code is not preempted, so it needs no lock
 *    there; but every wait may let another thread of the processor in: nothing that was read from
 *    it before a wait is still true after it.
 *  - an entry of a page is changed by compare-and-swap by anybody (page.h);
 *  - a frame's fields belong to whoever has it claimed, taken, or reads into it (frame_table.h);
 *  - the map of areas, making and freeing page tables, and pages that become mapped or empty for
 *    good belong to the holder of the kernel lock;
 *  - a pointer to an entry that was found without the kernel lock is good until the next wait, or
 *    while that entry is FETCHING for its finder: a table is freed only after tlb_flush_all(),
 *    which every processor answers between two pieces of kernel code or in a wait.
 */
#ifndef DILOS_UNIKERNEL_FAR_INTERNAL_H
#define DILOS_UNIKERNEL_FAR_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/blkq.h"
#include "computenode/unikernel/kernel/port.h"
#include "lib/wire/gueststats.h"

#define RESERVE_FRAMES_MAX 64 /* free frames that a processor has in hand */

struct frame;
struct io_ring;
struct prefetcher;

struct pager_cpu {
    struct gueststats *stats;
    struct io_ring *demand; /* NULL: no far memory */
    struct io_ring *background;
    uint32_t reserve_count;
    uint32_t fault_count;     /* far faults; one in GUESTSTATS_SAMPLE is timed */
    uint64_t fruitless_count; /* frames that the hand passed without that one was freed */
    bool reclaiming;          /* below the low watermark, and not yet back at the high one */
    struct frame *reserve[RESERVE_FRAMES_MAX];
} __attribute__((aligned(64)));

struct pager {
    /* Constant once started. The direct map is linear: its start, to spare a call for each. */
    uint8_t *direct;
    _Atomic(uint64_t) *root;
    bool has_far;
    _Atomic uint32_t reserve_max; /* of pager_cpu.reserve; half of it is what is aimed at */
    _Atomic uint64_t far_bytes;
    uint64_t image_bytes; /* local memory that is not in the frame table */
    _Atomic uint64_t local_bytes;
    /* Watermarks of the pool of free frames; pager_resize() changes them. */
    _Atomic uint64_t
        reserve_low;             /* the kernel's own allocations leave this many frames to faults */
    _Atomic uint64_t low_count;  /* with fewer free frames a fault helps to reclaim */
    _Atomic uint64_t high_count; /* reclaim stops at this many */

    _Atomic uint64_t pinned_count; /* frames with at least one pin */
    _Atomic(const struct prefetcher *) prefetcher;
    struct pager_cpu cpus[CPU_COUNT_MAX];
};

extern struct pager pager;

/* As at boot: no frames, no far memory. */
void pager_reset(void);

static inline void *direct_map(phys_addr_t pa)
{
    return pager.direct + pa.v;
}

static inline struct pager_cpu *this_cpu(void)
{
    return &pager.cpus[cpu_index()];
}

/* The counters of this processor: only it writes them. */
static inline struct gueststats *stats_here(void)
{
    return this_cpu()->stats;
}

/* One 8-byte store, so that the agent never reads a torn value. */
static inline void stat_set(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline void stat_add(uint64_t *counter, uint64_t delta)
{
    stat_set(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + delta);
}

/* Counts a duration in a histogram of gueststats.h. */
static inline void stat_time(uint64_t *buckets, uint64_t ns)
{
    unsigned bucket = ns == 0 ? 0 : 63 - (unsigned)__builtin_clzll(ns);
    stat_add(&buckets[MIN(bucket, GUESTSTATS_BUCKETS - 1)], 1);
}

/* The sum of one counter (its offset in struct gueststats) over all processors. */
uint64_t stats_sum(size_t offset);
#define STATS_SUM(field) stats_sum(offsetof(struct gueststats, field))

/*
 * Spinning locks: held for a few dozen instructions, never across a wait, never on the path of a
 * remote fault that finds a frame in its reserve. Zero is free.
 */
struct spin {
    atomic_uint taken;
};

static inline bool spin_try(struct spin *s)
{
    return atomic_load_explicit(&s->taken, memory_order_relaxed) == 0 &&
           atomic_exchange_explicit(&s->taken, 1, memory_order_acquire) == 0;
}

static inline void spin_lock(struct spin *s)
{
    while (!spin_try(s)) {
        cpu_relax();
    }
}

static inline void spin_unlock(struct spin *s)
{
    atomic_store_explicit(&s->taken, 0, memory_order_release);
}

/* May one more frame be pinned? At most half of all; the log names the cause the first time. */
bool pin_allowed(void);

#endif
