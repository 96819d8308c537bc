/* SPDX-License-Identifier: Apache-2.0 */
/* More or less memory while the program runs. */
#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/io.h"
#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/writeback.h"

#define WORKING_MIN                                                                                \
    256 /* frames beside those that can't be evicted, with which programs still run */
#define WAIT_NS_MAX 200000000ull

static uint64_t bytes_of(uint64_t frame_count)
{
    return pager.image_bytes + frame_count * PAGE_BYTES;
}

static uint64_t frames_min(void)
{
    return STATS_SUM(frames_kernel) + atomic_load(&pager.pinned_count) + WORKING_MIN;
}

/* Evicts for a bounded time, as long as that frees frames. */
static void shrink(void)
{
    struct io_wait wait = {0};
    uint64_t start_ns = clock_ns();
    uint64_t stuck_count = 0;
    while (frame_excess() > 0 && clock_ns() - start_ns < WAIT_NS_MAX &&
           stuck_count < 4 * (frame_span() / RECLAIM_SLICE + 1)) {
        uint64_t excess = frame_excess();
        (void)reclaim_more();
        frame_hold_free();
        if (frame_excess() < excess) {
            stuck_count = 0;
            continue;
        }
        stuck_count++;
        if (io_background_count() > 0) {
            io_wait_step(&wait);
        }
    }
}

int pager_resize(uint64_t local_bytes, uint64_t *ret_bytes)
{
    uint64_t least = frames_min();
    uint64_t wanted =
        local_bytes < pager.image_bytes ? 0 : (local_bytes - pager.image_bytes) / PAGE_BYTES;
    if (wanted < least || wanted > frame_count()) {
        *ret_bytes = bytes_of(wanted < least ? least : frame_count());
        return -ERANGE;
    }
    if (wanted < frame_limit() && !pager.has_far) {
        *ret_bytes = bytes_of(frame_limit());
        return -ENOTSUP;
    }
    frame_limit_set(wanted);
    reclaim_watermarks(wanted - STATS_SUM(frames_kernel));
    atomic_store(&pager.local_bytes, wanted * PAGE_BYTES);
    shrink();
    *ret_bytes = bytes_of(frame_limit() + frame_excess());
    return 0;
}

void pager_far_set(uint64_t far_bytes)
{
    uint64_t before = atomic_exchange(&pager.far_bytes, far_bytes);
    if (far_bytes > before) {
        writeback_room_again();
    }
}

uint64_t mm_far_bytes(void)
{
    return atomic_load(&pager.far_bytes);
}
