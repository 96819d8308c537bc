/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/blk_request.h"

#include <errno.h>
#include <string.h>

#include "lib/base/bytes.h"

/* Takes `bytes` from the front of the segments; false (and an unknown rest) if there are fewer. */
static bool segments_pull(struct iovec *segments, uint32_t *count, void *to, size_t bytes)
{
    uint32_t used = 0;
    size_t done = 0;
    while (done < bytes && used < *count) {
        size_t part = MIN(bytes - done, segments[used].iov_len);
        memcpy((uint8_t *)to + done, segments[used].iov_base, part);
        segments[used].iov_base = (uint8_t *)segments[used].iov_base + part;
        segments[used].iov_len -= part;
        done += part;
        used += segments[used].iov_len == 0 ? 1 : 0;
    }
    memmove(segments, segments + used, (*count - used) * sizeof(*segments));
    *count -= used;
    return done == bytes;
}

/* Cuts the status byte off the end of what the device writes. */
static uint8_t *status_cut(struct iovec *segments, uint32_t *count)
{
    struct iovec *last = &segments[*count - 1];
    last->iov_len--;
    uint8_t *status = (uint8_t *)last->iov_base + last->iov_len;
    *count -= last->iov_len == 0 ? 1 : 0;
    return status;
}

static uint64_t segments_bytes(const struct iovec *segments, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += segments[i].iov_len;
    }
    return bytes;
}

static bool span_fits(uint64_t sector, uint64_t sector_count, uint64_t capacity_sectors)
{
    return sector <= capacity_sectors && sector_count <= capacity_sectors - sector;
}

static int parse_data(struct blk_request *request, uint64_t sector, uint64_t capacity_sectors)
{
    request->bytes = segments_bytes(request->segments, request->segment_count);
    if (request->bytes == 0 || request->bytes % VIRTIO_BLK_SECTOR_BYTES != 0 ||
        !span_fits(sector, request->bytes / VIRTIO_BLK_SECTOR_BYTES, capacity_sectors)) {
        return VIRTIO_BLK_S_IOERR;
    }
    request->offset = sector * VIRTIO_BLK_SECTOR_BYTES;
    return 0;
}

/* 5.2.6.2: a discard must not set the unmap flag, and no other flag exists. */
static int parse_range(struct blk_request *request, const uint8_t *data, uint64_t capacity_sectors)
{
    uint64_t sector = le64_load(data);
    uint32_t sector_count = le32_load(data + 8);
    uint32_t flags = le32_load(data + 12);
    uint32_t allowed = request->type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_RANGE_F_UNMAP : 0;
    if ((flags & ~allowed) != 0) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (sector_count > BLK_RANGE_SECTORS_MAX ||
        !span_fits(sector, sector_count, capacity_sectors)) {
        return VIRTIO_BLK_S_IOERR;
    }
    request->ranges[request->range_count++] =
        (struct blk_range){.offset = sector * VIRTIO_BLK_SECTOR_BYTES,
                           .bytes = (uint64_t)sector_count * VIRTIO_BLK_SECTOR_BYTES};
    return 0;
}

static int parse_ranges(struct blk_request *request, uint64_t capacity_sectors)
{
    uint64_t bytes = segments_bytes(request->segments, request->segment_count);
    uint64_t count = bytes / sizeof(struct virtio_blk_range);
    if (count == 0 || count > BLK_RANGES_MAX || bytes % sizeof(struct virtio_blk_range) != 0) {
        return VIRTIO_BLK_S_IOERR;
    }
    while (count-- > 0) {
        uint8_t data[sizeof(struct virtio_blk_range)];
        if (!segments_pull(request->segments, &request->segment_count, data, sizeof(data))) {
            return VIRTIO_BLK_S_IOERR;
        }
        int r = parse_range(request, data, capacity_sectors);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static void take_segments(struct blk_request *request, const struct iovec *from, uint32_t count)
{
    memcpy(request->segments, from, count * sizeof(*from));
    request->segment_count = count;
}

int blk_request_parse(const struct vring_chain *chain, uint64_t capacity_sectors,
                      struct blk_request *ret)
{
    struct iovec out[VRING_CHAIN_SEGMENTS_MAX];
    struct iovec in[VRING_CHAIN_SEGMENTS_MAX];
    uint32_t out_count = chain->out_count;
    uint32_t in_count = chain->in_count;
    if (in_count == 0) {
        return -EPROTO;
    }
    memcpy(out, chain->segments, out_count * sizeof(*out));
    memcpy(in, chain->segments + out_count, in_count * sizeof(*in));
    ret->status = status_cut(in, &in_count);
    ret->range_count = 0;
    ret->segment_count = 0;
    ret->offset = 0;
    ret->bytes = 0;
    uint8_t header[sizeof(struct virtio_blk_header)];
    if (!segments_pull(out, &out_count, header, sizeof(header))) {
        return VIRTIO_BLK_S_IOERR;
    }
    ret->type = le32_load(header);
    uint64_t sector = le64_load(header + 8);
    switch (ret->type) {
    case VIRTIO_BLK_T_IN:
        take_segments(ret, in, in_count);
        return out_count != 0 ? (int)VIRTIO_BLK_S_IOERR : parse_data(ret, sector, capacity_sectors);
    case VIRTIO_BLK_T_OUT:
        take_segments(ret, out, out_count);
        return in_count != 0 ? (int)VIRTIO_BLK_S_IOERR : parse_data(ret, sector, capacity_sectors);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        take_segments(ret, out, out_count);
        return parse_ranges(ret, capacity_sectors);
    case VIRTIO_BLK_T_FLUSH:
        return 0;
    case VIRTIO_BLK_T_GET_ID:
        take_segments(ret, in, in_count);
        return segments_bytes(in, in_count) == VIRTIO_BLK_ID_BYTES ? 0 : (int)VIRTIO_BLK_S_IOERR;
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}
