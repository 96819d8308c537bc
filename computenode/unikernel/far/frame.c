/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/frame.h"

#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "lib/base/check.h"
#include "lib/base/state.h"

/* A run of frames of the table. */
struct run {
    uint64_t start; /* guest-physical */
    uint64_t count;
    uint64_t first; /* index of its first frame */
};

static struct {
    struct run runs[FRAME_RANGES_MAX];
    uint32_t run_count;
    struct frame *frames;
    uint64_t count;
} table;

static const uint32_t frame_moves[] = {
    [FRAME_FREE] = STATE_TO(FRAME_BUSY),
    [FRAME_KERNEL] = STATE_TO(FRAME_FREE),
    /* FREE: the read failed, or another was faster. KERNEL: taken for a page table. */
    [FRAME_BUSY] = STATE_TO(FRAME_ACTIVE) | STATE_TO(FRAME_FREE) | STATE_TO(FRAME_KERNEL),
    [FRAME_ACTIVE] = STATE_TO(FRAME_ACTIVE) | STATE_TO(FRAME_CLEAN) | STATE_TO(FRAME_WRITING) |
                     STATE_TO(FRAME_FREE) | STATE_TO(FRAME_ORPHAN),
    /* ACTIVE: used again, or pinned. */
    [FRAME_CLEAN] = STATE_TO(FRAME_ACTIVE) | STATE_TO(FRAME_FREE) | STATE_TO(FRAME_ORPHAN),
    [FRAME_WRITING] = STATE_TO(FRAME_ACTIVE) | STATE_TO(FRAME_CLEAN),
    [FRAME_ORPHAN] = STATE_TO(FRAME_FREE),
};

static struct list *list_of(enum frame_state state, uint64_t **ret_count)
{
    switch (state) {
    case FRAME_FREE:
        *ret_count = &pager.free_count;
        return &pager.free;
    case FRAME_ACTIVE:
        *ret_count = &pager.active_count;
        return &pager.active;
    case FRAME_CLEAN:
        *ret_count = &pager.clean_count;
        return &pager.clean;
    case FRAME_WRITING: /* counted, on no list */
        *ret_count = &pager.writing_count;
        return NULL;
    default:
        *ret_count = NULL;
        return NULL;
    }
}

void frame_move(struct frame *frame, enum frame_state to)
{
    CHECK(state_may_move(frame_moves, frame->state, to));
    uint64_t *count;
    list_of((enum frame_state)frame->state, &count);
    list_remove(&frame->link);
    if (count != NULL) {
        *count -= 1;
    }
    frame->state = (uint8_t)to;
    struct list *list = list_of(to, &count);
    if (list != NULL) {
        list_append(list, &frame->link);
    }
    if (count != NULL) {
        *count += 1;
    }
    stat_set(&pager.stats->frames_free, pager.free_count);
}

/* Copies the ranges, cut to `limit` frames in all. */
static void runs_set(const struct frame_range *ranges, uint32_t range_count, uint64_t limit)
{
    CHECK(range_count <= FRAME_RANGES_MAX);
    for (uint32_t i = 0; i < range_count; i++) {
        uint64_t count = ranges[i].page_count;
        if (limit != 0) {
            count = MIN(count, limit - table.count);
        }
        if (count > 0) {
            CHECK(IS_ALIGNED(ranges[i].start.v, PAGE_BYTES));
            table.runs[table.run_count++] = (struct run){ranges[i].start.v, count, table.count};
            table.count += count;
        }
    }
}

/* Index of the first of `page_count` frames in one run. */
static uint64_t place_table(uint64_t page_count)
{
    for (uint32_t i = 0; i < table.run_count; i++) {
        if (table.runs[i].count >= page_count) {
            table.frames = phys_to_virt((phys_addr_t){table.runs[i].start});
            return table.runs[i].first;
        }
    }
    panic("no range of memory has room for the frame table of %llu pages",
          (unsigned long long)page_count);
}

void frames_init(const struct frame_range *ranges, uint32_t range_count, uint64_t frame_limit)
{
    table.run_count = 0;
    table.count = 0;
    pager_reset();
    runs_set(ranges, range_count, frame_limit);
    uint64_t own_count = (table.count * sizeof(struct frame) + PAGE_BYTES - 1) / PAGE_BYTES;
    uint64_t own_first = place_table(own_count);
    for (uint64_t i = 0; i < table.count; i++) {
        struct frame *f = &table.frames[i];
        *f = (struct frame){.state = FRAME_KERNEL};
        list_init(&f->link);
        if (i < own_first || i >= own_first + own_count) {
            frame_move(f, FRAME_FREE);
        }
    }
    stat_set(&pager.stats->frames_total, table.count);
    stat_set(&pager.stats->frames_kernel, own_count);
    reclaim_init(pager.free_count);
}

struct frame *frame_of(phys_addr_t pa)
{
    for (uint32_t i = 0; i < table.run_count; i++) {
        uint64_t page = (pa.v - table.runs[i].start) >> PAGE_SHIFT;
        if (pa.v >= table.runs[i].start && page < table.runs[i].count) {
            return &table.frames[table.runs[i].first + page];
        }
    }
    CHECK(!"the address belongs to a frame of the table");
    return NULL;
}

phys_addr_t frame_address(const struct frame *frame)
{
    uint64_t index = (uint64_t)(frame - table.frames);
    for (uint32_t i = 0; i < table.run_count; i++) {
        const struct run *run = &table.runs[i];
        if (index - run->first < run->count) {
            return (phys_addr_t){run->start + ((index - run->first) << PAGE_SHIFT)};
        }
    }
    CHECK(!"the frame belongs to the table");
    return (phys_addr_t){0};
}

uint64_t frame_count(void)
{
    return table.count;
}

struct frame *frame_at(uint64_t index)
{
    return &table.frames[index];
}

struct frame *frame_try_take(void)
{
    struct list *first = list_first(&pager.free);
    if (first == NULL) {
        return NULL;
    }
    struct frame *f = list_entry(first, struct frame, link);
    CHECK(f->pins == 0 && f->pte == NULL);
    frame_move(f, FRAME_BUSY);
    f->flags = 0;
    return f;
}

int frame_take(struct frame **ret)
{
    struct frame *f = frame_try_take();
    if (f == NULL) {
        int r = reclaim_direct(1);
        if (r < 0) {
            return r;
        }
        f = frame_try_take();
        CHECK(f != NULL);
    }
    *ret = f;
    return 0;
}

void frame_mapped(struct frame *frame, pte_t *pte, uint64_t va)
{
    frame->pte = pte;
    frame->va = va;
    frame->flush_epoch = tlb_batch_epoch_before();
    frame_move(frame, FRAME_ACTIVE);
}

void frame_release(struct frame *frame)
{
    frame->pte = NULL;
    frame->va = 0;
    frame_move(frame, frame->pins > 0 ? FRAME_ORPHAN : FRAME_FREE);
}

void frame_pin(struct frame *frame)
{
    CHECK(frame->state == FRAME_ACTIVE || frame->state == FRAME_CLEAN ||
          frame->state == FRAME_WRITING);
    CHECK(frame->pins < FRAME_PINS_MAX);
    pager.pinned_count += frame->pins == 0;
    frame->pins++;
}

void frame_unpin(struct frame *frame)
{
    CHECK(frame->pins > 0);
    frame->pins--;
    pager.pinned_count -= frame->pins == 0;
    if (frame->pins == 0 && frame->state == FRAME_ORPHAN) {
        frame_move(frame, FRAME_FREE);
    }
}

int frame_alloc_kernel(phys_addr_t *ret)
{
    if (pager.free_count <= pager.reserve_count && reclaim_direct(pager.reserve_count + 1) < 0) {
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
    stat_add(&pager.stats->frames_kernel, 1);
    *ret = frame_address(f);
    return 0;
}

void frame_free_kernel(phys_addr_t pa)
{
    struct frame *f = frame_of(pa);
    CHECK(f->state == FRAME_KERNEL);
    frame_move(f, FRAME_FREE);
    stat_add(&pager.stats->frames_kernel, (uint64_t)-1);
}
