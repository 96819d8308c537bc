/* SPDX-License-Identifier: Apache-2.0 */
/* Emptying pages: frames go back, far pages are discarded. */
#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"

/* The alias goes; that it was written through is remembered in the page's own entry. */
static void release_alias(uint64_t entry, struct frame *frame)
{
    if ((entry & PTE_D) != 0 && frame->pte != NULL) {
        atomic_fetch_or_explicit(frame->pte, PTE_D, memory_order_acq_rel);
    }
    frame_unpin(frame);
}

static bool may_be_cached(uint64_t entry, const struct frame *frame)
{
    return (entry & PTE_P) != 0 && ((entry & PTE_A) != 0 || !frame_is_flushed(frame));
}

/*
 * The frame is free before the TLB is flushed: with one CPU nobody takes it before zap_range()
 * returns. With several, frames have to wait for the flush.
 */
static void zap_page(pte_t *pte, uint64_t va, enum zap_mode mode, struct discard_run *run)
{
    fetch_settle(pte);
    uint64_t entry = pte_load(pte);
    bool local = pte_is_local(entry);
    struct frame *frame = local ? frame_of(pte_frame_address(entry)) : NULL;
    if (local && mode == ZAP_KEEP_PINNED && frame->pins > 0) {
        __builtin_memset(frame_bytes(frame), 0, PAGE_BYTES);
        atomic_fetch_or_explicit(pte, PTE_D, memory_order_acq_rel);
        return;
    }
    while (!page_move(pte, &entry, 0)) {
        /* the hardware has set A or D meanwhile */
    }
    if (local) {
        if (may_be_cached(entry, frame)) {
            tlb_batch_add(va);
        }
        if ((entry & PTE_ALIAS) != 0) {
            release_alias(entry, frame);
        } else {
            frame_release(frame);
        }
    }
    if (!local || (entry & PTE_FAR) != 0) {
        discard_add(run, va);
    }
}

void zap_range(uint64_t start, uint64_t end, enum zap_mode mode)
{
    struct discard_run run = {0};
    uint64_t va = start;
    for (pte_t *pte = pt_next(&va, end); pte != NULL; pte = pt_next(&va, end)) {
        zap_page(pte, va, mode, &run);
        va += PAGE_BYTES;
    }
    tlb_batch_flush();
    discard_end(&run);
}
