/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/fetch.h"

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/prefetch.h"
#include "computenode/unikernel/far/reclaim.h"
#include "lib/base/check.h"

/* The claim: one compare-and-swap. The rights stay in the entry. */
static bool claim(pte_t *pte, uint64_t *entry, const struct frame *frame)
{
    uint64_t next = (*entry & PTE_RIGHTS) | PTE_TAG_FETCHING | frame_address(frame).v;
    if (!page_move(pte, entry, next)) {
        return false;
    }
    *entry = next;
    return true;
}

/* Nobody but the one who claimed changes an entry that is being fetched (page.h, rule 1). */
static void unclaim(pte_t *pte, uint64_t entry, struct frame *frame)
{
    bool moved = page_move(pte, &entry, (entry & PTE_RIGHTS) | PTE_TAG_REMOTE);
    CHECK(moved);
    frame_move(frame, FRAME_FREE);
}

static void publish(pte_t *pte, uint64_t va, uint64_t entry, struct frame *frame, uint64_t bits)
{
    frame_mapped(frame, pte, va);
    uint64_t next = (entry & (PTE_RIGHTS | PTE_ADDRESS)) | PTE_FAR | bits;
    bool moved = page_move(pte, &entry, pte_present(va, next));
    CHECK(moved);
    stat_add(&pager.stats->far_pages_read, 1);
}

int fetch_page(pte_t *pte, uint64_t va, bool for_write)
{
    uint64_t start_ns = clock_ns();
    struct frame *frame;
    int r = frame_take(&frame);
    if (r < 0) {
        return r;
    }
    uint64_t entry = pte_load(pte);
    if (pte_state(entry) != PAGE_REMOTE || !claim(pte, &entry, frame)) {
        frame_move(frame, FRAME_FREE);
        return 0;
    }
    struct io_request *request;
    r = io_read(IO_DEMAND, frame, va, &request);
    if (r == 0) {
        prefetch_observe(va);
        reclaim_slice(); /* hidden behind the read */
        r = io_collect(request);
    }
    if (r < 0) {
        unclaim(pte, entry, frame);
        return r;
    }
    publish(pte, va, entry, frame, PTE_A | (for_write ? PTE_D : 0));
    stat_add(&pager.stats->faults_remote, 1);
    stat_time(pager.stats->fault_remote_ns, clock_ns() - start_ns);
    return 0;
}

bool fetch_ahead(pte_t *pte, uint64_t va)
{
    uint64_t entry = pte_load(pte);
    if (pte_state(entry) != PAGE_REMOTE || !rights_accessible(va, entry) ||
        pager.free_count <= pager.reserve_count) {
        return false;
    }
    struct frame *frame = frame_try_take();
    if (frame == NULL) {
        return false;
    }
    if (!claim(pte, &entry, frame)) {
        frame_move(frame, FRAME_FREE);
        return false;
    }
    frame->pte = pte;
    frame->va = va;
    if (io_read(IO_PREFETCH, frame, va, NULL) < 0) {
        frame->pte = NULL;
        unclaim(pte, entry, frame);
        return false;
    }
    stat_add(&pager.stats->prefetch_issued, 1);
    return true;
}

/* Mapped with A = 0: a page that is never used goes first, and using it costs no fault. */
void fetch_prefetched(const struct io_request *request)
{
    struct frame *frame = request->frames[0];
    pte_t *pte = frame->pte;
    uint64_t entry = pte_load(pte);
    CHECK(pte_state(entry) == PAGE_FETCHING);
    if (request->status < 0) {
        frame->pte = NULL;
        unclaim(pte, entry, frame);
        return;
    }
    frame->flags |= FRAME_PREFETCHED;
    publish(pte, request->va, entry, frame, 0);
}

void fetch_settle(pte_t *pte)
{
    for (;;) {
        enum page_state state = pte_state(pte_load(pte));
        if (state != PAGE_FETCHING && state != PAGE_WRITING) {
            return;
        }
        io_wait_background();
    }
}
