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
#define STEP        8 /* frames that a reclaimer takes from the hand at once */
/* Frames that a slice passes at most for each that it is to look at: others hold no page. */
#define PASSES_PER_LOOK 8
/* Frames that a slice looks at for each that was taken ahead of need: twice around for each. */
#define LOOKS_PER_TAKEN 3
#define GAIN_MIN        2 /* frames that a fault sends on their way out when few are missing */

static struct {
    _Atomic uint64_t hand;
    _Atomic uint64_t freed_count; /* evicted, ever */
    uint64_t usable_count;
} clock;

/*
 * While far memory refuses writes, what can still be evicted is what has its far page, and clean
 * file pages. When that is hardly more than the program's own text, each further page of data
 * drives out code that is wanted back at once, and the program would crawl for a long time towards
 * the same end. So it ends when two turns of the hand free fewer than `starved_count` frames.
 */
static struct {
    _Atomic uint64_t passed_count; /* in this trial, which starts when writes are first refused */
    _Atomic uint64_t freed_before;
    _Atomic uint64_t starved_count;
} trial;

void reclaim_share_out(void)
{
    uint64_t share = clock.usable_count / (64ull * cpu_count());
    pager.reserve_max = (uint32_t)MIN(MAX(share, 2), RESERVE_FRAMES_MAX);
    tlb_batch_limit(clock.usable_count);
}

void reclaim_watermarks(uint64_t usable_count)
{
    clock.usable_count = usable_count;
    pager.reserve_low = MIN(MAX(usable_count / 128, 2), RESERVE_MAX);
    pager.low_count = MIN(MAX(usable_count / 64, 4), LOW_MAX);
    pager.high_count = MIN(MAX(usable_count / 32, 8), HIGH_MAX);
    trial.starved_count = MIN(usable_count / 64, STARVED_MAX);
    reclaim_share_out();
}

void reclaim_init(uint64_t usable_count)
{
    atomic_store(&trial.passed_count, 0);
    atomic_store(&trial.freed_before, 0);
    atomic_store(&clock.hand, 0);
    atomic_store(&clock.freed_count, 0);
    reclaim_watermarks(usable_count);
}

HOT bool reclaim_wants(void)
{
    return frame_free_count() < pager.high_count || frame_excess() > 0;
}

HOT bool reclaim_evict(struct frame *frame)
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
    struct gueststats *stats = stats_here();
    stat_add(&stats->reclaim_evicted_clean, 1);
    stat_add(&stats->reclaim_evicted_file, (entry & PTE_FILE) != 0);
    stat_add(&stats->prefetch_wasted, (frame->flags & FRAME_PREFETCHED) != 0);
    frame_free(frame);
    atomic_fetch_add_explicit(&clock.freed_count, 1, memory_order_relaxed);
    return true;
}

/* Is too little left that could be evicted? Only while far memory is full. */
static bool is_starved(void)
{
    bool full = writeback_error() == -ENOSPC;
    if (full && atomic_load(&trial.passed_count) < 2 * frame_count()) {
        return false;
    }
    uint64_t freed = atomic_load(&clock.freed_count) - atomic_load(&trial.freed_before);
    bool starved = full && freed < trial.starved_count;
    if (full && !starved) {
        writeback_try_again(PROBES);
    }
    atomic_store(&trial.passed_count, 0);
    atomic_store(&trial.freed_before, atomic_load(&clock.freed_count));
    return starved;
}

/* A was set: the page was used since the last pass. */
static void age(struct frame *f)
{
    atomic_fetch_and_explicit(f->pte, ~PTE_A, memory_order_acq_rel);
    tlb_batch_add_frame(f, f->va);
    if ((f->flags & FRAME_PREFETCHED) != 0) {
        f->flags = 0;
        stat_add(&stats_here()->prefetch_used, 1);
    }
}

/* Looks at a claimed frame. Returns true if it can't go on before a TLB flush. */
static ALWAYS_INLINE bool look(struct frame *f)
{
    uint64_t entry = pte_load(f->pte);
    CHECK(pte_frame_address(entry).v == frame_address(f).v);
    bool wants_flush = false;
    if (f->pins > 0) {
        /* stays */
    } else if ((entry & PTE_A) != 0) {
        age(f);
    } else if (!frame_is_flushed(f)) {
        wants_flush = true;
        if (f->flush_cpu != cpu_index()) {
            tlb_batch_add_frame(f, f->va); /* who knows when the other will flush */
        }
    } else if (pte_state(entry) == PAGE_CLEAN ? reclaim_evict(f) : writeback_start(f)) {
        return false;
    }
    frame_move(f, FRAME_ACTIVE);
    return wants_flush;
}

/* Where the next STEP frames begin. Who finds the hand beyond the end puts it back. */
static uint64_t hand_take(uint64_t span)
{
    uint64_t at = atomic_fetch_add_explicit(&clock.hand, STEP, memory_order_relaxed);
    if (at < span) {
        return at;
    }
    uint64_t next = at + STEP;
    (void)atomic_compare_exchange_strong_explicit(&clock.hand, &next, next % span,
                                                  memory_order_relaxed, memory_order_relaxed);
    return at % span;
}

/* The hand passes STEP frames. Returns how many of them it looked at. */
static uint32_t pass_step(uint64_t span, bool *wants_flush)
{
    uint32_t looked_count = 0;
    uint64_t at = hand_take(span);
    for (uint32_t i = 0; i < STEP; i++) {
        struct frame *f = frame_at(at);
        if (frame_claim(f, FRAME_ACTIVE)) {
            *wants_flush |= look(f);
            looked_count++;
        }
        at = at + 1 == span ? 0 : at + 1;
    }
    return looked_count;
}

/*
 * The hand looks at up to `count` frames, until enough are on their way out. Frames that hold no
 * page are passed without being counted, as most may be so (held back, of the kernel, free), but
 * not without end. Returns how many were passed.
 */
HOT static uint64_t pass_slice(uint64_t count, uint64_t wanted_count)
{
    bool wants_flush = false;
    uint64_t span = frame_span();
    uint64_t passed_count = 0, looked_count = 0;
    while (looked_count < count && passed_count < PASSES_PER_LOOK * count &&
           frame_free_count() + writeback_pages() < wanted_count) {
        looked_count += pass_step(span, &wants_flush);
        passed_count += STEP;
    }
    stat_add(&stats_here()->reclaim_scanned, looked_count);
    atomic_fetch_add_explicit(&trial.passed_count, passed_count, memory_order_relaxed);
    if (wants_flush) {
        tlb_batch_flush();
    }
    io_kick();
    return passed_count;
}

/* In batches: from `high` on up to as much again as a slice may bring. */
HOT static bool slice(struct pager_cpu *cpu, uint64_t count, uint64_t gain_max)
{
    uint64_t excess = frame_excess();
    if (!cpu->reclaiming && !reclaim_wants()) {
        return false;
    }
    uint64_t going = frame_free_count() + writeback_pages();
    uint64_t wanted = pager.high_count + MIN(pager.high_count, RECLAIM_SLICE) + excess;
    uint64_t freed_before = atomic_load_explicit(&clock.freed_count, memory_order_relaxed);
    uint64_t passed = pass_slice(count, MIN(wanted, going + gain_max));
    cpu->reclaiming = frame_free_count() + writeback_pages() < wanted;
    bool freed = atomic_load_explicit(&clock.freed_count, memory_order_relaxed) != freed_before;
    cpu->fruitless_count = freed ? 0 : cpu->fruitless_count + passed;
    return cpu->reclaiming && cpu->fruitless_count < 3 * frame_span();
}

/*
 * A fault does a little more than it takes, and the more the nearer free frames are to the low
 * watermark: all at once would be hidden behind its read no more, and a few faults would pay for
 * all. Where the watermarks are close together there is nothing to spread.
 */
static uint64_t gain_limit(void)
{
    uint64_t high = pager.high_count, low = pager.low_count, now = frame_free_count();
    uint64_t missing = high > now ? high - now : 0;
    if (high < low + RECLAIM_SLICE) {
        return UINT32_MAX;
    }
    return GAIN_MIN + MIN(missing * RECLAIM_SLICE / (high - low), RECLAIM_SLICE);
}

NOINLINE HOT bool reclaim_slice(uint32_t taken_count)
{
    struct pager_cpu *cpu = this_cpu();
    io_poll_background();
    frame_refill(cpu);
    return slice(cpu, RECLAIM_SLICE + LOOKS_PER_TAKEN * taken_count, gain_limit() + taken_count);
}

bool reclaim_more(void)
{
    struct pager_cpu *cpu = this_cpu();
    io_poll_background();
    frame_refill(cpu);
    return slice(cpu, RECLAIM_SLICE, UINT32_MAX);
}

static int direct_failure(void)
{
    int error = writeback_error();
    return error != 0 ? error : -ENOMEM;
}

/*
 * Ends: a round frees a frame, or the hand moves on, at most three times around without a frame
 * freed by anybody: to clear A, to flush, to evict or write. Then it waits for what is in flight,
 * of which new ones are started only for pages that are dirty (a failing write ends that after
 * PROBES), with another turn for each step.
 */
static int direct(uint64_t needed_count)
{
    struct io_wait wait = {0};
    uint64_t turns_max = 3 * (frame_span() + RECLAIM_SLICE);
    uint64_t freed_seen = atomic_load(&clock.freed_count);
    uint64_t passed_count = 0;
    while (frame_free_count() < needed_count) {
        if (is_starved()) {
            return -ENOSPC;
        }
        (void)io_poll();
        uint64_t freed = atomic_load(&clock.freed_count);
        if (freed != freed_seen) {
            freed_seen = freed;
            passed_count = 0;
        }
        if (passed_count > turns_max) {
            if (io_background_count() == 0) {
                return direct_failure();
            }
            io_wait_step(&wait);
            passed_count = turns_max - MIN(turns_max, frame_span());
        }
        (void)pass_slice(RECLAIM_SLICE, MAX(needed_count, pager.low_count) + writeback_pages());
        passed_count += RECLAIM_SLICE;
    }
    return 0;
}

int reclaim_direct(uint64_t needed_count)
{
    uint64_t start_ns = clock_ns();
    writeback_probe(PROBES);
    int r = direct(needed_count);
    if (r < 0 && frame_unhold(pager.low_count)) {
        r = direct(needed_count);
    }
    stat_add(&stats_here()->reclaim_direct, 1);
    stat_time(stats_here()->stall_direct_ns, clock_ns() - start_ns);
    return r;
}
