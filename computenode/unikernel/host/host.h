/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine that far/ runs on in its tests: physical memory, an MMU with a TLB, and a far
 * device, all modelled in one Linux process, without real time. Each processor is a thread of that
 * process; the one that calls host_start() is processor 0.
 *
 * The models are as unkind as the specifications allow: the TLB keeps a translation until it is
 * flushed, the device moves bytes at any time between submission and completion and completes in
 * any order. They also watch: host_violations() counts what the pager must never do.
 */
#ifndef DILOS_UNIKERNEL_HOST_HOST_H
#define DILOS_UNIKERNEL_HOST_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/blkq.h"
#include "lib/wire/gueststats.h"

/* Errors planted in the machine, to prove that the tests would see one in the pager. */
enum host_bug {
    HOST_BUG_NO_FLUSH = 1,       /* TLB flushes do nothing */
    HOST_BUG_LOSE_DIRTY = 2,     /* the MMU does not set D */
    HOST_BUG_DROP_WRITES = 4,    /* the device says "written" and forgets one in 16 */
    HOST_BUG_LATE_DISCARD = 8,   /* a discard takes effect long after it has completed */
    HOST_BUG_LOSE_ACCESSED = 16, /* the MMU does not set A */
    HOST_BUG_LOCAL_FLUSH = 32,   /* TLB flushes reach the processor that asks only */
};

struct host_config {
    uint64_t seed;
    uint64_t frame_count;
    uint32_t cpu_count;   /* 0: one */
    uint64_t image_bytes; /* see struct pager_config */
    bool far;             /* is there a far device? */
    bool one_queue;       /* demand and background share a queue */
    uint32_t delay_max;   /* polls until a request completes: 1 to this */
    uint32_t read_fail_per_1000;
    uint32_t write_fail_per_1000;
    uint32_t discard_fail_per_1000;
    uint32_t repeat_per_1000; /* chances of a poll to bring an old completion once more */
    uint64_t far_page_limit;  /* pages that the device holds before -ENOSPC; 0: no limit */
    const char *prefetch;     /* NULL: none */
    unsigned bugs;            /* enum host_bug */
};

/* Starts the machine and the pager on it; once more is a fresh machine. */
void host_start(const struct host_config *config);
/* Waits for writes in flight, stops the machine and frees what it took. */
void host_stop(void);

const struct gueststats *host_stats(void);
uint64_t host_violations(void);
/* Pages that the far device holds now. */
uint64_t host_far_pages(void);
/* Completions that the device has repeated. */
uint64_t host_repeats(void);
void host_far_limit(uint64_t page_limit);
void host_fail(uint32_t read_per_1000, uint32_t write_per_1000);

/*
 * The calling thread is processor `cpu` from now on; then it is none any more. A thread that is a
 * processor must not block but in host_relax(), in which it answers TLB flushes.
 */
void host_cpu_enter(uint32_t cpu);
void host_cpu_leave(void);
void host_relax(void);

/* Reproducible numbers from the seed; a sequence of its own for each processor. */
uint64_t host_random(void);
uint64_t host_random_below(uint64_t bound);

/*
 * An access of the program (or, from_user false, of the kernel) through the MMU. va is a multiple
 * of 8. 0, or the error of mm_fault(). `steps` times faulting on one access is an endless loop.
 */
int host_load(uint64_t va, bool from_user, uint64_t *ret) MUST_CHECK;
int host_store(uint64_t va, bool from_user, uint64_t value) MUST_CHECK;
int host_execute(uint64_t va) MUST_CHECK;
/* Page faults of all these accesses so far. */
uint64_t host_faults(void);

/* ---- between the files of host/ ---- */
extern struct host_config host_config;
void host_tlb_reset(void);
/* Does the flushes that other processors have asked this one for. */
void host_tlb_answer(void);
/* Is the processor to be waited for? */
void host_tlb_online(uint32_t cpu, bool online);
void host_device_start(void);
void host_device_stop(void);
struct blkq *host_queue(uint32_t cpu, bool demand);
void host_violation(const char *what, uint64_t va);

#endif
