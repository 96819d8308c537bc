/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guessing which remote pages will be wanted. A prefetcher sees each demand fault, while the read
 * is in flight, and names pages; those that are remote are read and mapped with A = 0.
 */
#ifndef DILOS_UNIKERNEL_FAR_PREFETCH_H
#define DILOS_UNIKERNEL_FAR_PREFETCH_H

#include <stdint.h>

#define PREFETCH_MAX 8 /* pages named at one fault */

struct prefetcher {
    const char *name;
    void (*reset)(void);
    /* Fault context. Fills ret_va with up to PREFETCH_MAX page addresses; returns how many. */
    uint32_t (*observe)(uint64_t va, uint64_t *ret_va);
};

extern const struct prefetcher prefetch_none;
extern const struct prefetcher prefetch_readahead; /* prefetch_readahead.c */

/* NULL if there is none of this name. */
const struct prefetcher *prefetch_find(const char *name, uint32_t length);

/* A demand read of `va` has just been submitted: starts what the prefetcher names. */
void prefetch_observe(uint64_t va);

#endif
