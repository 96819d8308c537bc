/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/io.h"

#include <errno.h>

#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"

#define SECTORS_PER_PAGE (PAGE_BYTES / BLKQ_SECTOR_BYTES)
#define POLL_MAX         4
#define RINGS_MAX        (2 * CPU_COUNT_MAX)
/*
 * Polls of one wait before it lets others run, as a change of threads and back costs more than a
 * read that is nearly there; and before it halts although others that wait could run.
 */
#define STEPS_BEFORE_YIELD 32
#define STEPS_BEFORE_HALT  128

struct io_ring {
    struct blkq *q;
    bool exclusive; /* of one processor, which needs no lock */
    struct spin lock;
    _Atomic bool unkicked;
    uint32_t in_flight;                /* submitted, not yet taken back */
    uint32_t free;                     /* bit i: requests[i] is free */
    _Atomic uint32_t background_count; /* prefetch, write, discard; until they were acted on */
    _Atomic uint32_t write_count;
    struct io_request *requests; /* IO_REQUESTS_MAX */
};

static struct {
    struct io_ring rings[RINGS_MAX];
    uint32_t count;
} io;

_Static_assert(IO_REQUESTS_MAX == 32, "a word has a bit for each request");
_Static_assert(IO_REQUESTS_MAX * sizeof(struct io_request) <= PAGE_BYTES, "they fit one frame");

void io_init(void)
{
    io.count = 0;
}

/* NULL: no memory. */
static struct io_ring *ring_of(struct blkq *q, bool exclusive)
{
    for (uint32_t i = 0; i < io.count; i++) {
        if (io.rings[i].q == q) {
            io.rings[i].exclusive = false;
            return &io.rings[i];
        }
    }
    CHECK(io.count < RINGS_MAX);
    phys_addr_t pa;
    if (frame_alloc_kernel(&pa) < 0) {
        return NULL;
    }
    struct io_ring *ring = &io.rings[io.count++];
    __builtin_memset(ring, 0, sizeof(*ring));
    ring->q = q;
    ring->exclusive = exclusive;
    ring->requests = phys_to_virt(pa); /* zeroed: IO_NONE */
    ring->free = UINT32_MAX;
    for (uint16_t i = 0; i < IO_REQUESTS_MAX; i++) {
        ring->requests[i].index = i;
    }
    return ring;
}

int io_add(uint32_t cpu, struct blkq *demand, struct blkq *background)
{
    struct pager_cpu *c = &pager.cpus[cpu];
    c->demand = ring_of(demand, true);
    c->background = ring_of(background != NULL ? background : demand, false);
    return c->demand == NULL || c->background == NULL ? -ENOMEM : 0;
}

static void ring_enter(struct io_ring *ring)
{
    if (UNLIKELY(!ring->exclusive)) {
        spin_lock(&ring->lock);
    }
}

static void ring_leave(struct io_ring *ring)
{
    if (UNLIKELY(!ring->exclusive)) {
        spin_unlock(&ring->lock);
    }
}

/* Ring entered. */
static struct io_request *request_take(struct io_ring *ring, enum io_kind kind)
{
    if (ring->free == 0) {
        return NULL;
    }
    uint32_t index = (uint32_t)__builtin_ctz(ring->free);
    struct io_request *r = &ring->requests[index];
    CHECK(r->kind == IO_NONE);
    ring->free &= ring->free - 1;
    r->kind = (uint8_t)kind;
    r->attempts = 0;
    r->status = 0;
    r->submitted_ns = 0;
    r->generation++;
    atomic_store_explicit(&r->done, false, memory_order_relaxed);
    return r;
}

static void request_free(struct io_ring *ring, struct io_request *r)
{
    r->kind = IO_NONE;
    ring->free |= 1u << r->index;
}

static uint64_t token_of(const struct io_request *r)
{
    return (uint64_t)r->generation << 32 | r->index;
}

static uint64_t sector_of(uint64_t va)
{
    return far_address(va) / BLKQ_SECTOR_BYTES;
}

static int submit(struct blkq *q, struct io_request *r)
{
    if (r->kind == IO_DISCARD) {
        return blkq_discard(q, sector_of(r->va), r->page_count * SECTORS_PER_PAGE, token_of(r));
    }
    struct blkq_segment segments[BLKQ_SEGMENTS_MAX];
    for (uint32_t i = 0; i < r->page_count; i++) {
        segments[i] = (struct blkq_segment){frame_address(io_frame(r, i)), PAGE_BYTES};
    }
    return blkq_submit(q, r->kind == IO_WRITE ? BLKQ_WRITE : BLKQ_READ, sector_of(r->va), segments,
                       (uint32_t)r->page_count, token_of(r));
}

static void frames_set(struct io_request *r, struct frame *const *frames, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        r->frames[i] = (uint32_t)(frames[i] - frame_table.frames);
    }
}

/* A demand read is seen by the device at once. -EAGAIN: no room now. */
static int try_read(struct io_ring *ring, const struct frame *frame, uint64_t va, bool timed,
                    struct io_request **ret)
{
    ring_enter(ring);
    struct io_request *r = request_take(ring, IO_DEMAND);
    int e = -EAGAIN;
    if (r != NULL) {
        struct blkq_segment segment = {frame_address(frame), PAGE_BYTES};
        r->submitted_ns = timed ? clock_ns() : 0;
        e = blkq_submit(ring->q, BLKQ_READ, sector_of(va), &segment, 1, token_of(r));
        if (e == 0) {
            ring->in_flight++;
            *ret = r;
        } else {
            request_free(ring, r);
        }
    }
    blkq_kick(ring->q);
    ring_leave(ring);
    return e;
}

/* Waits until there is room. */
COLD static int read_later(struct io_ring *ring, const struct frame *frame, uint64_t va, bool timed,
                           struct io_request **ret)
{
    struct io_wait wait = {0};
    int e;
    do {
        io_wait_step(&wait);
        e = try_read(ring, frame, va, timed, ret);
    } while (e == -EAGAIN);
    return e;
}

HOT int io_read(struct pager_cpu *cpu, struct frame *frame, uint64_t va, bool timed,
                struct io_request **ret)
{
    int e = try_read(cpu->demand, frame, va, timed, ret);
    if (UNLIKELY(e == -EAGAIN)) {
        e = read_later(cpu->demand, frame, va, timed, ret);
    }
    return e < 0 ? -EIO : 0;
}

/* The device sees it with the next io_kick(). */
HOT static int start(enum io_kind kind, uint64_t va, uint64_t page_count,
                     struct frame *const *frames, uint32_t attempts)
{
    struct io_ring *ring = this_cpu()->background;
    ring_enter(ring);
    struct io_request *r = request_take(ring, kind);
    int e = -EAGAIN;
    if (r != NULL) {
        r->va = va;
        r->page_count = page_count;
        r->attempts = (uint8_t)attempts;
        if (frames != NULL) {
            frames_set(r, frames, (uint32_t)page_count);
        }
        atomic_fetch_add(&ring->background_count, 1);
        atomic_fetch_add(&ring->write_count, kind == IO_WRITE ? 1 : 0);
        e = submit(ring->q, r);
        if (e < 0) {
            atomic_fetch_sub(&ring->background_count, 1);
            atomic_fetch_sub(&ring->write_count, kind == IO_WRITE ? 1 : 0);
            request_free(ring, r);
        } else {
            ring->in_flight++;
            atomic_store_explicit(&ring->unkicked, true, memory_order_relaxed);
        }
    }
    ring_leave(ring);
    return e == 0 || e == -EAGAIN ? e : -EIO;
}

int io_read_ahead(struct frame *const *frames, uint32_t page_count, uint64_t va)
{
    CHECK(page_count > 0 && page_count <= BLKQ_SEGMENTS_MAX);
    return start(IO_PREFETCH, va, page_count, frames, 0);
}

int io_write(struct frame *const *frames, uint32_t page_count, uint64_t va)
{
    CHECK(page_count > 0 && page_count <= BLKQ_SEGMENTS_MAX);
    return start(IO_WRITE, va, page_count, frames, 0);
}

int io_discard(uint64_t va, uint64_t page_count, uint32_t attempts)
{
    return start(IO_DISCARD, va, page_count, NULL, attempts);
}

uint32_t io_background_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < io.count; i++) {
        count += atomic_load(&io.rings[i].background_count);
    }
    return count;
}

HOT uint32_t io_write_count(void)
{
    return atomic_load(&this_cpu()->background->write_count);
}

HOT uint32_t io_background_room(void)
{
    const struct io_ring *ring = this_cpu()->background;
    return ring == NULL ? 0 : blkq_room(ring->q);
}

static void ring_kick(struct io_ring *ring)
{
    if (!atomic_load_explicit(&ring->unkicked, memory_order_relaxed)) {
        return;
    }
    ring_enter(ring);
    atomic_store_explicit(&ring->unkicked, false, memory_order_relaxed);
    blkq_kick(ring->q);
    ring_leave(ring);
}

HOT void io_kick(void)
{
    struct io_ring *ring = this_cpu()->background;
    if (ring != NULL) {
        ring_kick(ring);
    }
}

/*
 * Ring entered. Finds the request of a completion. NULL: none is outstanding under that token; it
 * was completed before, is counted and has no effect. That is safe because a driver gives a token
 * back once for each time that the device gives back its chain, and a device that gives back more
 * chains than it has (and so might write to frames that are not its any more) is reset before
 * (drivers/virtio_blk.c).
 */
static struct io_request *completed(struct io_ring *ring, const struct blkq_done *done)
{
    uint32_t index = (uint32_t)done->token;
    CHECK(index < IO_REQUESTS_MAX);
    struct io_request *r = &ring->requests[index];
    if (r->kind == IO_NONE || atomic_load_explicit(&r->done, memory_order_relaxed) ||
        r->generation != done->token >> 32) {
        stat_add(&stats_here()->far_repeats, 1);
        return NULL;
    }
    ring->in_flight--;
    r->status = done->status;
    if (done->status < 0) {
        stat_add(&stats_here()->far_errors, 1);
    }
    if (r->submitted_ns != 0) {
        stat_time(stats_here()->device_read_ns, clock_ns() - r->submitted_ns);
    }
    return r;
}

/* Outside of the ring: what follows a completion may start another request. */
static void act_on(struct io_ring *ring, const struct io_request *r)
{
    switch (r->kind) {
    case IO_PREFETCH:
        fetch_prefetched(r);
        break;
    case IO_WRITE:
        writeback_done(r);
        atomic_fetch_sub(&ring->write_count, 1);
        break;
    default:
        discard_done(r);
        break;
    }
    atomic_fetch_sub(&ring->background_count, 1);
}

/* An exclusive ring has demand reads only. */
static bool poll_exclusive(struct io_ring *ring)
{
    struct blkq_done done[POLL_MAX];
    uint32_t count = blkq_poll(ring->q, done, POLL_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct io_request *r = completed(ring, &done[i]);
        if (r != NULL) {
            atomic_store_explicit(&r->done, true, memory_order_release);
        }
    }
    return count > 0;
}

NOINLINE HOT static bool poll_shared(struct io_ring *ring)
{
    struct io_request copies[POLL_MAX];
    struct blkq_done done[POLL_MAX];
    uint32_t copy_count = 0;
    if (!spin_try(&ring->lock)) {
        return false; /* another processor does it */
    }
    uint32_t count = blkq_poll(ring->q, done, POLL_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct io_request *r = completed(ring, &done[i]);
        if (r == NULL) {
            continue;
        }
        if (r->kind == IO_DEMAND) {
            atomic_store_explicit(&r->done, true, memory_order_release);
        } else {
            copies[copy_count++] = *r;
            request_free(ring, r);
        }
    }
    spin_unlock(&ring->lock);
    for (uint32_t i = 0; i < copy_count; i++) {
        act_on(ring, &copies[i]);
    }
    return count > 0;
}

HOT static bool ring_poll(struct io_ring *ring)
{
    return ring->exclusive ? poll_exclusive(ring) : poll_shared(ring);
}

bool io_poll(void)
{
    struct pager_cpu *cpu = this_cpu();
    if (cpu->demand == NULL) {
        return false;
    }
    bool any = ring_poll(cpu->demand);
    for (uint32_t i = 0; i < io.count; i++) {
        struct io_ring *ring = &io.rings[i];
        if (ring != cpu->demand && !ring->exclusive &&
            (ring == cpu->background || atomic_load(&ring->background_count) > 0)) {
            any |= ring_poll(ring);
        }
    }
    return any;
}

HOT void io_poll_background(void)
{
    struct io_ring *ring = this_cpu()->background;
    if (ring != NULL && atomic_load_explicit(&ring->background_count, memory_order_relaxed) > 0) {
        (void)ring_poll(ring);
    }
}

/*
 * Until the device has something for the ring. Others leave a shared ring alone meanwhile: what
 * comes is acted on when the halt ends.
 */
NOINLINE static void ring_halt(struct io_ring *ring)
{
    if (!ring->exclusive && !spin_try(&ring->lock)) {
        cpu_relax();
        return;
    }
    if (ring->in_flight > 0) {
        blkq_wait(ring->q);
    }
    ring_leave(ring);
}

NOINLINE void io_wait_step(struct io_wait *w)
{
    io_kick();
    if (io_poll()) {
        return;
    }
    w->steps++;
    if (thread_yield() && w->steps % STEPS_BEFORE_HALT != 0) {
        return;
    }
    struct io_ring *ring = this_cpu()->background;
    if (w->steps % STEPS_BEFORE_HALT == 0 && ring != NULL &&
        atomic_load(&ring->background_count) > 0) {
        ring_halt(ring);
    } else {
        cpu_relax();
    }
}

/* Takes what this processor's own demand queue has, without a look at the others. */
static bool collected(struct io_ring *ring, struct io_request *r)
{
    if (!atomic_load_explicit(&r->done, memory_order_acquire)) {
        (void)ring_poll(ring);
    }
    return atomic_load_explicit(&r->done, memory_order_acquire);
}

HOT int io_collect(struct pager_cpu *cpu, struct io_request *r)
{
    struct io_ring *ring = cpu->demand;
    for (uint32_t steps = 1; !collected(ring, r); steps++) {
        if (steps <= STEPS_BEFORE_YIELD) {
            cpu_relax();
        } else if (!thread_yield() || steps % STEPS_BEFORE_HALT == 0) {
            ring_halt(ring);
        }
    }
    int status = r->status;
    ring_enter(ring);
    request_free(ring, r);
    ring_leave(ring);
    return status == 0 ? 0 : -EIO;
}
