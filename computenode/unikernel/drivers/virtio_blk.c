/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot for each descriptor of the ring, found by the head of the chain, holds what a request
 * needs: the header and status byte that the device sees, and the token that it doesn't. A broken
 * device (virtq.h) is reset, and everything in flight and to come ends with -EIO. So is one that
 * completes a request without a status: it may have meant the last request of the slot, and may
 * yet write to the frames of this one.
 */
#include "computenode/unikernel/drivers/virtio_blk.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/drivers/virtq.h"
#include "computenode/unikernel/kernel/dma.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

#define PIECES_MAX       (BLKQ_SEGMENTS_MAX + 2) /* header, data, status */
#define STATUS_UNWRITTEN 0xffu
/*
 * Then halt: the device's side may need this processor. Under emulation a halt is ended by a
 * message through the VMM's main loop, which takes longer than almost any answer; and the host's
 * scheduler then at times puts both onto one processor, where it leaves them as long as only one of
 * them runs at a time. So polling lasts long where it mostly ends with an answer.
 */
#define POLL_NS_MIN         UINT64_C(250000)
#define POLL_NS_MAX         UINT64_C(4000000)
#define POLLS_WITHOUT_CLOCK 64
#define ID_WAIT_NS_MAX      UINT64_C(10000000000)
#define DISCARD_SECTORS_MAX UINT64_C(0xffffffff)

/* Seen by the device. */
struct slot_shared {
    struct virtio_blk_header header;
    struct virtio_blk_range range;
    volatile uint8_t status;
    uint8_t unused[31];
};

#define SLOTS_PER_FRAME  (PAGE_BYTES / sizeof(struct slot_shared))
#define TABLE_BYTES      512u /* indirect descriptors of one slot */
#define TABLES_PER_FRAME (PAGE_BYTES / TABLE_BYTES)
_Static_assert(sizeof(struct slot_shared) == 64, "frames hold whole slots");
_Static_assert(PIECES_MAX * sizeof(struct virtq_desc) <= TABLE_BYTES, "a table holds a request");

struct slot {
    struct slot_shared *shared;
    struct virtq_desc *table; /* NULL without INDIRECT_DESC; [0] is always the header */
    phys_addr_t shared_pa;
    phys_addr_t table_pa;
    uint64_t token;
    bool in_flight;
};

struct blkq {
    struct virtq ring;
    uint64_t capacity_sectors;
    uint64_t discard_sectors_max; /* 0: no DISCARD */
    uint64_t poll_ns;             /* POLL_NS_MIN..POLL_NS_MAX: so long a wait polls */
    struct slot slots[VIRTQ_DRIVER_SIZE_MAX];
};

_Static_assert(sizeof(struct blkq) <= PAGE_BYTES, "a queue is kept in a frame");

static bool failed(const struct blkq *q)
{
    return q->ring.device->failed;
}

/* table_pa 0: none. */
static void slot_init(struct slot *slot, uint64_t shared_pa, uint64_t table_pa)
{
    slot->shared_pa = (phys_addr_t){shared_pa};
    slot->shared = phys_to_virt(slot->shared_pa);
    slot->table_pa = (phys_addr_t){table_pa};
    slot->table = NULL;
    if (table_pa == 0) {
        return;
    }
    slot->table = phys_to_virt(slot->table_pa);
    slot->table[0] = (struct virtq_desc){.addr = shared_pa + offsetof(struct slot_shared, header),
                                         .len = sizeof(struct virtio_blk_header),
                                         .flags = VIRTQ_DESC_F_NEXT,
                                         .next = 1};
}

static int slots_init(struct blkq *q)
{
    bool indirect = (q->ring.device->features & VIRTIO_F_INDIRECT_DESC) != 0;
    phys_addr_t shared = {0}, tables = {0};
    for (uint16_t i = 0; i < q->ring.size; i++) {
        if (i % SLOTS_PER_FRAME == 0 && dma_frame_alloc(&shared) != 0) {
            return -ENOMEM;
        }
        if (indirect && i % TABLES_PER_FRAME == 0 && dma_frame_alloc(&tables) != 0) {
            return -ENOMEM;
        }
        slot_init(&q->slots[i], shared.v + i % SLOTS_PER_FRAME * sizeof(struct slot_shared),
                  indirect ? tables.v + i % TABLES_PER_FRAME * TABLE_BYTES : 0);
    }
    return 0;
}

/* Of the direct map, because that is what slots are in. */
static phys_addr_t phys_of(const volatile void *p)
{
    return virt_to_phys((const void *)(uintptr_t)p);
}

HOT uint32_t blkq_room(const struct blkq *q)
{
    return q->slots[0].table != NULL ? q->ring.free_count : q->ring.free_count / PIECES_MAX;
}

/* The slot of the chain that is made next: that of its head. */
static struct slot *slot_take(struct blkq *q, uint32_t type, uint64_t sector, uint64_t token)
{
    struct slot *slot = &q->slots[q->ring.free_head];
    CHECK(!slot->in_flight);
    slot->shared->header =
        (struct virtio_blk_header){.type = type, .reserved = 0, .sector = sector};
    slot->shared->status = STATUS_UNWRITTEN;
    slot->token = token;
    slot->in_flight = true;
    return slot;
}

/*
 * The common case, on the path of a page fault: segments go straight to the slot's table, of which
 * the header's descriptor stands already.
 */
HOT static void submit_table(struct blkq *q, enum blkq_op op, uint64_t sector,
                             const struct blkq_segment *segments, uint32_t count, uint64_t token)
{
    uint32_t type = op == BLKQ_READ ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
    uint16_t flags = VIRTQ_DESC_F_NEXT | (op == BLKQ_READ ? VIRTQ_DESC_F_WRITE : 0);
    struct slot *slot = slot_take(q, type, sector, token);
    struct virtq_desc *desc = slot->table + 1;
    for (uint32_t i = 0; i < count; i++) {
        *desc++ = (struct virtq_desc){.addr = segments[i].pa.v,
                                      .len = segments[i].length,
                                      .flags = flags,
                                      .next = (uint16_t)(i + 2)};
    }
    *desc = (struct virtq_desc){.addr = slot->shared_pa.v + offsetof(struct slot_shared, status),
                                .len = 1,
                                .flags = VIRTQ_DESC_F_WRITE};
    (void)virtq_add_table(&q->ring, slot->table_pa, (uint16_t)(count + 2));
}

/* Queues header, `pieces[1..count-2]` and status. */
COLD static void submit(struct blkq *q, uint32_t type, uint64_t sector, struct virtq_piece *pieces,
                        uint16_t count, uint64_t token)
{
    struct slot *slot = slot_take(q, type, sector, token);
    pieces[0] = (struct virtq_piece){phys_of(&slot->shared->header),
                                     sizeof(struct virtio_blk_header), false};
    pieces[count - 1] = (struct virtq_piece){phys_of(&slot->shared->status), 1, true};
    struct virtq_indirect indirect = {slot->table, slot->table_pa};
    (void)virtq_add(&q->ring, pieces, count, slot->table != NULL ? &indirect : NULL);
}

static bool in_device(const struct blkq *q, uint64_t sector, uint64_t sector_count)
{
    return sector <= q->capacity_sectors && sector_count <= q->capacity_sectors - sector;
}

HOT int blkq_submit(struct blkq *q, enum blkq_op op, uint64_t sector,
                    const struct blkq_segment *segments, uint32_t segment_count, uint64_t token)
{
    static const uint32_t types[] = {[BLKQ_READ] = VIRTIO_BLK_T_IN,
                                     [BLKQ_WRITE] = VIRTIO_BLK_T_OUT,
                                     [BLKQ_FLUSH] = VIRTIO_BLK_T_FLUSH};
    struct virtq_piece pieces[PIECES_MAX];
    uint64_t bytes = 0;
    if (segment_count > BLKQ_SEGMENTS_MAX || (segment_count == 0) != (op == BLKQ_FLUSH)) {
        return -EINVAL;
    }
    if (blkq_room(q) == 0) {
        return -EAGAIN;
    }
    for (uint32_t i = 0; i < segment_count; i++) {
        bytes += segments[i].length;
    }
    if (bytes % BLKQ_SECTOR_BYTES != 0 || !in_device(q, sector, bytes / BLKQ_SECTOR_BYTES)) {
        return -EINVAL;
    }
    if (q->slots[0].table != NULL && op != BLKQ_FLUSH) {
        submit_table(q, op, sector, segments, segment_count, token);
        return 0;
    }
    for (uint32_t i = 0; i < segment_count; i++) {
        pieces[i + 1] = (struct virtq_piece){segments[i].pa, segments[i].length, op == BLKQ_READ};
    }
    submit(q, types[op], sector, pieces, (uint16_t)(segment_count + 2), token);
    return 0;
}

int blkq_discard(struct blkq *q, uint64_t sector, uint64_t sector_count, uint64_t token)
{
    struct virtq_piece pieces[3];
    if (!in_device(q, sector, sector_count) || sector_count == 0) {
        return -EINVAL;
    }
    if (q->discard_sectors_max == 0) {
        return -ENOTSUP;
    }
    if (sector_count > q->discard_sectors_max) {
        return -EMSGSIZE;
    }
    if (blkq_room(q) == 0) {
        return -EAGAIN;
    }
    struct slot_shared *shared = q->slots[q->ring.free_head].shared;
    shared->range = (struct virtio_blk_range){
        .sector = sector, .sector_count = (uint32_t)sector_count, .flags = 0};
    pieces[1] = (struct virtq_piece){phys_of(&shared->range), sizeof(shared->range), false};
    submit(q, VIRTIO_BLK_T_DISCARD, 0, pieces, 3, token);
    return 0;
}

uint64_t blkq_discard_max(const struct blkq *q)
{
    return q->discard_sectors_max;
}

HOT void blkq_kick(struct blkq *q)
{
    if (LIKELY(!failed(q))) {
        virtq_kick(&q->ring);
    }
}

COLD static int error_of(uint8_t status)
{
    switch (status) {
    case VIRTIO_BLK_S_UNSUPP:
        return -ENOTSUP;
    case VIRTIO_BLK_S_NOSPC:
        return -ENOSPC;
    default: /* VIRTIO_BLK_S_IOERR, a value that does not exist, or none written (then reset) */
        return -EIO;
    }
}

static int status_of(const struct slot *slot)
{
    uint8_t status = slot->shared->status;
    return status == VIRTIO_BLK_S_OK ? 0 : error_of(status);
}

/* The device is stopped before any frame goes back to its owner, who may use it for other data. */
COLD static void fail(struct blkq *q)
{
    virtio_mmio_fail(q->ring.device);
    klog(CTL_LEVEL_ERROR, "block device broke the rules of its ring: stopped");
}

/* Ends requests of a device that has failed. */
COLD static uint32_t poll_failed(struct blkq *q, struct blkq_done *ret, uint32_t max)
{
    uint32_t count = 0;
    for (uint16_t i = 0; i < q->ring.size && count < max; i++) {
        struct slot *slot = &q->slots[i];
        if (slot->in_flight) {
            slot->in_flight = false;
            virtq_forget(&q->ring, i);
            ret[count++] = (struct blkq_done){slot->token, -EIO};
        }
    }
    return count;
}

HOT uint32_t blkq_poll(struct blkq *q, struct blkq_done *ret, uint32_t max)
{
    uint32_t count = 0;
    uint16_t head;
    uint32_t written;
    while (count < max && !failed(q) && virtq_take(&q->ring, &head, &written)) {
        struct slot *slot = &q->slots[head];
        CHECK(slot->in_flight);
        if (slot->shared->status == STATUS_UNWRITTEN) {
            fail(q);
        }
        slot->in_flight = false;
        ret[count++] = (struct blkq_done){slot->token, status_of(slot)};
    }
    if (q->ring.broken && !failed(q)) {
        fail(q);
    }
    if (failed(q)) {
        count += poll_failed(q, ret + count, max - count);
    }
    return count;
}

uint64_t blkq_capacity(const struct blkq *q)
{
    return q->capacity_sectors;
}

static bool may_be_done(const struct blkq *q)
{
    return failed(q) || virtq_has_used(&q->ring);
}

HOT void blkq_wait(struct blkq *q)
{
    for (uint32_t i = 0; i < POLLS_WITHOUT_CLOCK; i++) {
        if (may_be_done(q)) {
            return;
        }
        cpu_relax();
    }
    uint64_t start_ns = clock_ns();
    bool halted = false;
    while (!may_be_done(q)) {
        if (clock_ns() - start_ns < q->poll_ns) {
            cpu_relax();
            continue;
        }
        halted = true;
        virtq_halt(&q->ring);
        if (!may_be_done(q) && virtio_mmio_needs_reset(q->ring.device)) {
            fail(q);
        }
    }
    q->poll_ns = halted ? MAX(q->poll_ns / 4, POLL_NS_MIN) : MIN(2 * q->poll_ns, POLL_NS_MAX);
}

static int queue_open(struct virtio_device *device, uint16_t index, struct blkq **ret)
{
    phys_addr_t frame;
    if (dma_frame_alloc(&frame) != 0) {
        return -ENOMEM;
    }
    struct blkq *q = phys_to_virt(frame);
    memset(q, 0, sizeof(*q));
    int r = virtq_init(&q->ring, device, index);
    if (r != 0) {
        return r;
    }
    q->poll_ns = POLL_NS_MIN;
    if (q->ring.size < PIECES_MAX) {
        return -ENOTSUP;
    }
    q->capacity_sectors =
        virtio_mmio_config64(device, offsetof(struct virtio_blk_config, capacity));
    if ((device->features & VIRTIO_BLK_F_DISCARD) != 0) {
        uint32_t max =
            virtio_mmio_config32(device, offsetof(struct virtio_blk_config, max_discard_sectors));
        q->discard_sectors_max = MIN((uint64_t)max, DISCARD_SECTORS_MAX);
    }
    r = slots_init(q);
    if (r == 0) {
        *ret = q;
    }
    return r;
}

/* virtio 1.1, 5.2.6: 20 bytes, NUL-terminated if shorter. */
static int ask_id(struct blkq *q, char *ret)
{
    phys_addr_t frame;
    if (dma_frame_alloc(&frame) != 0) {
        return -ENOMEM;
    }
    struct virtq_piece pieces[3] = {[1] = {frame, VIRTIO_BLK_ID_BYTES, true}};
    submit(q, VIRTIO_BLK_T_GET_ID, 0, pieces, 3, 0);
    blkq_kick(q);
    struct blkq_done done = {.status = -EIO};
    uint64_t start_ns = clock_ns();
    uint32_t count = 0;
    while ((count = blkq_poll(q, &done, 1)) == 0 && clock_ns() - start_ns < ID_WAIT_NS_MAX) {
        virtq_halt(&q->ring);
    }
    if (count == 1 && done.status == 0) {
        memcpy(ret, phys_to_virt(frame), VIRTIO_BLK_ID_BYTES);
        ret[VIRTIO_BLK_ID_BYTES] = '\0';
    }
    if (count == 1) {
        dma_frame_free(frame);
    }
    return count == 1 ? done.status : -EIO;
}

int blk_open(struct virtio_device *device, struct blk_device *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->device = device;
    int r = virtio_mmio_negotiate(device, VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC |
                                              VIRTIO_BLK_F_RO | VIRTIO_BLK_F_MQ |
                                              VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD);
    if (r != 0) {
        return r;
    }
    ret->read_only = (device->features & VIRTIO_BLK_F_RO) != 0;
    uint32_t offered = 1;
    if ((device->features & VIRTIO_BLK_F_MQ) != 0) {
        offered = virtio_mmio_config16(device, offsetof(struct virtio_blk_config, num_queues));
    }
    uint32_t count = MIN(MAX(offered, 1u), BLK_QUEUES_MAX);
    for (uint32_t i = 0; i < count && r == 0; i++) {
        r = queue_open(device, (uint16_t)i, &ret->queues[i]);
    }
    ret->queue_count = count;
    if (r == 0) {
        virtio_mmio_start(device);
        r = ask_id(ret->queues[0], ret->id);
    }
    if (r != 0) {
        virtio_mmio_fail(device);
    }
    return r;
}
