/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame table as the pager itself uses it (frame.h is what the kernel uses).
 *
 * Context: any. One CPU runs the space for now, so the lists and counts have one owner; entries of
 * page tables are changed by compare-and-swap all the same (page.h).
 */
#ifndef DILOS_UNIKERNEL_FAR_FRAME_TABLE_H
#define DILOS_UNIKERNEL_FAR_FRAME_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/far/page.h"
#include "lib/base/list.h"

#define FRAME_RANGES_MAX 16
#define FRAME_PINS_MAX   UINT16_MAX

enum frame_state {
    FRAME_FREE,    /* on the free list */
    FRAME_KERNEL,  /* page table, heap, this table; never evicted */
    FRAME_BUSY,    /* taken for a page that is not mapped yet (being filled or fetched) */
    FRAME_ACTIVE,  /* holds a page; on the active list, the clock's hand passes it */
    FRAME_CLEAN,   /* holds a page that was clean and unused when the hand passed; goes first */
    FRAME_WRITING, /* holds a page, a write is in flight; on no list */
    FRAME_ORPHAN,  /* its page is gone, pins keep it; freed by the last unpin */
};

enum { FRAME_PREFETCHED = 1 /* read ahead of need and not yet seen used */ };

struct frame {
    struct list link;
    pte_t *pte;           /* of the page that it holds; NULL without one */
    uint64_t va;          /* of that page */
    uint32_t flush_epoch; /* tlb_batch: a flush after this one has forgotten the page */
    uint16_t pins;        /* devices and aliases that use the frame */
    uint8_t state;        /* enum frame_state */
    uint8_t flags;
};

/* CHECKs that pa belongs to the table. */
struct frame *frame_of(phys_addr_t pa);
phys_addr_t frame_address(const struct frame *frame);
static inline void *frame_bytes(const struct frame *frame)
{
    return phys_to_virt(frame_address(frame));
}

/* The one function that changes frame->state; moves the frame to that state's list, at its tail. */
void frame_move(struct frame *frame, enum frame_state to);

/*
 * A frame for a page, FRAME_BUSY, contents undefined; reclaims if none is free. Errors: -ENOMEM,
 * -ENOSPC, -EIO as in reclaim_direct().
 */
int frame_take(struct frame **ret) MUST_CHECK;
/* As frame_take, but NULL rather than to reclaim. */
struct frame *frame_try_take(void);

/* The page of a mapped frame is gone: frees the frame, or leaves it to the last unpin. */
void frame_release(struct frame *frame);

/* A busy frame now holds the page of `pte` at `va`: onto the active list. */
void frame_mapped(struct frame *frame, pte_t *pte, uint64_t va);

void frame_pin(struct frame *frame);
void frame_unpin(struct frame *frame);

uint64_t frame_count(void);
struct frame *frame_at(uint64_t index);

#endif
