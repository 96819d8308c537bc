/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block request on its way through far memory: how far it has come, and which part is next.
 */
#ifndef DILOS_AGENT_FAR_REQUEST_H
#define DILOS_AGENT_FAR_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/blk_request.h"
#include "computenode/agent/slab_map.h"
#include "lib/base/list.h"

struct far_request {
    struct blk_request blk;
    uint16_t queue; /* the caller's */
    uint16_t head;
    uint8_t status;   /* VIRTIO_BLK_S_*, when it is answered */
    uint32_t written; /* bytes that the device wrote, status byte not counted */

    uint64_t answer_ns; /* far_delay: not before */

    struct list link; /* in a list of those that wait */
    bool waits;       /* it is in one */
    uint32_t in_flight;
    uint64_t done_bytes; /* of the data, or of the current range */
    uint32_t range_index;
    uint32_t segment_index; /* where done_bytes lies in the segments */
    uint64_t segment_offset;
};

/* A part of far memory within one slab. */
struct far_span {
    uint64_t number; /* of the slab */
    uint64_t offset; /* in the slab */
    uint64_t bytes;
    struct slab *slab; /* NULL: nothing there */
};

/* Sets all but blk, queue and head. */
void far_request_start(struct far_request *request);

/* The rest of the data, or of the current range, within one slab. False: all of it is done. */
bool far_request_next(struct far_request *request, const struct slab_map *map,
                      struct far_span *ret);

/*
 * Up to bytes_max of the data from where the request is, in at most count_max segments; returns how
 * many bytes they cover.
 */
uint64_t far_request_slice(const struct far_request *request, uint64_t bytes_max, struct iovec *to,
                           uint32_t count_max, uint32_t *ret_count);

/* So many bytes are posted, or need nothing. */
void far_request_advance(struct far_request *request, uint64_t bytes);

#endif
