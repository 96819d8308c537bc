/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices (virtio 1.1, 5.2), told apart by the id that they answer to GET_ID. */
#ifndef DILOS_UNIKERNEL_DRIVERS_VIRTIO_BLK_H
#define DILOS_UNIKERNEL_DRIVERS_VIRTIO_BLK_H

#include "computenode/unikernel/drivers/virtio_mmio.h"
#include "computenode/unikernel/kernel/blkq.h"
#include "computenode/unikernel/kernel/port.h"

#define BLK_QUEUES_MAX (2u * CPU_COUNT_MAX) /* of each processor: demand, background */

struct blk_device {
    struct virtio_device *device;
    struct blkq *queues[BLK_QUEUES_MAX];
    uint32_t queue_count; /* 1 to BLK_QUEUES_MAX: what the device offers */
    bool read_only;
    char id[VIRTIO_BLK_ID_BYTES + 1];
};

/*
 * Starts the device and asks its id. `device` must outlive it. Errors: -ENOTSUP, -ENOMEM, -EIO it
 * does not answer. On an error the device is stopped.
 */
int blk_open(struct virtio_device *device, struct blk_device *ret) MUST_CHECK;

#endif
