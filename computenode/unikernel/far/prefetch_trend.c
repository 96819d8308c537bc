/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distance that more than half of the last faults have in common, whatever it is and in either
 * direction (as Leap does: majority by Boyer and Moore's vote, then counted). The last faults
 * first: half of the history decides if it agrees, else all of it.
 */
#include "computenode/unikernel/far/prefetch.h"

#include "lib/base/compiler.h"

#define STRIDE_MAX (1 << 20) /* pages */

/* 0: no majority among the last `count`. */
static int64_t majority(const struct pager_thread *t, uint32_t count)
{
    int64_t candidate = 0;
    uint32_t votes = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t delta = t->delta[prefetch_place(t, i)];
        if (votes == 0) {
            candidate = delta;
        }
        votes = delta == candidate ? votes + 1 : votes - 1;
    }
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        found += t->delta[prefetch_place(t, i)] == candidate;
    }
    return 2 * found > count ? candidate : 0;
}

static int64_t stride(const struct pager_thread *t)
{
    int64_t s = majority(t, PAGER_HISTORY / 2);
    if (s == 0) {
        s = majority(t, PAGER_HISTORY);
    }
    return s > -STRIDE_MAX && s < STRIDE_MAX ? s : 0;
}

const struct prefetcher prefetch_trend = {"trend", stride};
