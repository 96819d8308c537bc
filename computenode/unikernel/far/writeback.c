/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/writeback.h"

#include <errno.h>

#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"

#define ENTRIES_PER_TABLE 512
/* Room that writes leave in the queue, for demand reads when both share one. */
#define QUEUE_ROOM_KEPT 4
#define REFUSALS_MAX    64

/* Of all processors; what they do to it at the same time may count one more or less. */
static struct {
    _Atomic int error;         /* of the last write */
    _Atomic uint32_t failures; /* in a row */
    _Atomic int probes;
    _Atomic int budget; /* probes until far memory takes something new, or gives something back */
    _Atomic uint64_t page_count; /* being written */
} state;

/* How a write of a page ended. */
enum outcome { WRITTEN, FAILED, NOT_SENT };

/* Does the far page have its room for certain? */
static bool has_room(uint64_t entry)
{
    return (entry & (PTE_FAR | PTE_REFUSED)) == PTE_FAR;
}

void writeback_init(void)
{
    atomic_store(&state.error, 0);
    atomic_store(&state.failures, 0);
    atomic_store(&state.probes, 0);
    atomic_store(&state.budget, REFUSALS_MAX);
    atomic_store(&state.page_count, 0);
}

HOT uint64_t writeback_pages(void)
{
    return atomic_load_explicit(&state.page_count, memory_order_relaxed);
}

void writeback_room_again(void)
{
    int full = -ENOSPC;
    (void)atomic_compare_exchange_strong(&state.error, &full, 0);
    atomic_store(&state.budget, REFUSALS_MAX);
}

void writeback_probe(uint32_t count)
{
    atomic_store(&state.probes, (int)count);
}

void writeback_try_again(uint32_t count)
{
    if (atomic_load(&state.budget) < (int)count) {
        atomic_store(&state.budget, (int)count);
    }
}

int writeback_error(void)
{
    return atomic_load(&state.error);
}

/*
 * A page that has its far page can be written however full the far memory is. Failures in a row
 * are limited, so that a reclaim that waits for writes ends.
 */
static bool may_write(uint64_t entry)
{
    if (!pager.has_far || io_write_count() >= WRITES_IN_FLIGHT_MAX ||
        io_background_room() < QUEUE_ROOM_KEPT) {
        return false;
    }
    int error = writeback_error();
    bool likely = error != -ENOSPC || has_room(entry);
    if (error == 0 || (likely && atomic_load(&state.failures) < WRITE_FAILURES_MAX)) {
        return true;
    }
    if (atomic_load(&state.probes) > 0 && atomic_load(&state.budget) > 0) {
        atomic_fetch_sub(&state.probes, 1);
        atomic_fetch_sub(&state.budget, 1);
        return true;
    }
    return false;
}

/* Rules 4 and 5 of page.h; the frame is claimed. The write belongs to the frame from now on. */
static bool begin(struct frame *f)
{
    uint64_t entry = pte_load(f->pte);
    if (pte_state(entry) != PAGE_DIRTY || (entry & PTE_A) != 0 || f->pins > 0 ||
        !frame_is_flushed(f) || discard_covers(f->va, 1) ||
        !page_move(f->pte, &entry, (entry & ~(PTE_D | PTE_FILE)) | PTE_WRITING)) {
        return false;
    }
    /* A private file page becomes an anonymous one. */
    stat_add(&stats_here()->faults_cow, (entry & PTE_FILE) != 0);
    frame_move(f, FRAME_WRITING);
    return true;
}

/*
 * The neighbour of a page that is being written, if it can go along: its frame, claimed and begun.
 * Pages are alike when a shortage of far memory concerns both or neither.
 */
static struct frame *join(pte_t *pte, bool room)
{
    uint64_t entry = pte_load(pte);
    if (pte_state(entry) != PAGE_DIRTY || (entry & PTE_A) != 0 ||
        (writeback_error() != 0 && has_room(entry) != room)) {
        return NULL;
    }
    struct frame *f = frame_of(pte_frame_address(entry));
    if (!frame_claim(f, FRAME_ACTIVE)) {
        return NULL;
    }
    if (f->pte != pte || !begin(f)) { /* another page's by now, or touched */
        frame_move(f, FRAME_ACTIVE);
        return NULL;
    }
    return f;
}

/* The end of a write, for one page. */
static void settle(struct frame *frame, enum outcome outcome)
{
    while (!frame_claim(frame, FRAME_WRITING)) {
        cpu_relax(); /* somebody pins it */
    }
    uint64_t entry = pte_load(frame->pte);
    uint64_t next;
    do {
        CHECK(pte_state(entry) == PAGE_WRITING);
        next = entry & ~PTE_WRITING;
        if (outcome == NOT_SENT) {
            next |= PTE_D;
        } else {
            /* A write that failed may have taken room all the same. */
            next = (next & ~PTE_REFUSED) | PTE_FAR;
            next |= outcome == WRITTEN ? 0 : PTE_D | PTE_REFUSED;
        }
    } while (!page_move(frame->pte, &entry, next));
    if (outcome != WRITTEN || !reclaim_wants() || !reclaim_evict(frame)) {
        frame_move(frame, FRAME_ACTIVE);
    }
}

/* Neighbouring pages: frames[first..end-1]. */
struct cluster {
    struct frame *frames[2 * BLKQ_SEGMENTS_MAX];
    uint32_t first;
    uint32_t end;
};

/* All entries are of one page table, which stays as long as one of its pages is local. */
static void cluster_grow(struct cluster *c, pte_t *pte, bool room)
{
    uint32_t index = (uint32_t)((uintptr_t)pte % PAGE_BYTES / sizeof(pte_t));
    struct frame *f;
    for (uint32_t i = 1; index + i < ENTRIES_PER_TABLE && i < BLKQ_SEGMENTS_MAX; i++) {
        if ((f = join(pte + i, room)) == NULL) {
            break;
        }
        c->frames[c->end++] = f;
    }
    for (uint32_t i = 1; i <= index && c->end - c->first < BLKQ_SEGMENTS_MAX; i++) {
        if ((f = join(pte - i, room)) == NULL) {
            break;
        }
        c->frames[--c->first] = f;
    }
}

HOT bool writeback_start(struct frame *frame)
{
    pte_t *pte = frame->pte;
    uint64_t entry = pte_load(pte);
    bool room = has_room(entry);
    if (pte_state(entry) != PAGE_DIRTY || !may_write(entry) || !begin(frame)) {
        return false;
    }
    struct cluster c = {.first = BLKQ_SEGMENTS_MAX, .end = BLKQ_SEGMENTS_MAX + 1};
    c.frames[BLKQ_SEGMENTS_MAX] = frame;
    cluster_grow(&c, pte, room);
    uint32_t count = c.end - c.first;
    atomic_fetch_add(&state.page_count, count);
    if (io_write(&c.frames[c.first], count, c.frames[c.first]->va) < 0) {
        atomic_fetch_sub(&state.page_count, count);
        for (uint32_t i = c.first; i < c.end; i++) {
            settle(c.frames[i], NOT_SENT);
        }
    }
    return true;
}

/* Did it need room that the far memory had not given yet? */
static bool took_room(const struct io_request *request)
{
    for (uint32_t i = 0; i < request->page_count; i++) {
        if (!has_room(pte_load(io_frame(request, i)->pte))) {
            return true;
        }
    }
    return false;
}

HOT void writeback_done(const struct io_request *request)
{
    bool ok = request->status == 0;
    bool room = ok && took_room(request);
    for (uint32_t i = 0; i < request->page_count; i++) {
        settle(io_frame(request, i), ok ? WRITTEN : FAILED);
    }
    atomic_fetch_sub(&state.page_count, request->page_count);
    if (!ok) {
        atomic_store(&state.error, request->status == -ENOSPC ? -ENOSPC : -EIO);
        atomic_fetch_add(&state.failures, 1);
        return;
    }
    stat_add(&stats_here()->far_pages_written, request->page_count);
    stat_add(&stats_here()->writeback_batches, 1);
    atomic_store(&state.failures, 0);
    /* That a page with room could be written says nothing about those without. */
    if (room || writeback_error() != -ENOSPC) {
        atomic_store(&state.error, 0);
        atomic_store(&state.budget, REFUSALS_MAX);
    }
}
