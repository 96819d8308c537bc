/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pager keeps for each thread. The kernel embeds it in its thread, zeroed at birth, and
 * gives the running thread's with pager_thread(); only far/ looks inside.
 */
#ifndef DILOS_UNIKERNEL_FAR_PAGER_THREAD_H
#define DILOS_UNIKERNEL_FAR_PAGER_THREAD_H

#include <stdint.h>

#define PAGER_HISTORY 8 /* faults that a prefetcher looks back */

struct pager_thread {
    uint64_t last_va;              /* of the last far fault */
    int64_t deltas[PAGER_HISTORY]; /* between far faults, in pages; a ring */
    uint32_t delta_next;
    uint32_t window;     /* pages that the prefetcher asks for now */
    uint64_t ahead_va;   /* the last page that was asked for */
    int64_t stride;      /* pages between those that it asks for */
    uint32_t issued;     /* of the present window */
    uint32_t quiet;      /* faults until a prefetcher without success tries again */
    uint32_t generation; /* of the prefetcher that the rest belongs to */
};

#endif
