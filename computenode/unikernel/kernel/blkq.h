/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One queue of a block device, polled. drivers/virtio_blk.c implements it over virtio-mmio
 * (virtio 1.1, 5.2); host/ implements it over a model for the tests of far/.
 *
 * A queue belongs to one owner at a time and is not re-entrant. Requests carry a token; nothing
 * may be assumed about the order of completions. Submitting never waits and never allocates.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_BLKQ_H
#define DILOS_UNIKERNEL_KERNEL_BLKQ_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/port.h"

#define BLKQ_SECTOR_BYTES 512u
#define BLKQ_SEGMENTS_MAX 16u /* per request */

struct blkq;

enum blkq_op {
    BLKQ_READ,
    BLKQ_WRITE,
    BLKQ_FLUSH, /* no segments */
};

struct blkq_segment {
    phys_addr_t pa;  /* frames stay pinned until the request completes */
    uint32_t length; /* bytes, multiple of BLKQ_SECTOR_BYTES */
};

struct blkq_done {
    uint64_t token;
    int status; /* 0, -EIO (device error), -ENOSPC (no far memory left), -ENOTSUP */
};

/* How many more requests can be submitted now. */
uint32_t blkq_room(const struct blkq *q);

/*
 * Queues one request; the device may see it at once or at the next blkq_kick().
 * segment_count 1..BLKQ_SEGMENTS_MAX for reads and writes.
 * Errors: -EAGAIN no room (poll first), -EINVAL beyond the end of the device.
 */
int blkq_submit(struct blkq *q, enum blkq_op op, uint64_t sector,
                const struct blkq_segment *segments, uint32_t segment_count,
                uint64_t token) MUST_CHECK;

/*
 * Tells the device that `sector_count` sectors hold nothing: they read as zeros afterwards.
 * Errors: -EAGAIN, -EINVAL, -ENOTSUP no DISCARD, -EMSGSIZE above blkq_discard_max().
 */
int blkq_discard(struct blkq *q, uint64_t sector, uint64_t sector_count, uint64_t token) MUST_CHECK;

/* Sectors that one blkq_discard() may cover; 0: the device has no DISCARD. */
uint64_t blkq_discard_max(const struct blkq *q);

/* Makes everything submitted visible to the device, with one notification if it asks for one. */
void blkq_kick(struct blkq *q);

/* Takes up to `max` completions; returns how many. Never waits. */
uint32_t blkq_poll(struct blkq *q, struct blkq_done *ret, uint32_t max);

/* Size of the device in sectors. */
uint64_t blkq_capacity(const struct blkq *q);

/*
 * Waits until a completion may be there: polls for a bounded time, then halts until the device's
 * interrupt. Returns at once if one is there. Not with interrupts that must stay off.
 */
void blkq_wait(struct blkq *q);

#endif
