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

    uint64_t fault_remote_ns[GUESTSTATS_BUCKETS]; /* entry to publication of a far read */
    uint64_t device_read_ns[GUESTSTATS_BUCKETS];  /* of that, submission to completion */
};

_Static_assert(sizeof(struct gueststats) <= 4096, "the statistics fit one page");

#endif
