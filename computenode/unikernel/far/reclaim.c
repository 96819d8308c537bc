/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/reclaim.h"

#include <errno.h>

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/io.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"

#define RESERVE_MAX 256
#define LOW_MAX     1024
#define HIGH_MAX    2048
#define PROBES      8 /* failing writes that one direct reclaim tries */
#define STARVED_MAX 128

/*
 * While far memory refuses writes, what can still be evicted is what has its far page, and clean
 * file pages. When that is hardly more than the program's own text, each further page of data
 * drives out code that is wanted back at once, and the program would crawl for a long time towards
 * the same end. So it ends when two turns of the hand free fewer than `starved_count` frames.
 */
static struct {
    uint64_t passed_count; /* in this trial, which starts when writes are first refused */
    uint64_t freed_count;
    uint64_t starved_count;
} trial;

void reclaim_init(uint64_t usable_count)
{
    pager.reserve_count = MIN(MAX(usable_count / 128, 2), RESERVE_MAX);
    pager.low_count = MIN(MAX(usable_count / 64, 4), LOW_MAX);
    pager.high_count = MIN(MAX(usable_count / 32, 8), HIGH_MAX);
    trial.passed_count = 0;
    trial.freed_count = 0;
    trial.starved_count = MIN(usable_count / 64, STARVED_MAX);
}

bool reclaim_evict(struct frame *frame)
{
    uint64_t entry = pte_load(frame->pte);
    CHECK(pte_frame_address(entry).v == frame_address(frame).v);
    if (frame->pins > 0 || pte_state(entry) != PAGE_CLEAN || (entry & PTE_A) != 0 ||
        !frame_is_flushed(frame)) {
        return false;
    }
    bool remote = (entry & PTE_FAR) != 0;
    if (!page_move(frame->pte, &entry, remote ? (entry & PTE_RIGHTS) | PTE_TAG_REMOTE : 0)) {
        return false; /* used since we looked */
    }
    stat_add(&pager.stats->reclaim_evicted_clean, 1);
    stat_add(&pager.stats->reclaim_evicted_file, (entry & PTE_FILE) != 0);
    stat_add(&pager.stats->prefetch_wasted, (frame->flags & FRAME_PREFETCHED) != 0);
    frame_release(frame);
    trial.freed_count++;
    return true;
}

/* Is too little left that could be evicted? Only while far memory is full. */
static bool is_starved(void)
{
    bool full = writeback_error() == -ENOSPC;
    if (full && trial.passed_count < 2 * frame_count()) {
        return false;
    }
    bool starved = full && trial.freed_count < trial.starved_count;
    if (full && !starved) {
        writeback_try_again(PROBES);
    }
    trial.passed_count = 0;
    trial.freed_count = 0;
    return starved;
}

static void evict_clean(uint64_t wanted_free_count)
{
    for (uint32_t i = 0; i < RECLAIM_SLICE && pager.free_count < wanted_free_count; i++) {
        struct list *first = list_first(&pager.clean);
        if (first == NULL) {
            return;
        }
        struct frame *f = list_entry(first, struct frame, link);
        if (!reclaim_evict(f)) {
            frame_move(f, FRAME_ACTIVE);
        }
    }
}

/* A was set: the page was used since the last pass. */
static void age(struct frame *f)
{
    atomic_fetch_and_explicit(f->pte, ~PTE_A, memory_order_acq_rel);
    tlb_batch_add_frame(f);
    if ((f->flags & FRAME_PREFETCHED) != 0) {
        f->flags &= (uint8_t)~FRAME_PREFETCHED;
        stat_add(&pager.stats->prefetch_used, 1);
    }
}

/* The hand passes one frame. Returns true if the frame can't go on before a TLB flush. */
static bool pass(struct frame *f)
{
    uint64_t entry = pte_load(f->pte);
    CHECK(pte_frame_address(entry).v == frame_address(f).v);
    stat_add(&pager.stats->reclaim_scanned, 1);
    trial.passed_count++;
    bool wants_flush = false;
    if (f->pins > 0) {
        frame_move(f, FRAME_ACTIVE);
    } else if ((entry & PTE_A) != 0) {
        age(f);
        frame_move(f, FRAME_ACTIVE);
    } else if (!frame_is_flushed(f)) {
        wants_flush = true;
        frame_move(f, FRAME_ACTIVE);
    } else if (pte_state(entry) == PAGE_CLEAN) {
        frame_move(f, FRAME_CLEAN);
    } else if (!writeback_start(f)) {
        frame_move(f, FRAME_ACTIVE);
    }
    return wants_flush;
}

/* The hand passes up to a slice of frames, until enough are on their way out. */
static void pass_slice(uint64_t wanted_count)
{
    bool wants_flush = false;
    for (uint32_t i = 0; i < RECLAIM_SLICE; i++) {
        struct list *first = list_first(&pager.active);
        uint64_t coming = pager.free_count + pager.clean_count + pager.writing_count;
        if (first == NULL || coming >= wanted_count) {
            break;
        }
        wants_flush |= pass(list_entry(first, struct frame, link));
    }
    if (wants_flush) {
        tlb_batch_flush();
    }
    io_kick();
}

bool reclaim_slice(void)
{
    if (pager.free_count >= pager.high_count) {
        return false;
    }
    evict_clean(pager.high_count);
    pass_slice(pager.high_count + RECLAIM_SLICE);
    return pager.free_count < pager.high_count && pager.clean_count > 0;
}

static int direct_failure(void)
{
    int error = writeback_error();
    return error != 0 ? error : -ENOMEM;
}

/*
 * Ends: a round frees a frame, or waits for one of the requests in flight, of which a round
 * starts new ones only for pages that are dirty (a failing write ends that after PROBES), or the
 * hand moves on, at most three times around: to clear A, to flush, to evict or write.
 */
int reclaim_direct(uint64_t needed_count)
{
    stat_add(&pager.stats->reclaim_direct, 1);
    writeback_probe(PROBES);
    uint64_t passed_count = 0;
    while (pager.free_count < needed_count) {
        uint64_t free_before = pager.free_count;
        if (is_starved()) {
            return -ENOSPC;
        }
        io_poll();
        evict_clean(MAX(needed_count, pager.low_count));
        if (pager.free_count > free_before) {
            passed_count = 0;
            continue;
        }
        if (passed_count > 3 * (pager.active_count + RECLAIM_SLICE)) {
            if (io_background_count() == 0) {
                return direct_failure();
            }
            io_wait_background();
            passed_count = 0;
            continue;
        }
        pass_slice(UINT64_MAX);
        passed_count += RECLAIM_SLICE;
    }
    return 0;
}
