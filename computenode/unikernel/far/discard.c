/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/discard.h"

#include <errno.h>

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"

void discard_add(struct discard_run *run, uint64_t va)
{
    if (run->page_count > 0 && run->va + run->page_count * PAGE_BYTES == va) {
        run->page_count++;
        return;
    }
    discard_end(run);
    run->va = va;
    run->page_count = 1;
}

void discard_end(struct discard_run *run)
{
    if (run->page_count == 0) {
        return;
    }
    while (io_kind_count(IO_DISCARD) >= DISCARDS_IN_FLIGHT_MAX) {
        io_wait_background();
    }
    int r = io_discard(run->va, run->page_count, 1);
    while (r == -EAGAIN && io_background_count() > 0) {
        io_wait_background();
        r = io_discard(run->va, run->page_count, 1);
    }
    if (r < 0) {
        stat_add(&pager.stats->far_errors, 1);
    }
    io_kick();
    run->page_count = 0;
}

void discard_done(const struct io_request *request)
{
    if (request->status == 0) {
        stat_add(&pager.stats->far_pages_discarded, request->page_count);
        writeback_room_again();
        return;
    }
    if (request->status != -ENOTSUP && request->attempts < DISCARD_ATTEMPTS_MAX) {
        int r = io_discard(request->va, request->page_count, request->attempts + 1);
        if (r == 0) {
            io_kick();
        }
    }
}
