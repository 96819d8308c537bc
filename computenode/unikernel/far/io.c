/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/io.h"

#include <errno.h>

#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"

#define SECTORS_PER_PAGE (PAGE_BYTES / BLKQ_SECTOR_BYTES)
#define POLL_MAX         16

static struct {
    struct io_request requests[IO_REQUESTS_MAX];
    uint32_t count[IO_DISCARD + 1]; /* in use, by kind */
    bool unkicked;
} io;

void io_init(void)
{
    io.unkicked = false;
    for (uint32_t i = 0; i <= IO_DISCARD; i++) {
        io.count[i] = 0;
    }
    for (uint32_t i = 0; i < IO_REQUESTS_MAX; i++) {
        io.requests[i] = (struct io_request){.kind = IO_NONE};
    }
}

/* Request 0 is the demand read's: there is one fault at a time on a CPU, and it always finds it. */
static struct io_request *request_take(enum io_kind kind)
{
    uint32_t first = kind == IO_DEMAND ? 0 : 1;
    uint32_t end = kind == IO_DEMAND ? 1 : IO_REQUESTS_MAX;
    for (uint32_t i = first; i < end; i++) {
        struct io_request *r = &io.requests[i];
        if (r->kind == IO_NONE) {
            r->kind = kind;
            r->done = false;
            r->status = 0;
            r->attempts = 0;
            r->generation++;
            io.count[kind]++;
            return r;
        }
    }
    CHECK(kind != IO_DEMAND);
    return NULL;
}

static void request_free(struct io_request *r)
{
    io.count[r->kind]--;
    r->kind = IO_NONE;
}

static uint64_t token_of(const struct io_request *r)
{
    return (uint64_t)r->generation << 32 | (uint64_t)(r - io.requests);
}

static int submit(struct blkq *q, struct io_request *r)
{
    uint64_t sector = far_address(r->va) / BLKQ_SECTOR_BYTES;
    r->submitted_ns = clock_ns();
    if (r->kind == IO_DISCARD) {
        return blkq_discard(q, sector, r->page_count * SECTORS_PER_PAGE, token_of(r));
    }
    struct blkq_segment segments[BLKQ_SEGMENTS_MAX];
    for (uint32_t i = 0; i < r->page_count; i++) {
        segments[i] = (struct blkq_segment){frame_address(r->frames[i]), PAGE_BYTES};
    }
    return blkq_submit(q, r->kind == IO_WRITE ? BLKQ_WRITE : BLKQ_READ, sector, segments,
                       (uint32_t)r->page_count, token_of(r));
}

/* A demand read is seen by the device at once; the rest with the next io_kick(). */
static int start(struct io_request *r)
{
    bool demand = r->kind == IO_DEMAND;
    struct blkq *q = demand ? pager.demand : pager.background;
    int e = submit(q, r);
    while (e == -EAGAIN && demand) {
        blkq_kick(q);
        blkq_wait(q);
        io_poll();
        e = submit(q, r);
    }
    if (e < 0) {
        request_free(r);
        return e == -EAGAIN ? -EAGAIN : -EIO;
    }
    if (demand) {
        blkq_kick(q);
    } else {
        io.unkicked = true;
    }
    return 0;
}

int io_read(enum io_kind kind, struct frame *frame, uint64_t va, struct io_request **ret)
{
    struct io_request *r = request_take(kind);
    if (r == NULL) {
        return -EAGAIN;
    }
    r->va = va;
    r->page_count = 1;
    r->frames[0] = frame;
    int e = start(r);
    if (e == 0 && ret != NULL) {
        *ret = r;
    }
    return e;
}

int io_collect(struct io_request *r)
{
    CHECK(r->kind == IO_DEMAND);
    io_poll();
    while (!r->done) {
        blkq_wait(pager.demand);
        io_poll();
    }
    int status = r->status;
    request_free(r);
    return status == 0 ? 0 : -EIO;
}

int io_write(struct frame *const *frames, uint32_t page_count, uint64_t va)
{
    CHECK(page_count > 0 && page_count <= BLKQ_SEGMENTS_MAX);
    struct io_request *r = request_take(IO_WRITE);
    if (r == NULL) {
        return -EAGAIN;
    }
    r->va = va;
    r->page_count = page_count;
    for (uint32_t i = 0; i < page_count; i++) {
        r->frames[i] = frames[i];
    }
    return start(r);
}

int io_discard(uint64_t va, uint64_t page_count, uint32_t attempts)
{
    struct io_request *r = request_take(IO_DISCARD);
    if (r == NULL) {
        return -EAGAIN;
    }
    r->va = va;
    r->page_count = page_count;
    r->attempts = attempts;
    return start(r);
}

bool io_discarding(uint64_t va, uint64_t page_count)
{
    uint32_t left = io.count[IO_DISCARD];
    for (uint32_t i = 0; i < IO_REQUESTS_MAX && left > 0; i++) {
        const struct io_request *r = &io.requests[i];
        if (r->kind != IO_DISCARD) {
            continue;
        }
        left--;
        if (va < r->va + r->page_count * PAGE_BYTES && r->va < va + page_count * PAGE_BYTES) {
            return true;
        }
    }
    return false;
}

uint32_t io_background_count(void)
{
    return io.count[IO_PREFETCH] + io.count[IO_WRITE] + io.count[IO_DISCARD];
}

uint32_t io_kind_count(enum io_kind kind)
{
    return io.count[kind];
}

void io_kick(void)
{
    if (io.unkicked) {
        io.unkicked = false;
        blkq_kick(pager.background);
    }
}

/* The request is freed first: what follows a completion may start another. */
static void complete(const struct blkq_done *done)
{
    uint32_t index = (uint32_t)done->token;
    CHECK(index < IO_REQUESTS_MAX);
    struct io_request *r = &io.requests[index];
    CHECK(r->kind != IO_NONE && !r->done);
    CHECK(r->generation == done->token >> 32);
    r->status = done->status;
    if (done->status < 0) {
        stat_add(&pager.stats->far_errors, 1);
    }
    if (r->kind == IO_DEMAND || r->kind == IO_PREFETCH) {
        stat_time(pager.stats->device_read_ns, clock_ns() - r->submitted_ns);
    }
    if (r->kind == IO_DEMAND) {
        r->done = true;
        return;
    }
    struct io_request copy = *r;
    request_free(r);
    switch (copy.kind) {
    case IO_PREFETCH:
        fetch_prefetched(&copy);
        break;
    case IO_WRITE:
        writeback_done(&copy);
        break;
    default:
        discard_done(&copy);
        break;
    }
}

static void poll_queue(struct blkq *q)
{
    struct blkq_done done[POLL_MAX];
    uint32_t count = blkq_poll(q, done, POLL_MAX);
    for (uint32_t i = 0; i < count; i++) {
        complete(&done[i]);
    }
}

void io_poll(void)
{
    if (pager.demand == NULL) {
        return;
    }
    poll_queue(pager.demand);
    if (pager.background != pager.demand) {
        poll_queue(pager.background);
    }
}

void io_wait_background(void)
{
    CHECK(io_background_count() > 0);
    io_kick();
    blkq_wait(pager.background);
    io_poll();
}
