/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the far device, by page. A request is found by its token; completions may come in
 * any order and on any queue.
 *
 * A ring is one queue of the device with its requests. A processor's demand ring is its own: it
 * alone submits and polls, without a lock. Rings for the background, and rings that are shared
 * because the device has too few queues, have a spinning lock, so that any processor can take
 * completions from them: a processor that computes in ring 3 holds up nobody who waits for a page.
 *
 * Context: fault context. Nothing here allocates; there is a fixed number of requests.
 */
#ifndef DILOS_UNIKERNEL_FAR_IO_H
#define DILOS_UNIKERNEL_FAR_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/kernel/blkq.h"

#define IO_REQUESTS_MAX 32 /* of a ring; they fit one frame */

enum io_kind {
    IO_NONE,     /* the request is free */
    IO_DEMAND,   /* read a page that a fault waits for */
    IO_PREFETCH, /* read up to BLKQ_SEGMENTS_MAX neighbouring pages ahead of need */
    IO_WRITE,    /* write up to BLKQ_SEGMENTS_MAX neighbouring pages */
    IO_DISCARD,  /* free the far pages of a range */
};

struct io_request {
    uint8_t kind; /* enum io_kind */
    uint8_t attempts;
    uint16_t index;      /* in its ring */
    uint32_t generation; /* part of the token: a completion that comes twice is ignored */
    _Atomic bool done;   /* IO_DEMAND: completed, not yet collected */
    int status;
    uint64_t va; /* of the first page */
    uint64_t page_count;
    uint64_t submitted_ns;              /* 0: not timed */
    uint32_t frames[BLKQ_SEGMENTS_MAX]; /* indexes in the frame table; reads and writes */
};

static inline struct frame *io_frame(const struct io_request *r, uint32_t i)
{
    return frame_at(r->frames[i]);
}

/* Forgets all rings. */
void io_init(void);
/*
 * The queues of processor `cpu`; background NULL: the same as demand. The same queue may be given
 * to several processors. Errors: -ENOMEM.
 */
int io_add(uint32_t cpu, struct blkq *demand, struct blkq *background) MUST_CHECK;

/*
 * Starts reading the page of `va` into the frame, for a fault that will io_collect(); on this
 * processor, `cpu`. Waits for room in the queue. Errors: -EIO the device has no such address.
 */
int io_read(struct pager_cpu *cpu, struct frame *frame, uint64_t va, bool timed,
            struct io_request **ret) MUST_CHECK;
/* Waits for a demand read and frees the request. Errors: -EIO. */
int io_collect(struct pager_cpu *cpu, struct io_request *request) MUST_CHECK;

/* Starts reading, or writing, neighbouring pages from `va` on. Errors: -EAGAIN, -EIO. */
int io_read_ahead(struct frame *const *frames, uint32_t page_count, uint64_t va) MUST_CHECK;
int io_write(struct frame *const *frames, uint32_t page_count, uint64_t va) MUST_CHECK;

/* Starts a discard. Errors: -EAGAIN, -EIO. */
int io_discard(uint64_t va, uint64_t page_count, uint32_t attempts) MUST_CHECK;

/* Requests in flight for the background, of all processors; and writes of this one. */
uint32_t io_background_count(void);
uint32_t io_write_count(void);
/* Requests that this processor can submit for the background now. */
uint32_t io_background_room(void);

/* Makes submitted background requests visible to the device. */
void io_kick(void);
/*
 * Takes completions, of this processor's queues and of what others have in flight for the
 * background, and acts on them. Never waits. true: there was one.
 */
bool io_poll(void);

/* The same for this processor's background queue only. */
void io_poll_background(void);

/* How long one waits already. Zero-initialised. */
struct io_wait {
    uint32_t steps;
};

/*
 * One step of waiting for something that is in flight, or for another processor: kicks, polls,
 * lets other threads of this processor run; when that brings nothing, halts for a bounded time.
 */
void io_wait_step(struct io_wait *w);

#endif
