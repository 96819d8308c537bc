/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Driver side of a split virtqueue (virtio 1.1, 2.6). The device's writes are not trusted: a used
 * entry that names no chain in flight, or more entries than there are chains, makes the queue
 * broken; what the driver needs to know about a chain it keeps in memory of its own, not in the
 * descriptors.
 */
#ifndef DILOS_UNIKERNEL_DRIVERS_VIRTQ_H
#define DILOS_UNIKERNEL_DRIVERS_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/drivers/virtio_mmio.h"

#define VIRTQ_DRIVER_SIZE_MAX 64u /* rings fit one frame, and what is kept about them another */

struct virtq {
    struct virtio_device *device;
    uint16_t index;
    uint16_t size;
    volatile struct virtq_desc *desc;
    volatile struct virtq_avail *avail;
    volatile struct virtq_used *used;
    uint16_t avail_next;      /* index of the next entry to be made available */
    uint16_t avail_published; /* what the device has been shown */
    uint16_t used_next;       /* index of the next used entry to be looked at */
    uint16_t free_head;
    uint16_t free_count;                   /* descriptors */
    uint16_t chain_count;                  /* chains in flight */
    bool broken;                           /* the device broke the rules; see above */
    uint16_t next[VIRTQ_DRIVER_SIZE_MAX];  /* free list, and the chains in flight */
    uint8_t length[VIRTQ_DRIVER_SIZE_MAX]; /* descriptors of the chain; 0: no head in flight */
};

struct virtq_piece {
    phys_addr_t pa;
    uint32_t length;
    bool device_writes; /* pieces that the device writes come last */
};

/* Takes one frame for the rings. Errors: -ENODEV no such queue, -ENOMEM. */
int virtq_init(struct virtq *q, struct virtio_device *device, uint16_t index) MUST_CHECK;

/*
 * Makes a chain; the device sees it at the next virtq_kick(). Returns its head. piece_count is at
 * most free_count (CHECK). With `indirect` (virtual and physical address of a table with room for
 * the pieces) the chain takes one descriptor only.
 */
struct virtq_indirect {
    struct virtq_desc *table;
    phys_addr_t pa;
};
uint16_t virtq_add(struct virtq *q, const struct virtq_piece *pieces, uint16_t piece_count,
                   const struct virtq_indirect *indirect);

/* The same with a table that is filled in already: piece_count descriptors at `table`. */
uint16_t virtq_add_table(struct virtq *q, phys_addr_t table, uint16_t piece_count);

/* Publishes what was added, and notifies the device if it wants that. */
void virtq_kick(struct virtq *q);

/* Is there something for virtq_take()? One load. */
static inline bool virtq_has_used(const struct virtq *q)
{
    return q->used->idx != q->used_next;
}

/* One chain that the device has used, with the bytes that it says it wrote; false: none. */
bool virtq_take(struct virtq *q, uint16_t *ret_head, uint32_t *ret_written);

/* Frees a chain of a queue whose device was reset; `head` is one that virtq_add() returned. */
void virtq_forget(struct virtq *q, uint16_t head);

/* Asks for an interrupt at the next used entry. Then look with virtq_has_used() once more. */
void virtq_interrupt_on(struct virtq *q);
void virtq_interrupt_off(struct virtq *q);

/* Halts until the device has used something (looks once more itself), or after a tick. */
void virtq_halt(struct virtq *q);

#endif
