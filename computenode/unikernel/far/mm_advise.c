/* SPDX-License-Identifier: Apache-2.0 */
/* madvise(2), msync(2), mincore(2). */
#include <errno.h>

#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "computenode/unikernel/far/writeback.h"

/* Shared anonymous memory keeps its contents: in Linux it is a file of its own. */
static void forget(const struct area *a, uint64_t start, uint64_t end)
{
    if ((a->flags & MM_SHARED) == 0 || a->backing != NULL) {
        zap_range(start, end, ZAP_FREE);
    }
}

static void want(uint64_t start, uint64_t end)
{
    uint64_t va = start;
    while (pt_next(&va, end) != NULL) {
        uint32_t count = (uint32_t)MIN((end - va) / PAGE_BYTES, BLKQ_SEGMENTS_MAX);
        uint32_t covered_count;
        (void)fetch_ahead(va, 1, count, 0, &covered_count);
        if (covered_count < count || io_background_room() == 0) {
            break; /* no frame to spare, or the queue is full: it is only advice */
        }
        va += count * PAGE_BYTES;
    }
}

/* Claims the frame of a local page that the clock could take. */
static struct frame *claim_reclaimable(pte_t *pte, uint64_t *ret_entry)
{
    enum frame_state was;
    struct frame *f = frame_claim_page(pte, ret_entry, &was);
    if (f == NULL) {
        return NULL;
    }
    enum page_state state = pte_state(*ret_entry);
    if ((state == PAGE_CLEAN || state == PAGE_DIRTY) && f->pins == 0) {
        return f;
    }
    frame_move(f, was);
    return NULL;
}

static void cool(uint64_t start, uint64_t end)
{
    uint64_t va = start;
    for (pte_t *pte = pt_next(&va, end); pte != NULL; pte = pt_next(&va, end)) {
        uint64_t entry;
        struct frame *f = claim_reclaimable(pte, &entry);
        if (f != NULL) {
            if ((entry & PTE_A) != 0 || !frame_is_flushed(f)) {
                atomic_fetch_and_explicit(pte, ~PTE_A, memory_order_acq_rel);
                tlb_batch_add_frame(f, va);
            }
            frame_move(f, FRAME_ACTIVE);
        }
        va += PAGE_BYTES;
    }
    tlb_batch_flush();
}

/* The second time: evicts the page when its write has ended, and writes it no more. */
static void evict_page(pte_t *pte)
{
    uint64_t entry;
    fetch_settle(pte);
    struct frame *f = claim_reclaimable(pte, &entry);
    if (f != NULL && !reclaim_evict(f)) {
        frame_move(f, FRAME_ACTIVE);
    }
}

/*
 * Evicts the page, or starts to write it. What is in flight may stand in the way (the queue is
 * full, a discard of the far page): then it waits for that. Ends: each wait ends a request, and
 * this one starts no other meanwhile.
 */
static void push_page(pte_t *pte)
{
    struct io_wait wait = {0};
    for (;;) {
        uint64_t entry;
        struct frame *f = claim_reclaimable(pte, &entry);
        if (f == NULL || reclaim_evict(f)) {
            return;
        }
        bool dirty = pte_state(entry) == PAGE_DIRTY && (entry & PTE_A) == 0;
        if (dirty && frame_is_flushed(f) && writeback_start(f)) {
            return;
        }
        bool flushed = frame_is_flushed(f);
        frame_move(f, FRAME_ACTIVE);
        if (!dirty || !flushed || io_background_count() == 0) {
            return;
        }
        io_wait_step(&wait);
    }
}

static void for_pages(uint64_t start, uint64_t end, void (*act)(pte_t *pte))
{
    uint64_t va = start;
    for (pte_t *pte = pt_next(&va, end); pte != NULL; pte = pt_next(&va, end)) {
        act(pte);
        va += PAGE_BYTES;
    }
    io_kick();
}

/* First all writes are started, then they are waited for. */
static void page_out(uint64_t start, uint64_t end)
{
    cool(start, end);
    for_pages(start, end, push_page);
    for_pages(start, end, evict_page);
}

static void advise_area(const struct area *a, uint64_t start, uint64_t end, enum mm_advice advice)
{
    switch (advice) {
    case MM_DONTNEED:
    case MM_FREE:
        forget(a, start, end);
        break;
    case MM_WILLNEED:
        want(start, end);
        break;
    case MM_COLD:
        cool(start, end);
        break;
    case MM_PAGEOUT:
        page_out(start, end);
        break;
    }
}

int mm_advise(struct mm *mm, uint64_t va, uint64_t length, enum mm_advice advice)
{
    uint64_t end;
    int r = range_of(va, length, &end);
    if (r < 0) {
        return r;
    }
    for (uint64_t at = va; at < end;) {
        const struct area *a = areas_find(&mm->user, at);
        if (a == NULL || a->start >= end) {
            return -ENOMEM;
        }
        if (a->start > at) {
            r = -ENOMEM; /* a hole: the rest is done all the same, as Linux does */
        }
        uint64_t area_end = MIN(end, a->end);
        advise_area(a, MAX(at, a->start), area_end, advice);
        at = area_end;
    }
    return r;
}

int mm_sync(struct mm *mm, uint64_t va, uint64_t length)
{
    uint64_t end;
    int r = range_of(va, length, &end);
    while (r == 0 && va < end) {
        const struct area *a = areas_at(&mm->user, va);
        if (a == NULL) {
            return -ENOMEM;
        }
        va = a->end;
    }
    return r;
}

int mm_resident(struct mm *mm, uint64_t va, uint64_t page_count, uint8_t *ret_vector)
{
    uint64_t end;
    if (page_count > MM_USER_END / PAGE_BYTES) {
        return -EINVAL;
    }
    int r = mm_sync(mm, va, page_count * PAGE_BYTES);
    if (r == 0) {
        r = range_of(va, page_count * PAGE_BYTES, &end);
    }
    for (uint64_t i = 0; r == 0 && i < page_count; i++) {
        pte_t *pte = pt_find(va + i * PAGE_BYTES);
        ret_vector[i] = pte != NULL && pte_is_local(pte_load(pte)) ? 1 : 0;
    }
    return r;
}
