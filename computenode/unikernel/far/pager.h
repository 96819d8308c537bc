/* SPDX-License-Identifier: Apache-2.0 */
/* Start of the pager, and what the rest of the kernel may ask of it. */
#ifndef DILOS_UNIKERNEL_FAR_PAGER_H
#define DILOS_UNIKERNEL_FAR_PAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/blkq.h"
#include "lib/wire/gueststats.h"

struct pager_config {
    struct blkq *demand;     /* NULL: no far memory; pages then stay local */
    struct blkq *background; /* write-back, discard and prefetch; may be the same as demand */
    uint64_t far_bytes;      /* far memory that may be held */
    uint64_t slab_bytes;
    struct gueststats *stats; /* zeroed; kept up to date from now on */
    const char *prefetch;     /* name of the prefetcher, not NUL terminated */
    uint32_t prefetch_length; /* 0: none */
};

/* Is there a prefetcher of this name? */
bool pager_prefetcher_exists(const char *name, uint32_t length);

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
