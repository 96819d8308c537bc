/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pager keeps for each thread: the history from which its prefetcher guesses. The kernel
 * embeds it in its thread, zeroed at birth, and gives the running thread's with pager_thread();
 * only far/ looks inside.
 */
#ifndef DILOS_UNIKERNEL_FAR_PAGER_THREAD_H
#define DILOS_UNIKERNEL_FAR_PAGER_THREAD_H

#include <stdint.h>

#define PAGER_HISTORY 8 /* far faults that a prefetcher looks back */
#define PAGER_STREAMS 4

/* A run of pages, `stride` apart, that is read ahead of its reader. */
struct pager_stream {
    uint64_t next_va;   /* the first that was not asked for */
    uint64_t marker_va; /* touching it asks for the next window */
    int64_t stride;     /* in pages */
    uint32_t window;    /* pages asked for at once; 0: no stream */
    uint32_t hit_count; /* windows that were reached */
};

struct pager_thread {
    uint64_t fault_va[PAGER_HISTORY]; /* of the last far faults; a ring */
    int64_t delta[PAGER_HISTORY];     /* between them, in pages */
    struct pager_stream streams[PAGER_STREAMS];
    uint32_t next;        /* place in the rings */
    uint32_t next_stream; /* to be replaced */
    uint32_t misses;      /* streams in a row that were never reached */
    uint32_t quiet;       /* starts to let pass, after too many misses */
};

#endif
