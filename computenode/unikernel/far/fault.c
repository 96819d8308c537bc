/* SPDX-License-Identifier: Apache-2.0 */
/* mm_fault(): what is done about a page that isn't there. */
#include <errno.h>

#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/prefetch.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/space.h"
#include "lib/base/check.h"

/* Times that a page of the kernel window is faulted in before it stays long enough to be pinned. */
#define ALIAS_ATTEMPTS_MAX 4
#define AROUND_MAX         16 /* pages that are mapped ahead of a first touch */
#define LOOK_AGAIN         1  /* beside 0 and errors */

static bool rights_allow(uint64_t va, uint64_t entry, enum mm_access access)
{
    if (!rights_accessible(va, entry)) {
        return false;
    }
    switch (access) {
    case MM_ACCESS_WRITE:
        return (entry & PTE_W) != 0;
    case MM_ACCESS_EXEC:
        return (entry & PTE_NX) == 0;
    default:
        return true;
    }
}

/* Maps a busy frame where nothing was; the frame is given back if another was faster. */
static void map_frame(pte_t *pte, uint64_t va, struct frame *frame, uint64_t bits)
{
    uint64_t entry = 0;
    frame_assign(frame, pte, va);
    if (page_move(pte, &entry, pte_present(va, frame_address(frame).v | bits))) {
        frame_move(frame, FRAME_ACTIVE);
    } else {
        frame_free(frame);
    }
}

static void map_zeros(pte_t *pte, uint64_t va, struct frame *frame, uint64_t bits)
{
    __builtin_memset(frame_bytes(frame), 0, PAGE_BYTES);
    map_frame(pte, va, frame, bits);
}

/* How many pages to map ahead of one in `a`: as many as there are in a row before it, while frames
 * are plenty and as far as its page table goes. */
static uint64_t around_count(pte_t *pte, uint64_t va, const struct area *a)
{
    uint64_t index = va / PAGE_BYTES % PT_ENTRIES;
    uint64_t pool = frame_pool_count();
    uint64_t spare = 2 * atomic_load_explicit(&pager.high_count, memory_order_relaxed);
    if (pool <= spare || frame_excess() > 0) {
        return 0;
    }
    uint64_t most = MIN(MIN(AROUND_MAX, pool - spare), (a->end - va) / PAGE_BYTES - 1);
    most = MIN(most, PT_ENTRIES - 1 - index);
    uint64_t before = 0;
    while (before < most && before < index && pte_load(pte - before - 1) != 0) {
        before++;
    }
    return before;
}

/*
 * Who fills memory from bottom to top touches the next pages soon: each spares a fault. With A = 0,
 * D = 0 and nothing far, one that is never touched is dropped as zeros when the hand comes by.
 */
static void map_around(pte_t *pte, uint64_t va, const struct area *a, uint64_t bits)
{
    uint64_t count = around_count(pte, va, a);
    for (uint64_t i = 1; i <= count && pte_load(pte + i) == 0; i++) {
        struct frame *frame = frame_try_take();
        if (frame == NULL) {
            return;
        }
        map_zeros(pte + i, va + i * PAGE_BYTES, frame, bits & ~PTE_D);
    }
}

static int fault_zero(pte_t *pte, uint64_t va, const struct area *a, uint64_t bits)
{
    struct frame *frame;
    int r = frame_take(&frame);
    if (r < 0) {
        return r;
    }
    map_zeros(pte, va, frame, bits | PTE_A);
    stat_add(&stats_here()->faults_zero, 1);
    map_around(pte, va, a, bits);
    return 0;
}

/* Reading may fault in turn (a private mapping of a tmpfs file): nothing is claimed meanwhile. */
static int fault_file(pte_t *pte, uint64_t va, const struct area *a, uint64_t bits)
{
    struct frame *frame;
    int r = frame_take(&frame);
    if (r < 0) {
        return r;
    }
    uint64_t index = (a->offset + (va - a->start)) >> PAGE_SHIFT;
    r = a->backing->ops->read_page(a->backing, index, frame_bytes(frame));
    if (r < 0) {
        frame_free(frame);
        return r == -EFAULT ? -ERANGE : r;
    }
    map_frame(pte, va, frame, bits | PTE_A | PTE_FILE);
    stat_add(&stats_here()->faults_file, 1);
    return 0;
}

/* The frame of a page of the kernel window, faulted in and pinned. */
static int window_pin(struct mm *mm, uint64_t va, struct frame **ret)
{
    for (int i = 0; i < ALIAS_ATTEMPTS_MAX; i++) {
        pte_t *pte = pt_find(va);
        uint64_t entry;
        enum frame_state was;
        struct frame *f = pte == NULL ? NULL : frame_claim_page(pte, &entry, &was);
        if (f != NULL) {
            frame_pin(f);
            frame_move(f, was);
            *ret = f;
            return 0;
        }
        int r = mm_fault(mm, va, MM_ACCESS_READ, false);
        if (r < 0) {
            return r;
        }
    }
    return -ENOMEM;
}

/* A shared mapping borrows the frame of the file's own page. At most half of all are borrowed. */
static int fault_alias(struct mm *mm, pte_t *pte, uint64_t va, const struct area *a, uint64_t bits)
{
    uint64_t index = (a->offset + (va - a->start)) >> PAGE_SHIFT;
    uint64_t window_va;
    int r = a->backing->ops->shared_page(a->backing, index, &window_va);
    if (r < 0) {
        return r == -EFAULT ? -ERANGE : r;
    }
    CHECK(va_is_window(window_va));
    if (!pin_allowed()) {
        return -ENOMEM;
    }
    struct frame *frame;
    r = window_pin(mm, ALIGN_DOWN(window_va, PAGE_BYTES), &frame);
    if (r < 0) {
        return r;
    }
    uint64_t entry = 0;
    uint64_t next = frame_address(frame).v | bits | PTE_A | PTE_ALIAS;
    if (!page_move(pte, &entry, pte_present(va, next))) {
        frame_unpin(frame);
    }
    stat_add(&stats_here()->faults_file, 1);
    return 0;
}

/* Kernel lock held. */
static int fault_empty(struct mm *mm, uint64_t va, enum mm_access access)
{
    bool window = va_is_window(va);
    const struct area *a = areas_at(window ? &mm->window : &mm->user, va);
    if (a == NULL) {
        return -EFAULT;
    }
    uint64_t bits = rights_of(va, a->protection);
    if (!rights_allow(va, bits, access)) {
        return -EFAULT;
    }
    pte_t *pte;
    int r = pt_get(va, &pte);
    if (r < 0 || pte_load(pte) != 0) {
        return r; /* another was faster */
    }
    if (access == MM_ACCESS_WRITE) {
        bits |= PTE_D;
    }
    if (a->backing == NULL) {
        r = fault_zero(pte, va, a, bits);
    } else if ((a->flags & MM_SHARED) != 0 && a->backing->ops->shared_page != NULL) {
        r = fault_alias(mm, pte, va, a, bits);
    } else {
        r = fault_file(pte, va, a, bits);
    }
    return r;
}

/* A first touch: the map of areas says what the page is. */
NOINLINE static int fault_unmapped(struct mm *mm, uint64_t va, enum mm_access access)
{
    kernel_lock();
    int r = fault_empty(mm, va, access);
    kernel_unlock();
    if (r == 0) {
        (void)reclaim_slice(0);
    }
    return r;
}

/* The last page of a window that was read ahead: mapped now, and the next window is asked for. */
NOINLINE static int fault_marker(pte_t *pte, uint64_t va, uint64_t entry, enum mm_access access)
{
    uint64_t next = (entry & ~PTE_TAG) | PTE_P | PTE_A | (access == MM_ACCESS_WRITE ? PTE_D : 0);
    if (page_move(pte, &entry, next)) {
        reclaim_slice(prefetch_observe(va, true));
    }
    return 0;
}

/* LOOK_AGAIN: the page was being read, and something else has become of it meanwhile. */
HOT static int look(struct mm *mm, uint64_t va, enum mm_access access, uint64_t entry_ns)
{
    pte_t *pte = pt_find(va);
    uint64_t entry = pte == NULL ? 0 : pte_load(pte);
    enum page_state state = pte_state(entry);
    if (state == PAGE_EMPTY) {
        return fault_unmapped(mm, va, access);
    }
    if (!rights_allow(va, entry, access)) {
        return -EFAULT;
    }
    if (state == PAGE_REMOTE) {
        return fetch_page(pte, va, access == MM_ACCESS_WRITE, entry_ns);
    }
    if (state == PAGE_FETCHING) {
        stat_add(&stats_here()->faults_wait, 1);
        stat_add(&stats_here()->prefetch_late, 1);
        fetch_settle_read(va);
        return LOOK_AGAIN;
    }
    if ((entry & PTE_P) == 0) {
        return fault_marker(pte, va, entry, access);
    }
    /* It is there: another thread was faster, or this processor had an old translation with fewer
     * rights, which the fault itself has made it forget (Intel SDM vol. 3, 4.10.4.1). */
    return 0;
}

/* Mostly it is the marker of a window that was read ahead, which would fault once more. */
NOINLINE static int look_again(struct mm *mm, uint64_t va, enum mm_access access)
{
    int r = look(mm, va, access, 0);
    return r == LOOK_AGAIN ? 0 : r; /* then the program faults once more */
}

HOT static int fault(struct mm *mm, uint64_t va, enum mm_access access, bool from_user,
                     uint64_t entry_ns)
{
    if (!va_is_user(va) && (from_user || !va_is_window(va))) {
        return -EFAULT;
    }
    int r = look(mm, va, access, entry_ns);
    return UNLIKELY(r == LOOK_AGAIN) ? look_again(mm, va, access) : r;
}

uint64_t mm_fault_begins(void)
{
    return fetch_is_timed(this_cpu()) ? clock_ns() : 0;
}

int mm_fault(struct mm *mm, uint64_t va, enum mm_access access, bool from_user)
{
    return mm_fault_since(mm, va, access, from_user, 0);
}

HOT FLATTEN int mm_fault_since(struct mm *mm, uint64_t va, enum mm_access access, bool from_user,
                               uint64_t entry_ns)
{
    int r = fault(mm, ALIGN_DOWN(va, PAGE_BYTES), access, from_user, entry_ns);
    if (r < 0) {
        stat_add(&stats_here()->faults_failed, 1);
    }
    return r;
}
