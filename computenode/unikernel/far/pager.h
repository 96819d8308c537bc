/* SPDX-License-Identifier: Apache-2.0 */
/* Start of the pager, and what the rest of the kernel may ask of it. */
#ifndef DILOS_UNIKERNEL_FAR_PAGER_H
#define DILOS_UNIKERNEL_FAR_PAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/blkq.h"
#include "lib/wire/gueststats.h"

struct pager_config {
    /*
     * Of processor i, contiguous from 0 on for those that run; processors may share: demand reads,
     * and the rest (write-back, discard, prefetch). demand[0] NULL: no far memory; pages then stay
     * local. background[i] NULL: shares demand[i].
     */
    struct blkq *demand[CPU_COUNT_MAX];
    struct blkq *background[CPU_COUNT_MAX];
    uint64_t far_bytes; /* far memory that may be held */
    uint64_t slab_bytes;
    uint64_t image_bytes; /* local memory that was taken before frames_init(): counts as local */
    struct gueststats *stats; /* CPU_COUNT_MAX blocks, zeroed; kept up to date from now on */
    const char *prefetch;     /* name of the prefetcher, not NUL terminated */
    uint32_t prefetch_length; /* 0: none */
};

/* Their names, for messages. */
#define PAGER_PREFETCHERS "none, readahead, trend"

/* Is there a prefetcher of this name? */
bool pager_prefetcher_exists(const char *name, uint32_t length);
/* Uses this prefetcher from now on. Errors: -EINVAL there is none of this name. */
int pager_prefetcher_set(const char *name, uint32_t length) MUST_CHECK;

/*
 * Changes how much local memory the instance may have (what was taken before frames_init()
 * included) while it runs. Less: pages are evicted and their frames held; what could not be
 * evicted within a bounded time is while the program runs on, as far as there is far memory for
 * it. ret_bytes: what it has now; with -ERANGE the nearest value that is possible. Waits; kernel
 * lock held. Errors: -ERANGE, -ENOTSUP there is no far memory to evict to.
 */
int pager_resize(uint64_t local_bytes, uint64_t *ret_bytes) MUST_CHECK;

/*
 * Changes how much far memory may be held: for what programs are told and may map. What holds is
 * what the device accepts; after growth, pages that it refused are tried again. Any context.
 */
void pager_far_set(uint64_t far_bytes);

/*
 * Once, after frames_init(). A prefetcher that does not exist counts as none; a far device that is
 * smaller than 2^48 bytes is refused (klog) and counts as no far memory.
 */
void pager_init(const struct pager_config *config);

/*
 * Does a bounded slice of background work (write-ahead, refilling the reserve). Called by the
 * kernel where it would idle. Returns true if there is more to do.
 */
bool pager_idle(void);

/* Completes all writes in flight; called before the machine stops. */
void pager_quiesce(void);

/*
 * Looks at every frame and every entry and CHECKs the rules of page.h. Slow; for tests. Not in
 * fault context.
 */
void pager_verify(void);

#endif
