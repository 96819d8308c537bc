/* SPDX-License-Identifier: Apache-2.0 */
/* Emptying pages: frames go back, far pages are discarded. */
#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"

/*
 * Frames of pages that are gone, which some processor may still reach through a translation that
 * it has cached: they are freed after the flush.
 */
struct limbo {
    struct frame *first;
    uint32_t count;
};

static void limbo_end(struct limbo *limbo)
{
    tlb_batch_flush();
    while (limbo->first != NULL) {
        struct frame *f = limbo->first;
        limbo->first = f->next;
        f->next = NULL;
        frame_free(f);
    }
    limbo->count = 0;
}

static void limbo_add(struct limbo *limbo, struct frame *frame, uint64_t va)
{
    tlb_batch_add(va);
    frame->va = 0;
    frame->next = limbo->first;
    limbo->first = frame;
    if (++limbo->count == TLB_BATCH_MAX) {
        limbo_end(limbo);
    }
}

/* The alias goes; that it was written through is remembered in the page's own entry. */
static void release_alias(uint64_t entry, uint64_t va, struct frame *frame, enum frame_state was)
{
    if ((entry & PTE_D) != 0 && frame->pte != NULL) {
        atomic_fetch_or_explicit(frame->pte, PTE_D, memory_order_acq_rel);
    }
    frame_move(frame, was);
    tlb_batch_add(va);
    tlb_batch_flush(); /* without its pin, the frame may be anybody's soon */
    frame_unpin(frame);
}

/* The frame is claimed. A pinned one must be left to its device or alias at once. */
static void release(uint64_t entry, uint64_t va, struct frame *frame, struct limbo *limbo)
{
    bool cached = (entry & PTE_P) != 0 && ((entry & PTE_A) != 0 || !frame_is_flushed(frame));
    if (cached && frame->pins == 0) {
        limbo_add(limbo, frame, va);
        return;
    }
    if (cached) {
        tlb_batch_add(va);
        tlb_batch_flush();
    }
    frame_release(frame);
}

/* false: its state changed meanwhile, and is to be looked at again. */
static bool try_zap(pte_t *pte, uint64_t va, enum zap_mode mode, struct discard_run *run,
                    struct limbo *limbo)
{
    uint64_t entry;
    enum frame_state was;
    fetch_settle(pte);
    struct frame *frame = frame_claim_page(pte, &entry, &was);
    if (frame == NULL) {
        if (pte_state(entry) == PAGE_EMPTY) {
            return true; /* it was evicted: all zeros, or a file's */
        }
        if (pte_state(entry) != PAGE_REMOTE || !page_move(pte, &entry, 0)) {
            return false;
        }
        discard_add(run, va);
        return true;
    }
    if (pte_state(entry) == PAGE_WRITING) {
        frame_move(frame, was);
        return false;
    }
    if (mode == ZAP_KEEP_PINNED && frame->pins > 0) {
        __builtin_memset(frame_bytes(frame), 0, PAGE_BYTES);
        atomic_fetch_or_explicit(pte, PTE_D, memory_order_acq_rel);
        frame_move(frame, was);
        return true;
    }
    while (!page_move(pte, &entry, 0)) {
        /* the hardware has set A or D meanwhile */
    }
    if ((entry & PTE_ALIAS) != 0) {
        release_alias(entry, va, frame, was);
    } else {
        release(entry, va, frame, limbo);
    }
    if ((entry & PTE_FAR) != 0) {
        discard_add(run, va);
    }
    return true;
}

void zap_range(uint64_t start, uint64_t end, enum zap_mode mode)
{
    struct discard_run run = {0};
    struct limbo limbo = {0};
    uint64_t va = start;
    for (pte_t *pte = pt_next(&va, end); pte != NULL; pte = pt_next(&va, end)) {
        while (!try_zap(pte, va, mode, &run, &limbo)) {
        }
        va += PAGE_BYTES;
    }
    limbo_end(&limbo);
    discard_end(&run);
}
