/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of the block device (virtio 1.1, 5.2.6), parsed from a chain of guest buffers. The
 * framing is the driver's choice (2.6.4): header and status may share buffers with anything.
 */
#ifndef DILOS_AGENT_BLK_REQUEST_H
#define DILOS_AGENT_BLK_REQUEST_H

#include <stdint.h>
#include <sys/uio.h>

#include "computenode/agent/vring.h"
#include "lib/base/compiler.h"
#include "lib/wire/virtio.h"

#define BLK_RANGES_MAX        16u
#define BLK_RANGE_SECTORS_MAX (1u << 22) /* 2 GiB */

struct blk_range {
    uint64_t offset; /* bytes */
    uint64_t bytes;
};

struct blk_request {
    uint32_t type;   /* VIRTIO_BLK_T_* */
    uint64_t offset; /* IN, OUT: bytes from the start of the device */
    uint64_t bytes;  /* IN, OUT: multiple of 512, not 0 */
    uint32_t segment_count;
    uint32_t range_count; /* DISCARD, WRITE_ZEROES */
    struct blk_range ranges[BLK_RANGES_MAX];
    struct iovec segments[VRING_CHAIN_SEGMENTS_MAX]; /* the data */
    uint8_t *status;                                 /* in guest memory */
};

/*
 * Parses `chain` for a device of capacity_sectors. Returns 0, or the status with which the request
 * must be answered at once (VIRTIO_BLK_S_IOERR, _UNSUPP; ret->status is set then too), or -EPROTO
 * if there is no place for a status: nothing can be answered.
 */
int blk_request_parse(const struct vring_chain *chain, uint64_t capacity_sectors,
                      struct blk_request *ret) MUST_CHECK;

#endif
