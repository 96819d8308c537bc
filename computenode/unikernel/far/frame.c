/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/frame.h"

#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"
#include "lib/base/state.h"

struct frame_table frame_table;

/* Free frames that no processor has in hand, and those that are held back. */
static struct {
    struct spin lock;
    struct frame *free;
    struct frame *held;
    _Atomic uint64_t free_count;
    _Atomic uint64_t held_count;
    _Atomic uint64_t held_target;
} pool;

const uint32_t frame_moves[] = {
    [FRAME_NONE] = STATE_TO(FRAME_KERNEL),
    [FRAME_FREE] = STATE_TO(FRAME_BUSY),
    [FRAME_KERNEL] = STATE_TO(FRAME_FREE) | STATE_TO(FRAME_HELD),
    /* FREE: the read failed, or another was faster. KERNEL: taken for a page table. */
    [FRAME_BUSY] = STATE_TO(FRAME_ACTIVE) | STATE_TO(FRAME_FREE) | STATE_TO(FRAME_KERNEL) |
                   STATE_TO(FRAME_HELD),
    [FRAME_ACTIVE] = STATE_TO(FRAME_CLAIMED),
    [FRAME_CLAIMED] = STATE_TO(FRAME_ACTIVE) | STATE_TO(FRAME_WRITING) | STATE_TO(FRAME_ORPHAN) |
                      STATE_TO(FRAME_FREE) | STATE_TO(FRAME_HELD),
    [FRAME_WRITING] = STATE_TO(FRAME_CLAIMED),
    [FRAME_ORPHAN] = STATE_TO(FRAME_CLAIMED),
    [FRAME_HELD] = STATE_TO(FRAME_FREE),
};

static void pool_put(struct frame *f)
{
    f->next = pool.free;
    pool.free = f;
    atomic_fetch_add_explicit(&pool.free_count, 1, memory_order_relaxed);
}

static struct frame *pool_get(void)
{
    struct frame *f = pool.free;
    if (f != NULL) {
        pool.free = f->next;
        f->next = NULL;
        atomic_fetch_sub_explicit(&pool.free_count, 1, memory_order_relaxed);
    }
    return f;
}

/* First and last page number of all ranges; sets the table's span. */
static void span_set(const struct frame_range *ranges, uint32_t range_count)
{
    uint64_t first = UINT64_MAX, end = 0;
    for (uint32_t i = 0; i < range_count; i++) {
        CHECK(IS_ALIGNED(ranges[i].start.v, PAGE_BYTES));
        if (ranges[i].page_count > 0) {
            uint64_t page = ranges[i].start.v >> PAGE_SHIFT;
            first = MIN(first, page);
            end = MAX(end, page + ranges[i].page_count);
        }
    }
    CHECK(first < end);
    frame_table = (struct frame_table){.base_page = first, .span = end - first};
}

/* First page of a range that has room for the table. */
static uint64_t place_table(const struct frame_range *ranges, uint32_t range_count,
                            uint64_t page_count)
{
    for (uint32_t i = 0; i < range_count; i++) {
        if (ranges[i].page_count >= page_count) {
            return ranges[i].start.v >> PAGE_SHIFT;
        }
    }
    panic("no range of memory has room for the frame table of %llu pages",
          (unsigned long long)page_count);
}

static bool take_over(uint64_t index, bool own)
{
    struct frame *f = &frame_table.frames[index];
    frame_move(f, FRAME_KERNEL);
    frame_table.count++;
    if (own) {
        return false;
    }
    if (atomic_load(&pool.held_count) < atomic_load(&pool.held_target)) {
        frame_move(f, FRAME_HELD);
        f->next = pool.held;
        pool.held = f;
        atomic_fetch_add(&pool.held_count, 1);
        return false;
    }
    frame_move(f, FRAME_FREE);
    pool_put(f);
    return true;
}

/* The lowest addresses are taken first: put them last. */
static uint64_t fill_table(const struct frame_range *ranges, uint32_t range_count,
                           uint64_t own_first, uint64_t own_count)
{
    uint64_t free_count = 0;
    for (uint32_t i = range_count; i-- > 0;) {
        uint64_t first = ranges[i].start.v >> PAGE_SHIFT;
        for (uint64_t page = first + ranges[i].page_count; page-- > first;) {
            bool own = page >= own_first && page < own_first + own_count;
            free_count += take_over(page - frame_table.base_page, own);
        }
    }
    return free_count;
}

void frames_init(const struct frame_range *ranges, uint32_t range_count, uint64_t limit)
{
    pager_reset();
    span_set(ranges, range_count);
    uint64_t ram_count = 0;
    for (uint32_t i = 0; i < range_count; i++) {
        ram_count += ranges[i].page_count;
    }
    pool.free = NULL;
    pool.held = NULL;
    atomic_store(&pool.free_count, 0);
    atomic_store(&pool.held_count, 0);
    atomic_store(&pool.held_target, limit == 0 || limit >= ram_count ? 0 : ram_count - limit);
    uint64_t own_count = (frame_table.span * sizeof(struct frame) + PAGE_BYTES - 1) / PAGE_BYTES;
    uint64_t own_first = place_table(ranges, range_count, own_count);
    frame_table.frames = phys_to_virt((phys_addr_t){own_first << PAGE_SHIFT});
    __builtin_memset(frame_table.frames, 0, own_count * PAGE_BYTES);
    uint64_t free_count = fill_table(ranges, range_count, own_first, own_count);
    stat_set(&stats_here()->frames_total, frame_limit());
    stat_set(&stats_here()->frames_kernel, own_count);
    stat_set(&stats_here()->frames_free, free_count);
    reclaim_init(free_count);
}

HOT struct frame *frame_of(phys_addr_t pa)
{
    uint64_t index = (pa.v >> PAGE_SHIFT) - frame_table.base_page;
    CHECK(index < frame_table.span);
    return &frame_table.frames[index];
}

uint64_t frame_count(void)
{
    return frame_table.count;
}

uint64_t frame_span(void)
{
    return frame_table.span;
}

HOT struct frame *frame_at(uint64_t index)
{
    return &frame_table.frames[index];
}

HOT uint64_t frame_pool_count(void)
{
    return atomic_load_explicit(&pool.free_count, memory_order_relaxed);
}

HOT uint64_t frame_free_count(void)
{
    return frame_pool_count() + this_cpu()->reserve_count;
}

uint64_t frame_limit(void)
{
    return frame_table.count - atomic_load(&pool.held_target);
}

HOT uint64_t frame_excess(void)
{
    uint64_t held = atomic_load_explicit(&pool.held_count, memory_order_relaxed);
    uint64_t target = atomic_load_explicit(&pool.held_target, memory_order_relaxed);
    return target > held ? target - held : 0;
}

NOINLINE static void reserve_fill(struct pager_cpu *cpu)
{
    uint32_t wanted = MAX(pager.reserve_max / 2, 1u);
    while (cpu->reserve_count < wanted) {
        struct frame *f = pool_get();
        if (f == NULL) {
            return;
        }
        cpu->reserve[cpu->reserve_count++] = f;
    }
}

HOT void frame_refill(struct pager_cpu *cpu)
{
    if (cpu->reserve_count <= pager.reserve_max / 4 && frame_pool_count() > 0 &&
        spin_try(&pool.lock)) {
        reserve_fill(cpu);
        spin_unlock(&pool.lock);
    }
}

HOT struct frame *frame_try_take(void)
{
    return frame_try_take_on(this_cpu());
}

HOT struct frame *frame_try_take_on(struct pager_cpu *cpu)
{
    if (cpu->reserve_count == 0) {
        if (frame_pool_count() == 0) {
            return NULL;
        }
        spin_lock(&pool.lock);
        reserve_fill(cpu);
        spin_unlock(&pool.lock);
        if (cpu->reserve_count == 0) {
            return NULL;
        }
    }
    struct frame *f = cpu->reserve[--cpu->reserve_count];
    CHECK(f->pins == 0 && f->pte == NULL);
    frame_move(f, FRAME_BUSY);
    stat_add(&cpu->stats->frames_free, (uint64_t)-1);
    return f;
}

int frame_take(struct frame **ret)
{
    struct frame *f;
    while ((f = frame_try_take()) == NULL) {
        int r = reclaim_direct(1);
        if (r < 0) {
            return r;
        }
    }
    *ret = f;
    return 0;
}

/*
 * While more frames are in use than there may be, one that becomes free is held, unless faults are
 * short of frames: a program is not stopped because it was asked to shrink.
 */
static bool hold(struct frame *f)
{
    if (frame_excess() == 0 || frame_free_count() < pager.low_count) {
        return false;
    }
    spin_lock(&pool.lock);
    bool held = frame_excess() > 0;
    if (held) {
        frame_move(f, FRAME_HELD);
        f->next = pool.held;
        pool.held = f;
        atomic_fetch_add(&pool.held_count, 1);
    }
    spin_unlock(&pool.lock);
    return held;
}

/* Half of a full reserve goes to the pool, for other processors. */
HOT static void reserve_spill(struct pager_cpu *cpu)
{
    spin_lock(&pool.lock);
    while (cpu->reserve_count > pager.reserve_max / 2) {
        pool_put(cpu->reserve[--cpu->reserve_count]);
    }
    spin_unlock(&pool.lock);
}

NOINLINE HOT void frame_free(struct frame *frame)
{
    CHECK(frame->pins == 0);
    struct pager_cpu *cpu = this_cpu();
    frame->next = NULL;
    frame->va = 0;
    frame->flags = 0;
    if (hold(frame)) {
        return;
    }
    frame_move(frame, FRAME_FREE);
    stat_add(&cpu->stats->frames_free, 1);
    if (cpu->reserve_count >= pager.reserve_max) {
        reserve_spill(cpu);
    }
    cpu->reserve[cpu->reserve_count++] = frame;
}

void frame_hold_free(void)
{
    struct frame *f;
    while (frame_excess() > 0 && frame_free_count() > pager.high_count &&
           (f = frame_try_take()) != NULL) {
        frame_free(f);
    }
}

/* Pool lock held. */
static uint64_t unhold(uint64_t count)
{
    uint64_t freed_count = 0;
    while (pool.held != NULL && freed_count < count) {
        struct frame *f = pool.held;
        pool.held = f->next;
        atomic_fetch_sub(&pool.held_count, 1);
        frame_move(f, FRAME_FREE);
        pool_put(f);
        freed_count++;
    }
    return freed_count;
}

void frame_limit_set(uint64_t count)
{
    CHECK(count <= frame_table.count);
    uint64_t target = frame_table.count - count;
    spin_lock(&pool.lock);
    atomic_store(&pool.held_target, target);
    uint64_t held = atomic_load(&pool.held_count);
    uint64_t freed_count = held > target ? unhold(held - target) : 0;
    spin_unlock(&pool.lock);
    stat_add(&stats_here()->frames_free, freed_count);
    stat_add(&stats_here()->frames_total, count - STATS_SUM(frames_total));
}

bool frame_unhold(uint64_t count)
{
    if (frame_excess() == 0) {
        return false;
    }
    spin_lock(&pool.lock);
    uint64_t freed_count = unhold(count);
    spin_unlock(&pool.lock);
    stat_add(&stats_here()->frames_free, freed_count);
    return freed_count > 0;
}

HOT void frame_assign(struct frame *frame, pte_t *pte, uint64_t va)
{
    frame->pte = pte;
    frame->va = va;
    tlb_batch_mark_flushed(frame);
}

void frame_release(struct frame *frame)
{
    if (frame->pins == 0) {
        frame_free(frame);
        return;
    }
    frame->pte = NULL;
    frame->va = 0;
    frame_move(frame, FRAME_ORPHAN);
}

struct frame *frame_claim_page(pte_t *pte, uint64_t *ret_entry, enum frame_state *ret_was)
{
    for (;;) {
        uint64_t entry = pte_load(pte);
        if (!pte_is_local(entry)) {
            *ret_entry = entry;
            return NULL;
        }
        struct frame *f = frame_of(pte_frame_address(entry));
        enum frame_state was = frame_state(f);
        bool claimable = was == FRAME_ACTIVE || was == FRAME_WRITING || was == FRAME_ORPHAN;
        if (!claimable || !frame_claim(f, was)) {
            cpu_relax();
            continue;
        }
        entry = pte_load(pte);
        if (pte_is_local(entry) && frame_of(pte_frame_address(entry)) == f) {
            *ret_entry = entry;
            *ret_was = was;
            return f;
        }
        frame_move(f, was);
    }
}

void frame_pin(struct frame *frame)
{
    CHECK(frame->pins < FRAME_PINS_MAX);
    if (frame->pins++ == 0) {
        atomic_fetch_add_explicit(&pager.pinned_count, 1, memory_order_relaxed);
    }
}

void frame_unpin(struct frame *frame)
{
    enum frame_state was = frame_state(frame);
    while (!frame_claim(frame, was)) {
        cpu_relax();
        was = frame_state(frame);
    }
    CHECK(frame->pins > 0);
    if (--frame->pins == 0) {
        atomic_fetch_sub_explicit(&pager.pinned_count, 1, memory_order_relaxed);
    }
    if (frame->pins == 0 && was == FRAME_ORPHAN) {
        frame_free(frame);
    } else {
        frame_move(frame, was);
    }
}

int frame_alloc_kernel(phys_addr_t *ret)
{
    if (frame_free_count() <= pager.reserve_low && reclaim_direct(pager.reserve_low + 1) < 0) {
        return -ENOMEM;
    }
    return frame_alloc_table(ret);
}

int frame_alloc_table(phys_addr_t *ret)
{
    struct frame *f;
    int r = frame_take(&f);
    if (r < 0) {
        return r;
    }
    frame_move(f, FRAME_KERNEL);
    __builtin_memset(frame_bytes(f), 0, PAGE_BYTES);
    stat_add(&stats_here()->frames_kernel, 1);
    *ret = frame_address(f);
    return 0;
}

void frame_free_kernel(phys_addr_t pa)
{
    struct frame *f = frame_of(pa);
    CHECK(frame_state(f) == FRAME_KERNEL);
    frame_free(f);
    stat_add(&stats_here()->frames_kernel, (uint64_t)-1);
}
