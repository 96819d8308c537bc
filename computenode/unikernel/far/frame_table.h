/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame table as the pager itself uses it (frame.h is what the kernel uses).
 *
 * A frame's state is also its lock. Whoever moves a frame from ACTIVE, WRITING or ORPHAN to
 * CLAIMED, by compare-and-swap, owns its fields until it moves it on; a claim is never held across
 * a wait. BUSY frames belong to who took them. So a frame's `pte` can be followed while it is
 * claimed: its page can't be unmapped meanwhile, so its page table can't be freed.
 */
#ifndef DILOS_UNIKERNEL_FAR_FRAME_TABLE_H
#define DILOS_UNIKERNEL_FAR_FRAME_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/far/page.h"
#include "lib/base/check.h"
#include "lib/base/state.h"

#define FRAME_PINS_MAX UINT16_MAX

enum frame_state {
    FRAME_NONE,    /* no frame: a hole between ranges of RAM */
    FRAME_FREE,    /* in the pool, or in a processor's reserve */
    FRAME_KERNEL,  /* page table, heap, this table; never evicted */
    FRAME_BUSY,    /* taken for a page that is not mapped yet (being filled or fetched) */
    FRAME_ACTIVE,  /* holds a page; the clock's hand may claim it */
    FRAME_CLAIMED, /* holds a page; somebody is deciding about it */
    FRAME_WRITING, /* holds a page, a write is in flight */
    FRAME_ORPHAN,  /* its page is gone, pins keep it; freed by the last unpin */
    FRAME_HELD,    /* free, but beyond what the instance may have now (pager_resize) */
};

enum {
    FRAME_PREFETCHED = 1, /* read ahead of need and not yet seen used */
    FRAME_MARKER = 2,     /* touching it first is to be seen by the prefetcher */
};

struct frame {
    union {
        pte_t *pte;         /* of the page that it holds; NULL without one */
        struct frame *next; /* in the pool, or a list of its owner */
    };
    uint64_t va;          /* of that page */
    uint32_t flush_epoch; /* tlb_batch: a flush of flush_cpu after this has forgotten the page */
    uint16_t pins;        /* devices and aliases that use the frame */
    uint8_t flush_cpu;
    uint8_t flags;
    _Atomic uint8_t state; /* enum frame_state */
};

/* The part of RAM that the table covers, set by frames_init(): for the functions below. */
struct frame_table {
    struct frame *frames;
    uint64_t base_page; /* page number of frames[0] */
    uint64_t span;      /* entries, holes included */
    uint64_t count;     /* frames */
};
extern struct frame_table frame_table;

/* CHECKs that pa belongs to the table. */
struct frame *frame_of(phys_addr_t pa);

static inline phys_addr_t frame_address(const struct frame *frame)
{
    uint64_t index = (uint64_t)(frame - frame_table.frames);
    return (phys_addr_t){(frame_table.base_page + index) << PAGE_SHIFT};
}

static inline void *frame_bytes(const struct frame *frame)
{
    return phys_to_virt(frame_address(frame));
}

static inline enum frame_state frame_state(const struct frame *frame)
{
    return (enum frame_state)atomic_load_explicit(&frame->state, memory_order_acquire);
}

/* Legal moves: bit `to` of frame_moves[from]. */
extern const uint32_t frame_moves[];

/* Moves a frame that the caller owns (BUSY, CLAIMED, or just taken from the pool). */
static inline void frame_move(struct frame *frame, enum frame_state to)
{
    uint8_t from = atomic_load_explicit(&frame->state, memory_order_relaxed);
    CHECK(state_may_move(frame_moves, from, to));
    atomic_store_explicit(&frame->state, (uint8_t)to, memory_order_release);
}

/* Claims a frame that is in `from`. */
static inline bool frame_claim(struct frame *frame, enum frame_state from)
{
    uint8_t expected = (uint8_t)from;
    return atomic_load_explicit(&frame->state, memory_order_relaxed) == expected &&
           atomic_compare_exchange_strong_explicit(&frame->state, &expected, FRAME_CLAIMED,
                                                   memory_order_acquire, memory_order_relaxed);
}

/*
 * Claims the frame of a local page, whatever it is in, spinning while somebody else has it. Returns
 * NULL if the page is not local; *ret_entry is the entry then or under the claim, *ret_was what to
 * move the frame back to. Kernel lock held, or the entry is otherwise known to stay.
 */
struct frame *frame_claim_page(pte_t *pte, uint64_t *ret_entry, enum frame_state *ret_was);

/*
 * A frame for a page, FRAME_BUSY, contents undefined; reclaims if none is free, and may then wait.
 * Errors: -ENOMEM, -ENOSPC, -EIO as in reclaim_direct().
 */
int frame_take(struct frame **ret) MUST_CHECK;
struct pager_cpu;
/* From this processor's reserve, or the pool; NULL rather than to reclaim. Never waits. */
struct frame *frame_try_take(void);
struct frame *frame_try_take_on(struct pager_cpu *cpu); /* `cpu` is this one */

/* A frame that the caller owns is free: no processor has a translation of it cached. */
void frame_free(struct frame *frame);
/* The page of a claimed frame is gone: as frame_free(), or leaves it to the last unpin. */
void frame_release(struct frame *frame);

/*
 * A busy frame will hold the page of `pte` at `va`, of which nothing is cached. When the entry has
 * been published: frame_move(frame, FRAME_ACTIVE).
 */
void frame_assign(struct frame *frame, pte_t *pte, uint64_t va);

/* A zeroed frame for a page table; reclaims if none is free. Errors: as reclaim_direct(). */
int frame_alloc_table(phys_addr_t *ret) MUST_CHECK;

void frame_pin(struct frame *frame); /* claimed */
void frame_unpin(struct frame *frame);

/* Fills the reserve of this processor, `cpu`, up to what is aimed at, if the pool has frames. Never
 * waits. */
void frame_refill(struct pager_cpu *cpu);
/* Free frames that this processor can have without reclaiming. */
uint64_t frame_free_count(void);
/* Free frames in the pool: what the watermarks are about. */
uint64_t frame_pool_count(void);

/* Frames of the table, without holes; and entry `index` < frame_span() of it, hole or not. */
uint64_t frame_count(void);
uint64_t frame_span(void);
struct frame *frame_at(uint64_t index);

/*
 * How many frames may be used, at most frame_count(). Frames that become free beyond it are held;
 * frame_excess() are to be emptied still. Kernel lock held for the change.
 */
void frame_limit_set(uint64_t count);
uint64_t frame_limit(void);
uint64_t frame_excess(void);
/*
 * While the limit is not reached for want of pages that could be evicted: gives up to `count` of
 * the frames that are held back to faults. false: there are none.
 */
bool frame_unhold(uint64_t count);
/* Holds free frames, as far as there are more than faults need. */
void frame_hold_free(void);

#endif
