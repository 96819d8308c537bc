/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One page of counters that the unikernel keeps in its own memory and the agent reads through the
 * guest's shared memory, without asking the guest. The guest announces the address in CTL_HELLO.
 *
 * ABI: fields are only ever added at the end; `bytes` says how many are there. Each counter is
 * written with one 8-byte store, so a reader sees no torn value, but different counters may be
 * moments apart. The agent treats every value as untrusted (it only shows them).
 *
 * Histograms: bucket i counts events of 2^i to 2^(i+1)-1 nanoseconds; 0 counts 0 and 1 too.
 */
#ifndef DILOS_LIB_WIRE_GUESTSTATS_H
#define DILOS_LIB_WIRE_GUESTSTATS_H

#include <stddef.h>
#include <stdint.h>

#define GUESTSTATS_MAGIC   0x54535344u /* "DSST" */
#define GUESTSTATS_VERSION 1u
#define GUESTSTATS_BUCKETS 32

struct gueststats {
    uint32_t magic;
    uint16_t version;
    uint16_t bytes; /* sizeof the structure as the guest knows it */

    /* memory, in 4 KiB pages: a state, not a count of events */
    uint64_t frames_total;  /* frames that the guest may use */
    uint64_t frames_free;   /* of those, free */
    uint64_t frames_kernel; /* of those, the kernel's own: image, page tables, heap */
    uint64_t pages_local;   /* program pages in a frame (anonymous and file) */
    uint64_t pages_remote;  /* program pages that live in far memory only */

    /* page faults, events since boot */
    uint64_t faults_zero;   /* first touch of anonymous memory */
    uint64_t faults_remote; /* answered by a far read */
    uint64_t faults_file;   /* answered by the root file system */
    uint64_t faults_wait;   /* the page was already on its way */
    uint64_t faults_cow;    /* a private file page was written */
    uint64_t faults_failed; /* ended in a signal */

    /* far memory traffic */
    uint64_t far_pages_read;
    uint64_t far_pages_written;
    uint64_t far_pages_discarded;
    uint64_t far_errors; /* requests that the device failed */

    /* reclaim */
    uint64_t reclaim_scanned;
    uint64_t reclaim_evicted_clean;
    uint64_t reclaim_evicted_file;
    uint64_t reclaim_direct; /* a fault found no free frame and had to reclaim first */
    uint64_t tlb_flush_pages;
    uint64_t tlb_flush_all;

    /* prefetch */
    uint64_t prefetch_issued;
    uint64_t prefetch_used;
    uint64_t prefetch_late;
    uint64_t prefetch_wasted;

    uint64_t syscalls;
    uint64_t syscalls_unknown; /* answered ENOSYS */

    uint64_t
        fault_remote_ns[GUESTSTATS_BUCKETS]; /* entry to publication; those timed, see `sample` */
    uint64_t device_read_ns[GUESTSTATS_BUCKETS]; /* of that, submission to completion */

    /*
     * Each processor has a block of its own, so that counting needs no lock: block i is at i times
     * `bytes` after block 0, whose address CTL_HELLO gives. What is true is the sum, field by
     * field; a single block's states may be below zero.
     */
    uint64_t block_count; /* in block 0 only */
    uint64_t sample;      /* in block 0 only: one in so many far faults is timed */

    /* stages of far faults, of those that are timed; 6 clock reads for one in
     * GUESTSTATS_SAMPLE; stage_entry_ns, at the end, comes first */
    uint64_t stage_claim_ns[GUESTSTATS_BUCKETS];   /* frame and entry claimed */
    uint64_t stage_queue_ns[GUESTSTATS_BUCKETS];   /* submitted to the device */
    uint64_t stage_device_ns[GUESTSTATS_BUCKETS];  /* until its completion was seen */
    uint64_t stage_publish_ns[GUESTSTATS_BUCKETS]; /* until the page is mapped */
    uint64_t stall_direct_ns[GUESTSTATS_BUCKETS];  /* each reclaim that a fault had to wait for */
    uint64_t writeback_batches;                    /* write requests; pages are far_pages_written */
    uint64_t stage_entry_ns[GUESTSTATS_BUCKETS]; /* from the trap until the page is found remote */
    uint64_t far_repeats; /* completions of requests that were completed before: ignored */
};

#define GUESTSTATS_SAMPLE     8u
#define GUESTSTATS_BLOCKS_MAX 16u

/* Adds a block to a sum of blocks, which has the header of block 0. */
static inline void gueststats_add(struct gueststats *sum, const struct gueststats *block)
{
    uint64_t *to = &sum->frames_total;
    const uint64_t *from = &block->frames_total;
    const size_t count = (sizeof(*sum) - offsetof(struct gueststats, frames_total)) / 8;
    for (size_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

/* After the last one: states that are read at slightly different times are never below zero. */
static inline void gueststats_settle(struct gueststats *sum)
{
    uint64_t *const states[] = {&sum->frames_free, &sum->frames_kernel, &sum->pages_local,
                                &sum->pages_remote};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        *states[i] = (int64_t)*states[i] < 0 ? 0 : *states[i];
    }
}

_Static_assert(sizeof(struct gueststats) <= 4096, "the statistics fit one page");

#endif
