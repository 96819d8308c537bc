/* SPDX-License-Identifier: Apache-2.0 */
/* pager_verify(): the rules of page.h that need a look at everything. */
#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/far/space.h"
#include "lib/base/check.h"

struct tally {
    uint64_t local;
    uint64_t remote;
    uint64_t owned; /* local pages that are no alias */
};

static void verify_entry(pte_t *pte, uint64_t va, struct tally *t)
{
    uint64_t entry = pte_load(pte);
    enum page_state state = pte_state(entry);
    if (state == PAGE_REMOTE || state == PAGE_FETCHING) {
        t->remote++;
        return;
    }
    CHECK(state != PAGE_EMPTY); /* an empty entry is all zeros */
    t->local++;
    struct frame *f = frame_of(pte_frame_address(entry));
    if (state == PAGE_ALIAS) {
        CHECK(f->pins > 0);
        return;
    }
    t->owned++;
    CHECK(f->pte == pte);
    CHECK(f->va == va);
    CHECK((frame_state(f) == FRAME_WRITING) == (state == PAGE_WRITING));
    CHECK(frame_state(f) == FRAME_ACTIVE || frame_state(f) == FRAME_WRITING);
    if (state == PAGE_WRITING) {
        CHECK(!discard_covers(va, 1));
    }
}

static void verify_range(uint64_t start, uint64_t end, struct tally *t)
{
    uint64_t va = start;
    for (pte_t *pte = pt_next(&va, end); pte != NULL; pte = pt_next(&va, end)) {
        const struct mm *mm = mm_current();
        CHECK(areas_at(va_is_window(va) ? &mm->window : &mm->user, va) != NULL);
        verify_entry(pte, va, t);
        va += PAGE_BYTES;
    }
}

static void verify_frames(const struct tally *t)
{
    uint64_t by_state[FRAME_HELD + 1] = {0};
    uint64_t pinned = 0;
    for (uint64_t i = 0; i < frame_span(); i++) {
        const struct frame *f = frame_at(i);
        by_state[frame_state(f)]++;
        pinned += f->pins > 0;
    }
    uint64_t in_hand = 0;
    for (uint32_t i = 0; i < cpu_count(); i++) {
        in_hand += pager.cpus[i].reserve_count;
    }
    CHECK(by_state[FRAME_FREE] == frame_pool_count() + in_hand);
    CHECK(by_state[FRAME_FREE] == STATS_SUM(frames_free));
    CHECK(by_state[FRAME_KERNEL] == STATS_SUM(frames_kernel));
    CHECK(by_state[FRAME_CLAIMED] == 0);
    CHECK(pinned == atomic_load(&pager.pinned_count));
    CHECK(by_state[FRAME_ACTIVE] + by_state[FRAME_WRITING] == t->owned);
    CHECK(frame_span() - by_state[FRAME_NONE] == frame_count());
}

void pager_verify(void)
{
    struct tally t = {0};
    verify_range(MM_USER_MIN, MM_USER_END, &t);
    verify_range(MM_KERNEL_WINDOW, MM_KERNEL_WINDOW + MM_KERNEL_WINDOW_BYTES, &t);
    CHECK(t.local == STATS_SUM(pages_local));
    CHECK(t.remote == STATS_SUM(pages_remote));
    verify_frames(&t);
}
