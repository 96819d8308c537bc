/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory of a hostile guest: a queue at its start, then whatever the input holds. Chains are
 * taken and parsed as requests; every segment must lie inside.
 */
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/blk_request.h"
#include "lib/base/check.h"
#include "lib/base/compiler.h"

#define MEMORY_BYTES 16384u
#define QUEUE_SIZE   8u
#define BASE         0x10000u
#define USED_OFFSET  256u
#define CHAINS_MAX   32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(const uint8_t *memory, const struct iovec *segments, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = segments[i].iov_base;
        CHECK(at >= memory);
        CHECK(segments[i].iov_len <= MEMORY_BYTES - (size_t)(at - memory));
    }
}

static void take_all(struct vring *ring, const struct guest_memory *guest, const uint8_t *memory)
{
    static struct vring_chain chain;
    static struct blk_request request;
    for (int i = 0; i < CHAINS_MAX && vring_take(ring, guest, &chain) > 0; i++) {
        CHECK(chain.out_count + chain.in_count <= VRING_CHAIN_SEGMENTS_MAX);
        check_inside(memory, chain.segments, chain.out_count + chain.in_count);
        int r = blk_request_parse(&chain, 1u << 20, &request);
        if (r == 0) {
            check_inside(memory, request.segments, request.segment_count);
            CHECK(request.range_count <= BLK_RANGES_MAX);
        }
        if (r >= 0) {
            *request.status = (uint8_t)r;
        }
        vring_give(ring, chain.head, 1);
        (void)vring_must_notify(ring);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *memory = aligned_alloc(PAGE_BYTES, MEMORY_BYTES);
    CHECK(memory != NULL);
    memset(memory, 0, MEMORY_BYTES);
    /* The first byte chooses features; the rest is guest memory from its start. */
    uint8_t features = size > 0 ? data[0] : 0;
    if (size > 1) {
        memcpy(memory, data + 1, MIN(size - 1, MEMORY_BYTES));
    }
    struct guest_memory guest = {
        .region_count = 1,
        .regions = {
            {.guest_address = BASE, .bytes = MEMORY_BYTES, .user_address = BASE, .host = memory}}};
    struct vring ring = {
        .size = QUEUE_SIZE, .event_idx = (features & 1) != 0, .indirect = (features & 2) != 0};
    const struct vhost_user_vring_address address = {
        .descriptors = BASE, .available = BASE + 128, .used = BASE + USED_OFFSET};
    CHECK(vring_attach(&ring, &guest, &address) == 0);
    take_all(&ring, &guest, memory);
    vring_notifications_off(&ring);
    (void)vring_notifications_on(&ring);
    free(memory);
    return 0;
}
