/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/rootdev.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

#define DIRECT_BYTES_MAX (256 * KIB) /* one request into the direct map */

static struct blkq *queue;
static phys_addr_t bounce[BLKQ_SEGMENTS_MAX];
static bool busy; /* reads wait, and must not be nested */

int rootdev_init(struct blkq *q)
{
    for (uint32_t i = 0; i < BLKQ_SEGMENTS_MAX; i++) {
        int r = frame_alloc_kernel(&bounce[i]);
        if (r != 0) {
            return r;
        }
    }
    queue = q;
    return 0;
}

bool rootdev_present(void)
{
    return queue != NULL;
}

uint64_t rootdev_bytes(void)
{
    return queue != NULL ? blkq_capacity(queue) * BLKQ_SECTOR_BYTES : 0;
}

static int transfer(uint64_t sector, const struct blkq_segment *segments, uint32_t count)
{
    struct blkq_done done;
    int r = blkq_submit(queue, BLKQ_READ, sector, segments, count, 0);
    if (r != 0) {
        return -EIO;
    }
    blkq_kick(queue);
    while (blkq_poll(queue, &done, 1) == 0) {
        if (!thread_yield()) {
            blkq_wait(queue);
        }
    }
    return done.status == 0 ? 0 : -EIO;
}

static bool in_direct_map(const void *p, size_t bytes)
{
    uint64_t va = (uint64_t)(uintptr_t)p;
    return va >= DIRECT_MAP_BASE && va + bytes <= DIRECT_MAP_END;
}

/* Straight into the caller's memory. Returns how many bytes, 0 if that can't be. */
static int64_t read_direct(uint64_t offset, void *to, size_t bytes)
{
    size_t part = MIN(ALIGN_DOWN(bytes, BLKQ_SECTOR_BYTES), DIRECT_BYTES_MAX);
    if (part == 0 || offset % BLKQ_SECTOR_BYTES != 0 || !in_direct_map(to, part)) {
        return 0;
    }
    struct blkq_segment segment = {virt_to_phys(to), (uint32_t)part};
    int r = transfer(offset / BLKQ_SECTOR_BYTES, &segment, 1);
    return r != 0 ? r : (int64_t)part;
}

static void copy_out(uint8_t *to, uint64_t skip, size_t bytes)
{
    while (bytes != 0) {
        size_t within = skip % PAGE_BYTES;
        size_t part = MIN(bytes, (size_t)PAGE_BYTES - within);
        const uint8_t *page = phys_to_virt(bounce[skip / PAGE_BYTES]);
        memcpy(to, page + within, part);
        to += part;
        skip += part;
        bytes -= part;
    }
}

static int64_t read_bounce(uint64_t offset, void *to, size_t bytes)
{
    struct blkq_segment segments[BLKQ_SEGMENTS_MAX];
    uint64_t start = ALIGN_DOWN(offset, BLKQ_SECTOR_BYTES);
    uint64_t end = ALIGN_UP(offset + bytes, BLKQ_SECTOR_BYTES);
    end = MIN(end, start + BLKQ_SEGMENTS_MAX * PAGE_BYTES);
    uint32_t count = 0;
    for (uint64_t at = start; at < end; at += PAGE_BYTES) {
        segments[count] = (struct blkq_segment){bounce[count], (uint32_t)MIN(end - at, PAGE_BYTES)};
        count++;
    }
    int r = transfer(start / BLKQ_SECTOR_BYTES, segments, count);
    if (r != 0) {
        return r;
    }
    size_t part = MIN(bytes, (size_t)(end - offset));
    copy_out(to, offset - start, part);
    return (int64_t)part;
}

int rootdev_read(uint64_t offset, void *to, size_t bytes)
{
    uint8_t *at = to;
    if (queue == NULL || offset > rootdev_bytes() || bytes > rootdev_bytes() - offset) {
        return -EIO;
    }
    CHECK(!busy);
    busy = true;
    int64_t r = 0;
    while (bytes != 0 && r >= 0) {
        r = read_direct(offset, at, bytes);
        if (r == 0) {
            r = read_bounce(offset, at, bytes);
        }
        if (r > 0) {
            offset += (uint64_t)r;
            at += r;
            bytes -= (size_t)r;
        }
    }
    busy = false;
    return r < 0 ? (int)r : 0;
}
