/* SPDX-License-Identifier: Apache-2.0 */
/* The world that test_states.c explores: what one page, its frames and its requests are in. */
#ifndef DILOS_TESTS_UNIKERNEL_STATE_MODEL_H
#define DILOS_TESTS_UNIKERNEL_STATE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/page.h"

#define PROGRAMS    2
#define FRAMES      2
#define STORES      2
#define RIGHTS      (PTE_W | PTE_U | PTE_NX)
#define NONE        0xffu
#define GARBAGE     0xeeu
#define FRAME_PA(f) (((uint64_t)(f) + 1) << PAGE_SHIFT)

enum frame { FREE, BUSY, ACTIVE, CLAIMED, WRITING, HELD };
enum request { IDLE, READ, WRITE, DISCARD };
/* What a completion that comes once more would be of: */
enum token { NONE_YET, OF_THIS, OF_FORMER, REPEATED };
/* What a search has beside what all have: */
enum feature { RESIZE = 1, TROUBLE = 2 };

/* Where an actor stands. Programs and the prefetcher: */
enum {
    USER,    /* not in the kernel */
    FOUND,   /* has found the page remote; `entry` is what it saw */
    TAKEN,   /* has a frame */
    FETCHES, /* has claimed the entry */
    WAITS,   /* has submitted the read */
    READ_IN, /* the request has been given back, the entry is as it was */
    MAPPED,  /* has published, the frame is not ACTIVE yet */
    EMPTY,   /* has found the page empty, waits for the kernel lock */
    FILLS,   /* has the lock and a frame of zeros */
    FILLED,  /* has published it */
};
/* The reclaimer: */
enum { LOOKS, HOLDS, SENDS, GIVES_BACK };
/* The unmapper: */
enum { IDLES, LOCKED, HAS_FRAME, IS_EMPTY, FLUSHED, DISCARDS, ENDS, DONE };
/* The completion of a write: */
enum { NOTHING, ENDED, SETTLES, SETTLED };

struct actor {
    uint8_t at;
    uint8_t frame;
    uint8_t failed; /* the read */
    uint8_t unused[5];
    uint64_t entry;
};

struct world {
    pte_t pte;
    struct actor program[PROGRAMS + 1]; /* the last one is the prefetcher: no TLB, no access */
    struct actor reclaimer;
    struct actor unmapper;
    uint8_t frame[FRAMES];
    uint8_t contents[FRAMES];
    uint8_t unflushed[FRAMES];
    uint8_t tlb_frame[PROGRAMS]; /* NONE: nothing cached */
    uint8_t tlb_dirty[PROGRAMS];
    uint8_t request, request_frame, request_of, moved, done;
    uint8_t settling, settled_ok;
    uint8_t discarding;
    uint8_t far;   /* contents of the far page; NONE: nothing */
    uint8_t value; /* what the page must hold */
    uint8_t stores;
    uint8_t locked;
    uint8_t failed;  /* the read that is done */
    uint8_t token;   /* enum token */
    uint8_t target;  /* frames that are to be held: beyond what the instance may have */
    uint8_t resizes; /* done so far */
    uint8_t pad[5];
};

enum bug {
    BUG_NONE,
    BUG_EVICT_UNFLUSHED, /* a page is evicted though it may be cached */
    BUG_WRITE_UNFLUSHED, /* D is cleared though a store may not set it again */
    BUG_FREE_EARLY,      /* an unmapped frame is free before the flush */
    BUG_NO_SETTLE,       /* unmapping does not wait for a write */
    BUG_NO_DISCARD_LOOK, /* a page is written while its discard is in flight */
    BUG_NO_CLAIM,        /* the unmapper takes the frame whoever has it */
    BUG_UNMAP_FETCHING,  /* unmapping does not wait for a read ahead */
    BUG_AHEAD_FAILED,    /* a read ahead that failed is mapped */
    BUG_AHEAD_RECLAIMED, /* a read ahead makes its frame ACTIVE before it publishes the page */
    BUG_REPEAT_OLD,      /* a completion is taken for the request that has its place now */
    BUG_REPEAT_FREED,    /* a completion is acted on though its request was given back */
    BUG_HOLD_TAKEN,      /* a resize takes a frame from who has just got it */
    BUG_UNHOLD_ALL,      /* a resize gives back frames that are in use */
    BUG_COUNT,
};

struct search {
    enum bug bug;
    enum feature features;
    const char *wrong;
    struct world *stack;
    uint64_t *seen; /* open addressing; 0: a free place */
    uint32_t depth;
    uint32_t seen_count;
};

extern struct search x;

/* What is wrong, the first time. */
void fail(const char *what);

/* To be explored, if it is new. */
void push(const struct world *w);
/* Begins with an empty page and free frames. */
void start(enum bug bug, enum feature features);
void finish(void);

uint8_t frame_in(uint64_t entry);
bool may_flush(const struct world *w); /* kernel code answers flushes only where it waits */
void flush(struct world *w);
void make_free(struct world *w, uint8_t f);
uint8_t take_frame(struct world *w); /* NONE: there is none */
void submit(struct world *w, enum request kind, uint8_t frame, uint8_t of);

#endif
