/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/far_request.h"

void far_request_start(struct far_request *request)
{
    request->status = VIRTIO_BLK_S_OK;
    request->written = 0;
    request->waits = false;
    request->in_flight = 0;
    request->done_bytes = 0;
    request->range_index = 0;
    request->segment_index = 0;
    request->segment_offset = 0;
    list_init(&request->link);
}

static bool moves_data(const struct far_request *request)
{
    return request->blk.type == VIRTIO_BLK_T_IN || request->blk.type == VIRTIO_BLK_T_OUT;
}

bool far_request_next(struct far_request *request, const struct slab_map *map, struct far_span *ret)
{
    uint64_t start = request->blk.offset;
    uint64_t bytes = request->blk.bytes;
    if (!moves_data(request)) {
        while (request->range_index < request->blk.range_count &&
               request->done_bytes == request->blk.ranges[request->range_index].bytes) {
            request->range_index++;
            request->done_bytes = 0;
        }
        if (request->range_index >= request->blk.range_count) {
            return false;
        }
        start = request->blk.ranges[request->range_index].offset;
        bytes = request->blk.ranges[request->range_index].bytes;
    }
    if (request->done_bytes == bytes) {
        return false;
    }
    uint64_t at = start + request->done_bytes;
    uint64_t slab_bytes = UINT64_C(1) << slab_map_shift(map);
    ret->number = at >> slab_map_shift(map);
    ret->offset = at & (slab_bytes - 1);
    ret->bytes = MIN(bytes - request->done_bytes, slab_bytes - ret->offset);
    ret->slab = slab_map_get(map, ret->number);
    return true;
}

uint64_t far_request_slice(const struct far_request *request, uint64_t bytes_max, struct iovec *to,
                           uint32_t count_max, uint32_t *ret_count)
{
    uint64_t bytes = 0;
    uint64_t skip = request->segment_offset;
    uint32_t count = 0;
    for (uint32_t i = request->segment_index;
         i < request->blk.segment_count && count < count_max && bytes < bytes_max; i++) {
        const struct iovec *from = &request->blk.segments[i];
        uint64_t part = MIN(from->iov_len - skip, bytes_max - bytes);
        to[count++] = (struct iovec){.iov_base = (uint8_t *)from->iov_base + skip, .iov_len = part};
        bytes += part;
        skip = 0;
    }
    *ret_count = count;
    return bytes;
}

void far_request_advance(struct far_request *request, uint64_t bytes)
{
    request->done_bytes += bytes;
    while (moves_data(request) && bytes > 0) {
        uint64_t left =
            request->blk.segments[request->segment_index].iov_len - request->segment_offset;
        uint64_t part = MIN(left, bytes);
        request->segment_offset += part;
        bytes -= part;
        if (part == left) {
            request->segment_index++;
            request->segment_offset = 0;
        }
    }
}
