/* SPDX-License-Identifier: Apache-2.0 */
/* pager_verify(): the rules of page.h that need a look at everything. */
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/io.h"
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
    CHECK((f->state == FRAME_WRITING) == (state == PAGE_WRITING));
    CHECK(f->state == FRAME_ACTIVE || f->state == FRAME_CLEAN || f->state == FRAME_WRITING);
    if (state == PAGE_WRITING) {
        CHECK(!io_discarding(va, 1));
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
    uint64_t by_state[FRAME_ORPHAN + 1] = {0};
    uint64_t pinned = 0;
    for (uint64_t i = 0; i < frame_count(); i++) {
        const struct frame *f = frame_at(i);
        by_state[f->state]++;
        pinned += f->pins > 0;
    }
    CHECK(by_state[FRAME_FREE] == pager.free_count);
    CHECK(by_state[FRAME_ACTIVE] == pager.active_count);
    CHECK(by_state[FRAME_CLEAN] == pager.clean_count);
    CHECK(by_state[FRAME_WRITING] == pager.writing_count);
    CHECK(by_state[FRAME_KERNEL] == pager.stats->frames_kernel);
    CHECK(pinned == pager.pinned_count);
    CHECK(by_state[FRAME_ACTIVE] + by_state[FRAME_CLEAN] + by_state[FRAME_WRITING] == t->owned);
}

void pager_verify(void)
{
    struct tally t = {0};
    verify_range(MM_USER_MIN, MM_USER_END, &t);
    verify_range(MM_KERNEL_WINDOW, MM_KERNEL_WINDOW + MM_KERNEL_WINDOW_BYTES, &t);
    CHECK(t.local == pager.stats->pages_local);
    CHECK(t.remote == pager.stats->pages_remote);
    verify_frames(&t);
}
