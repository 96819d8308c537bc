/* SPDX-License-Identifier: Apache-2.0 */
/* Pageable kernel memory. */
#include <errno.h>

#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "lib/base/check.h"

#define WINDOW_END (MM_KERNEL_WINDOW + MM_KERNEL_WINDOW_BYTES)

int kwin_alloc(uint64_t page_count, uint64_t *ret_va)
{
    struct areas *as = &mm_current()->window;
    if (page_count == 0 || page_count > MM_KERNEL_WINDOW_BYTES / PAGE_BYTES) {
        return -ENOMEM;
    }
    int r = areas_reserve(as, 1);
    if (r < 0) {
        return r;
    }
    uint64_t bytes = page_count * PAGE_BYTES;
    uint64_t va = areas_room_up(as, MM_KERNEL_WINDOW, WINDOW_END, bytes);
    if (va == 0) {
        return -ENOMEM;
    }
    struct area like = {.start = va, .end = va + bytes, .protection = MM_READ | MM_WRITE};
    areas_join(as, areas_insert(as, &like));
    *ret_va = va;
    return 0;
}

/* The caller frees what it was given; splitting its range may need a node. */
void kwin_free(uint64_t va, uint64_t page_count)
{
    struct areas *as = &mm_current()->window;
    uint64_t end = va + page_count * PAGE_BYTES;
    struct area *a = areas_at(as, va);
    CHECK(a != NULL);
    CHECK(end <= a->end);
    zap_range(va, end, ZAP_FREE);
    if (a->start < va && end < a->end && areas_reserve(as, 1) < 0) {
        return; /* stays reserved, empty: it costs address space only */
    }
    if (a->start < va && end < a->end) {
        areas_cut(as, end, end);
        a->end = va;
    } else if (a->start < va) {
        a->end = va;
    } else if (end < a->end) {
        a->start = end;
    } else {
        areas_remove(as, a);
    }
    uint64_t hole_start = MM_KERNEL_WINDOW;
    uint64_t hole_end = WINDOW_END;
    areas_hole(as, va, &hole_start, &hole_end);
    pt_trim(va, end, hole_start, hole_end);
}

void kwin_discard(uint64_t va, uint64_t page_count)
{
    zap_range(va, va + page_count * PAGE_BYTES, ZAP_KEEP_PINNED);
}
