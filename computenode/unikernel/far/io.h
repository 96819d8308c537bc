/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the far device, by page. A request is found by its token; completions may come in
 * any order and on either queue.
 *
 * Context: fault context. Nothing here allocates; there is a fixed number of requests.
 */
#ifndef DILOS_UNIKERNEL_FAR_IO_H
#define DILOS_UNIKERNEL_FAR_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/kernel/blkq.h"

#define IO_REQUESTS_MAX 64

enum io_kind {
    IO_NONE,     /* the request is free */
    IO_DEMAND,   /* read a page that a fault waits for */
    IO_PREFETCH, /* read a page ahead of need */
    IO_WRITE,    /* write up to BLKQ_SEGMENTS_MAX neighbouring pages */
    IO_DISCARD,  /* free the far pages of a range */
};

struct io_request {
    enum io_kind kind;
    bool done; /* IO_DEMAND: completed, not yet collected */
    int status;
    uint32_t generation; /* part of the token: a completion that comes twice is noticed */
    uint32_t attempts;
    uint64_t va; /* of the first page */
    uint64_t page_count;
    uint64_t submitted_ns;
    struct frame *frames[BLKQ_SEGMENTS_MAX]; /* reads and writes */
};

void io_init(void);

/*
 * Starts reading the page of `va` into the frame. A demand read waits for room in the queue; a
 * prefetch gives -EAGAIN. Errors: -EAGAIN, -EIO the device has no such address.
 */
int io_read(enum io_kind kind, struct frame *frame, uint64_t va,
            struct io_request **ret) MUST_CHECK;
/* Waits for a demand read and frees the request. Errors: -EIO. */
int io_collect(struct io_request *request) MUST_CHECK;

/* Starts writing page_count frames to the pages from `va` on. Errors: -EAGAIN, -EIO. */
int io_write(struct frame *const *frames, uint32_t page_count, uint64_t va) MUST_CHECK;

/* Starts a discard. Errors: -EAGAIN, -EIO. */
int io_discard(uint64_t va, uint64_t page_count, uint32_t attempts) MUST_CHECK;

/* Is a discard of any of these pages in flight? */
bool io_discarding(uint64_t va, uint64_t page_count);

/* Requests in flight on the background queue, of all kinds and of one. */
uint32_t io_background_count(void);
uint32_t io_kind_count(enum io_kind kind);

/* Makes submitted background requests visible to the device. */
void io_kick(void);
/* Takes completions of both queues and acts on them. Never waits. */
void io_poll(void);
/* Waits until a background request may have completed, then io_poll(). CHECKs that one runs. */
void io_wait_background(void);

#endif
