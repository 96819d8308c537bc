/* SPDX-License-Identifier: Apache-2.0 */
/* mm.h: making, removing and listing mappings, and the heap. */
#include "computenode/unikernel/far/mm.h"

#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "lib/base/check.h"

#define FLAGS_KEPT (MM_SHARED | MM_STACK | MM_HEAP | MM_NORESERVE)

static struct mm the_mm;

struct mm *mm_current(void)
{
    return &the_mm;
}

void mm_init(struct mm *mm)
{
    areas_init(&mm->user);
    areas_init(&mm->window);
    mm->heap_start = 0;
    mm->heap_end = 0;
}

int range_of(uint64_t va, uint64_t length, uint64_t *ret_end)
{
    if (!IS_ALIGNED(va, PAGE_BYTES) || va >= MM_USER_END || length > MM_USER_END - va) {
        return -EINVAL;
    }
    *ret_end = va + ALIGN_UP(length, PAGE_BYTES);
    return 0;
}

bool space_can_hold(uint64_t bytes)
{
    return bytes <= atomic_load(&pager.local_bytes) + atomic_load(&pager.far_bytes);
}

void space_remove(struct mm *mm, uint64_t start, uint64_t end)
{
    areas_cut(&mm->user, start, end);
    bool any = false;
    struct area *a = areas_find(&mm->user, start);
    while (a != NULL && a->start < end) {
        struct area *next = areas_next(&mm->user, a);
        struct mm_backing *backing = a->backing;
        zap_range(a->start, a->end, ZAP_FREE);
        areas_remove(&mm->user, a);
        if (backing != NULL) {
            backing->ops->unref(backing);
        }
        any = true;
        a = next;
    }
    if (any) {
        uint64_t hole_start = 0;
        uint64_t hole_end = MM_USER_END;
        areas_hole(&mm->user, start, &hole_start, &hole_end);
        pt_trim(start, end, hole_start, hole_end);
    }
}

/* Where a mapping goes that has no fixed place. */
static int choose_place(const struct mm *mm, uint64_t hint, uint64_t bytes, uint64_t *ret_va)
{
    hint = ALIGN_DOWN(hint, PAGE_BYTES);
    if (hint >= MM_USER_MIN && hint < MM_MAP_TOP && bytes <= MM_MAP_TOP - hint) {
        const struct area *a = areas_find(&mm->user, hint);
        if (a == NULL || a->start >= hint + bytes) {
            *ret_va = hint;
            return 0;
        }
    }
    *ret_va = areas_room_down(&mm->user, MM_USER_MIN, MM_MAP_TOP, bytes);
    return *ret_va == 0 ? -ENOMEM : 0;
}

static int check_place(const struct mm *mm, uint64_t va, uint64_t bytes, unsigned flags)
{
    if (!IS_ALIGNED(va, PAGE_BYTES)) {
        return -EINVAL;
    }
    if (va < MM_USER_MIN || va >= MM_USER_END || bytes > MM_USER_END - va) {
        return -ENOMEM;
    }
    const struct area *a = areas_find(&mm->user, va);
    if ((flags & MM_NOREPLACE) != 0 && a != NULL && a->start < va + bytes) {
        return -EEXIST;
    }
    return 0;
}

static int check_kind(uint64_t bytes, unsigned protection, unsigned flags,
                      const struct mm_backing *backing)
{
    bool writable = (protection & MM_WRITE) != 0;
    bool shared = (flags & MM_SHARED) != 0 && backing != NULL;
    if (shared && writable && backing->ops->shared_page == NULL) {
        return -ENODEV;
    }
    if (writable && !shared && (flags & MM_NORESERVE) == 0 && !space_can_hold(bytes)) {
        return -ENOMEM;
    }
    return 0;
}

/* The pages now rather than at their first touch, as long as that evicts nothing. */
static void populate(struct mm *mm, uint64_t start, uint64_t end, unsigned protection)
{
    enum mm_access access = (protection & MM_WRITE) != 0 ? MM_ACCESS_WRITE : MM_ACCESS_READ;
    for (uint64_t va = start; va < end && frame_pool_count() > pager.high_count; va += PAGE_BYTES) {
        if (mm_fault(mm, va, access, true) < 0) {
            return;
        }
    }
}

int mm_map(struct mm *mm, uint64_t hint, uint64_t length, unsigned protection, unsigned flags,
           struct mm_backing *backing, uint64_t offset, uint64_t *ret_va)
{
    if (length == 0 || !IS_ALIGNED(offset, PAGE_BYTES)) {
        return -EINVAL;
    }
    if (length > MM_USER_END) {
        return -ENOMEM;
    }
    uint64_t bytes = ALIGN_UP(length, PAGE_BYTES);
    if (offset + bytes < offset) {
        return -EINVAL;
    }
    int r = check_kind(bytes, protection, flags, backing);
    uint64_t va = hint;
    if (r == 0 && (flags & (MM_FIXED | MM_NOREPLACE)) != 0) {
        r = check_place(mm, va, bytes, flags);
    } else if (r == 0) {
        r = choose_place(mm, hint, bytes, &va);
    }
    if (r == 0) {
        r = areas_reserve(&mm->user, 3);
    }
    if (r < 0) {
        return r;
    }
    space_remove(mm, va, va + bytes);
    struct area like = {.start = va,
                        .end = va + bytes,
                        .backing = backing,
                        .offset = offset,
                        .protection = (uint16_t)protection,
                        .flags = (uint16_t)(flags & FLAGS_KEPT)};
    if (backing != NULL) {
        backing->ops->ref(backing);
    }
    areas_join(&mm->user, areas_insert(&mm->user, &like));
    if ((flags & MM_POPULATE) != 0) {
        populate(mm, va, va + bytes, protection);
    }
    *ret_va = va;
    return 0;
}

int mm_unmap(struct mm *mm, uint64_t va, uint64_t length)
{
    uint64_t end;
    int r = length == 0 ? -EINVAL : range_of(va, length, &end);
    if (r == 0) {
        r = areas_reserve(&mm->user, 2);
    }
    if (r < 0) {
        return r;
    }
    space_remove(mm, va, end);
    return 0;
}

void mm_brk_start(struct mm *mm, uint64_t va)
{
    mm->heap_start = ALIGN_UP(va, PAGE_BYTES);
    mm->heap_end = mm->heap_start;
}

/* The heap's mapping ends at the page above heap_end. */
static int heap_grow(struct mm *mm, uint64_t from, uint64_t to)
{
    if (!space_can_hold(to - mm->heap_start)) {
        return -ENOMEM;
    }
    uint64_t va;
    return mm_map(mm, from, to - from, MM_READ | MM_WRITE, MM_NOREPLACE | MM_HEAP, NULL, 0, &va);
}

uint64_t mm_brk(struct mm *mm, uint64_t end)
{
    if (end < mm->heap_start || end > MM_MAP_TOP || mm->heap_start == 0) {
        return mm->heap_end;
    }
    uint64_t from = ALIGN_UP(mm->heap_end, PAGE_BYTES);
    uint64_t to = ALIGN_UP(end, PAGE_BYTES);
    int r = 0;
    if (to > from) {
        r = heap_grow(mm, from, to);
    } else if (to < from) {
        r = mm_unmap(mm, to, from - to);
    }
    if (r == 0) {
        mm->heap_end = end;
    }
    return mm->heap_end;
}

bool mm_area_next(struct mm *mm, uint64_t va, struct mm_area *ret)
{
    const struct area *a = areas_find(&mm->user, va);
    if (a == NULL) {
        return false;
    }
    *ret = (struct mm_area){.start = a->start,
                            .end = a->end,
                            .protection = a->protection,
                            .flags = a->flags,
                            .offset = a->offset,
                            .name = ""};
    if (a->backing != NULL) {
        ret->name = a->backing->ops->name(a->backing, &ret->inode);
    }
    return true;
}

bool mm_access_ok(struct mm *mm, uint64_t va, uint64_t length, unsigned protection)
{
    if (va >= MM_USER_END || length > MM_USER_END - va) {
        return false;
    }
    uint64_t end = va + length;
    while (va < end) {
        const struct area *a = areas_at(&mm->user, va);
        bool reads = a != NULL && a->protection != 0;
        if (!reads || ((protection & MM_WRITE) != 0 && (a->protection & MM_WRITE) == 0)) {
            return false;
        }
        va = a->end;
    }
    return true;
}

void mm_usage(struct mm *mm, struct mm_usage *ret)
{
    struct mm_usage usage = {
        .resident_pages = STATS_SUM(pages_local),
        .remote_pages = STATS_SUM(pages_remote),
    };
    list_for_each (node, &mm->user.list) {
        const struct area *a = list_entry(node, struct area, link);
        uint64_t bytes = a->end - a->start;
        usage.mapped_bytes += bytes;
        if ((a->flags & MM_STACK) != 0) {
            usage.stack_bytes += bytes;
        } else if ((a->flags & MM_SHARED) == 0 && (a->protection & MM_WRITE) != 0) {
            usage.data_bytes += bytes;
        }
    }
    *ret = usage;
}
