/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/discard.h"

#include <errno.h>

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"

/* Ranges of which a discard is in flight; page_count 0: a free place. */
static struct {
    struct spin lock;
    _Atomic uint32_t count;
    struct discard_run ranges[DISCARDS_IN_FLIGHT_MAX];
} flying;

void discard_init(void)
{
    atomic_store(&flying.lock.taken, 0);
    atomic_store(&flying.count, 0);
    for (uint32_t i = 0; i < DISCARDS_IN_FLIGHT_MAX; i++) {
        flying.ranges[i].page_count = 0;
    }
}

static bool note(const struct discard_run *run)
{
    bool noted = false;
    spin_lock(&flying.lock);
    for (uint32_t i = 0; i < DISCARDS_IN_FLIGHT_MAX && !noted; i++) {
        if (flying.ranges[i].page_count == 0) {
            flying.ranges[i] = *run;
            atomic_fetch_add(&flying.count, 1);
            noted = true;
        }
    }
    spin_unlock(&flying.lock);
    return noted;
}

static void strike(uint64_t va, uint64_t page_count)
{
    bool found = false;
    spin_lock(&flying.lock);
    for (uint32_t i = 0; i < DISCARDS_IN_FLIGHT_MAX && !found; i++) {
        struct discard_run *r = &flying.ranges[i];
        if (r->va == va && r->page_count == page_count) {
            r->page_count = 0;
            atomic_fetch_sub(&flying.count, 1);
            found = true;
        }
    }
    spin_unlock(&flying.lock);
    CHECK(found);
}

bool discard_covers(uint64_t va, uint64_t page_count)
{
    bool found = false;
    if (atomic_load(&flying.count) == 0) {
        return false;
    }
    spin_lock(&flying.lock);
    for (uint32_t i = 0; i < DISCARDS_IN_FLIGHT_MAX && !found; i++) {
        const struct discard_run *r = &flying.ranges[i];
        found = r->page_count != 0 && va < r->va + r->page_count * PAGE_BYTES &&
                r->va < va + page_count * PAGE_BYTES;
    }
    spin_unlock(&flying.lock);
    return found;
}

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
    struct io_wait wait = {0};
    if (run->page_count == 0) {
        return;
    }
    while (!note(run)) {
        io_wait_step(&wait);
    }
    int r = io_discard(run->va, run->page_count, 1);
    while (r == -EAGAIN) {
        io_wait_step(&wait);
        r = io_discard(run->va, run->page_count, 1);
    }
    if (r < 0) {
        stat_add(&stats_here()->far_errors, 1);
        strike(run->va, run->page_count);
    }
    io_kick();
    run->page_count = 0;
}

void discard_done(const struct io_request *request)
{
    if (request->status == 0) {
        stat_add(&stats_here()->far_pages_discarded, request->page_count);
        strike(request->va, request->page_count);
        writeback_room_again();
        return;
    }
    if (request->status != -ENOTSUP && request->attempts < DISCARD_ATTEMPTS_MAX &&
        io_discard(request->va, request->page_count, request->attempts + 1u) == 0) {
        io_kick();
        return;
    }
    strike(request->va, request->page_count);
}
