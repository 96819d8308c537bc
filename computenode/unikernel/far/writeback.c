/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/writeback.h"

#include <errno.h>

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"

#define ENTRIES_PER_TABLE 512
/* Room that writes leave in the queue, for demand reads when both share one. */
#define QUEUE_ROOM_KEPT 4
#define REFUSALS_MAX    64

static struct {
    int error;         /* of the last write */
    uint32_t failures; /* in a row */
    uint32_t probes;
    uint32_t budget; /* probes until far memory takes something new, or gives something back */
} state;

/* Does the far page have its room for certain? */
static bool has_room(uint64_t entry)
{
    return (entry & (PTE_FAR | PTE_REFUSED)) == PTE_FAR;
}

/* Neighbouring pages: entries first..end-1 of one page table. */
struct cluster {
    pte_t *table;
    uint32_t first;
    uint32_t end;
    uint64_t table_va; /* of entry 0 */
};

void writeback_init(void)
{
    state.error = 0;
    state.failures = 0;
    state.probes = 0;
    state.budget = REFUSALS_MAX;
}

void writeback_room_again(void)
{
    if (state.error == -ENOSPC) {
        state.error = 0;
    }
    state.budget = REFUSALS_MAX;
}

void writeback_probe(uint32_t count)
{
    state.probes = count;
}

void writeback_try_again(uint32_t count)
{
    state.budget = MAX(state.budget, count);
}

int writeback_error(void)
{
    return state.error;
}

/*
 * A page that has its far page can be written however full the far memory is. Failures in a row
 * are limited, so that a reclaim that waits for writes ends.
 */
static bool may_write(uint64_t entry)
{
    if (pager.background == NULL || io_kind_count(IO_WRITE) >= WRITES_IN_FLIGHT_MAX ||
        blkq_room(pager.background) < QUEUE_ROOM_KEPT) {
        return false;
    }
    bool likely = state.error != -ENOSPC || has_room(entry);
    if (state.error == 0 || (likely && state.failures < WRITE_FAILURES_MAX)) {
        return true;
    }
    if (state.probes > 0 && state.budget > 0) {
        state.probes--;
        state.budget--;
        return true;
    }
    return false;
}

/* Rules 4 and 5 of page.h. */
static bool is_writable_now(uint64_t entry)
{
    if (pte_state(entry) != PAGE_DIRTY || (entry & PTE_A) != 0) {
        return false;
    }
    const struct frame *f = frame_of(pte_frame_address(entry));
    return f->state == FRAME_ACTIVE && f->pins == 0 && frame_is_flushed(f);
}

/* Pages are alike when a shortage of far memory concerns both or neither. */
static bool may_join(uint64_t entry, uint64_t like)
{
    return is_writable_now(entry) && (state.error == 0 || has_room(entry) == has_room(like));
}

static void cluster_grow(struct cluster *c, uint64_t like)
{
    while (c->end < ENTRIES_PER_TABLE && c->end - c->first < BLKQ_SEGMENTS_MAX &&
           may_join(pte_load(&c->table[c->end]), like)) {
        c->end++;
    }
    while (c->first > 0 && c->end - c->first < BLKQ_SEGMENTS_MAX &&
           may_join(pte_load(&c->table[c->first - 1]), like)) {
        c->first--;
    }
}

/* The write belongs to the frame now. A private file page becomes an anonymous one. */
static bool claim(pte_t *pte, uint64_t entry)
{
    CHECK((entry & PTE_A) == 0);
    if (!page_move(pte, &entry, (entry & ~(PTE_D | PTE_FILE)) | PTE_WRITING)) {
        return false;
    }
    if ((entry & PTE_FILE) != 0) {
        stat_add(&pager.stats->faults_cow, 1);
    }
    frame_move(frame_of(pte_frame_address(entry)), FRAME_WRITING);
    return true;
}

/* The end of a write, for one page. */
static void settle(struct frame *frame, bool written)
{
    uint64_t entry = pte_load(frame->pte);
    uint64_t next;
    do {
        CHECK(pte_state(entry) == PAGE_WRITING);
        /* A write that failed may have taken room all the same. */
        next = (entry & ~(PTE_WRITING | PTE_REFUSED)) | PTE_FAR;
        next |= written ? 0 : PTE_D | PTE_REFUSED;
    } while (!page_move(frame->pte, &entry, next));
    bool idle = (next & (PTE_A | PTE_D)) == 0 && frame->pins == 0;
    frame_move(frame, idle ? FRAME_CLEAN : FRAME_ACTIVE);
}

static bool submit(const struct cluster *c)
{
    struct frame *frames[BLKQ_SEGMENTS_MAX];
    uint32_t count = 0;
    for (uint32_t i = c->first; i < c->end; i++) {
        uint64_t entry = pte_load(&c->table[i]);
        if (!is_writable_now(entry) || !claim(&c->table[i], entry)) {
            break; /* touched since we looked */
        }
        frames[count++] = frame_of(pte_frame_address(entry));
    }
    if (count == 0) {
        return false;
    }
    if (io_write(frames, count, c->table_va + c->first * PAGE_BYTES) < 0) {
        for (uint32_t i = 0; i < count; i++) {
            settle(frames[i], false);
        }
        return false;
    }
    return true;
}

bool writeback_start(struct frame *frame)
{
    uint64_t entry = pte_load(frame->pte);
    if (!is_writable_now(entry) || !may_write(entry)) {
        return false;
    }
    uint32_t index = (uint32_t)((uintptr_t)frame->pte % PAGE_BYTES / sizeof(pte_t));
    struct cluster c = {
        .table = frame->pte - index,
        .first = index,
        .end = index + 1,
        .table_va = frame->va - index * PAGE_BYTES,
    };
    cluster_grow(&c, entry);
    uint64_t va = c.table_va + c.first * PAGE_BYTES;
    if (io_discarding(va, c.end - c.first)) {
        if (io_discarding(frame->va, 1)) {
            return false; /* the old far page is still being given up (discard.h) */
        }
        c.first = index;
        c.end = index + 1;
    }
    return submit(&c);
}

/* Did it need room that the far memory did not have given yet? */
static bool took_room(const struct io_request *request)
{
    for (uint32_t i = 0; i < request->page_count; i++) {
        if (!has_room(pte_load(request->frames[i]->pte))) {
            return true;
        }
    }
    return false;
}

void writeback_done(const struct io_request *request)
{
    bool ok = request->status == 0;
    bool room = ok && took_room(request);
    for (uint32_t i = 0; i < request->page_count; i++) {
        settle(request->frames[i], ok);
    }
    if (!ok) {
        state.error = request->status == -ENOSPC ? -ENOSPC : -EIO;
        state.failures++;
        return;
    }
    stat_add(&pager.stats->far_pages_written, request->page_count);
    state.failures = 0;
    /* That a page with room could be written says nothing about those without. */
    if (room || state.error != -ENOSPC) {
        state.error = 0;
        state.budget = REFUSALS_MAX;
    }
}
