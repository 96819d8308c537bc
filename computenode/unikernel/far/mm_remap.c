/* SPDX-License-Identifier: Apache-2.0 */
/* mremap(2). */
#include <errno.h>

#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"

/*
 * Takes the page out of its old place: its frame, claimed, and its entry; NULL: it is empty.
 * Errors: as mm_fault().
 */
static int take_page(pte_t *pte, uint64_t va, struct frame **ret, uint64_t *ret_entry,
                     enum frame_state *ret_was)
{
    for (;;) {
        fetch_settle(pte);
        struct frame *f = frame_claim_page(pte, ret_entry, ret_was);
        enum page_state state = pte_state(*ret_entry);
        if (f == NULL && state == PAGE_REMOTE) {
            int r = fetch_page(pte, va, false, 0);
            if (r < 0) {
                return r;
            }
        } else if (f == NULL && state == PAGE_EMPTY) {
            *ret = NULL;
            return 0;
        } else if (f != NULL && state == PAGE_WRITING) {
            frame_move(f, *ret_was);
        } else if (f != NULL) {
            while (!page_move(pte, ret_entry, 0)) {
                /* the hardware has set A or D meanwhile */
            }
            *ret = f;
            return 0;
        }
    }
}

/*
 * The far address follows the virtual one, so at its new address the page has no far page: it is
 * dirty there if its bytes were only in far memory, and the old far page is given back. The old
 * translation may be cached until the flush: until then the page is not evicted from its frame.
 */
static int move_page(pte_t *from, uint64_t old_va, uint64_t new_va, struct discard_run *run)
{
    pte_t *to;
    struct frame *f = NULL;
    uint64_t entry;
    enum frame_state was;
    int r = pt_get(new_va, &to);
    if (r == 0) {
        r = take_page(from, old_va, &f, &entry, &was);
    }
    if (r < 0 || f == NULL) {
        return r;
    }
    uint64_t next = entry & ~(PTE_FAR | PTE_REFUSED);
    if ((entry & PTE_FAR) != 0) {
        next |= PTE_D;
    }
    if ((entry & PTE_ALIAS) == 0) {
        f->pte = to;
        f->va = new_va;
        tlb_batch_add_frame(f, old_va);
    } else {
        tlb_batch_add(old_va);
    }
    uint64_t expected = 0;
    bool moved = page_move(to, &expected, next);
    CHECK(moved);
    frame_move(f, was);
    if ((entry & PTE_FAR) != 0) {
        discard_add(run, old_va);
    }
    return 0;
}

static int move_pages(uint64_t from, uint64_t to, uint64_t bytes)
{
    struct discard_run run = {0};
    uint64_t va = from;
    int r = 0;
    for (pte_t *pte = pt_next(&va, from + bytes); pte != NULL && r == 0;
         pte = pt_next(&va, from + bytes)) {
        r = move_page(pte, va, to + (va - from), &run);
        va += PAGE_BYTES;
    }
    tlb_batch_flush();
    discard_end(&run);
    return r;
}

static int move(struct mm *mm, const struct area *a, uint64_t va, uint64_t old_bytes,
                uint64_t new_bytes, uint64_t new_va)
{
    struct area like = *a;
    like.offset += va - a->start;
    like.start = new_va;
    like.end = new_va + new_bytes;
    if (like.backing != NULL) {
        like.backing->ops->ref(like.backing);
    }
    (void)areas_insert(&mm->user, &like);
    int r = move_pages(va, new_va, MIN(old_bytes, new_bytes));
    if (r < 0) {
        return r == -ENOMEM ? -ENOSPC : r;
    }
    space_remove(mm, va, va + old_bytes);
    areas_join(&mm->user, areas_at(&mm->user, new_va));
    return 0;
}

/* Makes the area longer if nothing is in the way. */
static bool grow_in_place(struct mm *mm, struct area *a, uint64_t old_end, uint64_t new_end)
{
    const struct area *next = areas_next(&mm->user, a);
    uint64_t limit = old_end <= MM_MAP_TOP ? MM_MAP_TOP : MM_USER_END;
    if (a->end != old_end || new_end > limit || (next != NULL && next->start < new_end)) {
        return false;
    }
    a->end = new_end;
    areas_join(&mm->user, a);
    return true;
}

struct remap {
    uint64_t va, old_end, new_bytes;
    uint64_t new_va; /* 0: anywhere */
    bool may_move;
};

static int check(const struct mm *mm, const struct remap *m, const struct area *a)
{
    if (a == NULL || a->end < m->old_end) {
        return -EFAULT;
    }
    bool counts = (a->protection & MM_WRITE) != 0 && (a->flags & (MM_SHARED | MM_NORESERVE)) == 0;
    if (m->new_bytes > m->old_end - m->va && counts && !space_can_hold(m->new_bytes)) {
        return -ENOMEM;
    }
    if (m->new_va == 0) {
        return 0;
    }
    uint64_t new_end;
    if (m->new_va < MM_USER_MIN || range_of(m->new_va, m->new_bytes, &new_end) < 0 ||
        (m->new_va < m->old_end && m->va < new_end)) {
        return -EINVAL;
    }
    return 0;
}

/* Where the mapping goes; what is at a fixed place is removed. */
static int make_place(struct mm *mm, const struct remap *m, uint64_t *ret_va)
{
    int r = areas_reserve(&mm->user, 8);
    if (r < 0) {
        return r;
    }
    if (m->new_va != 0) {
        space_remove(mm, m->new_va, m->new_va + m->new_bytes);
        *ret_va = m->new_va;
        return 0;
    }
    *ret_va = areas_room_down(&mm->user, MM_USER_MIN, MM_MAP_TOP, m->new_bytes);
    return *ret_va == 0 ? -ENOMEM : 0;
}

int mm_remap(struct mm *mm, uint64_t va, uint64_t old_length, uint64_t new_length, bool may_move,
             uint64_t new_va, uint64_t *ret_va)
{
    struct remap m = {.va = va, .new_va = new_va, .may_move = may_move};
    if (old_length == 0 || new_length == 0 || range_of(va, old_length, &m.old_end) < 0 ||
        new_length > MM_USER_END) {
        return -EINVAL;
    }
    m.new_bytes = ALIGN_UP(new_length, PAGE_BYTES);
    uint64_t old_bytes = m.old_end - va;
    struct area *a = areas_at(&mm->user, va);
    int r = check(mm, &m, a);
    if (r < 0) {
        return r;
    }
    if (new_va == 0 && m.new_bytes <= old_bytes) {
        *ret_va = va;
        return m.new_bytes == old_bytes ? 0
                                        : mm_unmap(mm, va + m.new_bytes, old_bytes - m.new_bytes);
    }
    if (new_va == 0 && grow_in_place(mm, a, m.old_end, va + m.new_bytes)) {
        *ret_va = va;
        return 0;
    }
    if (new_va == 0 && !may_move) {
        return -ENOMEM;
    }
    uint64_t to;
    r = make_place(mm, &m, &to);
    if (r == 0) {
        r = move(mm, areas_at(&mm->user, va), va, old_bytes, m.new_bytes, to);
    }
    if (r == 0) {
        *ret_va = to;
    }
    return r;
}
