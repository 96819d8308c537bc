/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block driver as a Linux process, against a model of a device that lies in every way that a
 * used ring allows. The transport and the machine are played here. What must hold: a request ends
 * exactly once, with its own token; nothing the device writes ends one that is not in flight; after
 * a broken rule the device is stopped before any request comes back.
 */
#include "computenode/unikernel/drivers/virtio_blk.h"

#include <errno.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/drivers/virtq.h"
#include "computenode/unikernel/kernel/dma.h"
#include "lib/base/check.h"
#include "tests/tap.h"

#define ARENA_PAGES  512u
#define DISK_SECTORS 1024u
#define REQUESTS_MAX 256u
#define DISCARD_MAX  64u

enum lie {
    LIE_NONE,
    LIE_ID_OUT_OF_RANGE,  /* a used entry names a descriptor that does not exist */
    LIE_ID_NOT_IN_FLIGHT, /* or one that heads no chain in flight */
    LIE_TWICE,            /* the same chain used twice */
    LIE_INDEX_JUMPS,      /* the used index moves further than there are chains */
    LIE_NO_STATUS,        /* used, but no status byte written */
    LIE_STATUS_VALUE,     /* a status that does not exist */
    LIE_NOSPC,            /* no lie: no far memory left */
};

static uint8_t arena[ARENA_PAGES * PAGE_BYTES] __attribute__((aligned(4096)));
static uint32_t arena_next;
static uint8_t disk[DISK_SECTORS * 512u];

static struct {
    uint64_t offered;
    uint16_t queue_size, queue_count;
    struct virtq_desc *desc[BLK_QUEUES_MAX];
    struct virtq_avail *avail[BLK_QUEUES_MAX];
    struct virtq_used *used[BLK_QUEUES_MAX];
    uint16_t seen[BLK_QUEUES_MAX];
    enum lie lie;
    bool lazy;     /* answers when waited for, not at once */
    bool reversed; /* answers the newest first */
    uint32_t reset_count, notify_count;
    uint32_t answers_after; /* looks at the clock; 0: at a halt */
    uint32_t looks, halts;  /* of the driver: at the clock; halts */
} model;

static void serve(uint16_t queue);

static struct virtio_device device;
static struct blk_device blk;

/* ---- the machine ---- */

void *phys_to_virt(phys_addr_t pa)
{
    return arena + pa.v;
}

phys_addr_t virt_to_phys(const void *p)
{
    return (phys_addr_t){(uint64_t)((const uint8_t *)p - arena)};
}

int dma_frame_alloc(phys_addr_t *ret)
{
    if (arena_next == ARENA_PAGES) {
        return -ENOMEM;
    }
    *ret = (phys_addr_t){(uint64_t)arena_next * PAGE_BYTES};
    memset(phys_to_virt(*ret), 0, PAGE_BYTES);
    arena_next++;
    return 0;
}

void dma_frame_free(phys_addr_t pa)
{
}

void klog(int level, const char *format, ...)
{
}

void cpu_relax(void)
{
}

uint64_t clock_ns(void)
{
    static uint64_t now_ns;
    if (++model.looks == model.answers_after) {
        serve(0);
    }
    return now_ns += 1000;
}

/* ---- the device ---- */

static uint8_t serve_data(uint32_t type, uint64_t sector, const struct virtq_desc *data)
{
    uint8_t *bytes = phys_to_virt((phys_addr_t){data->addr});
    if (type == VIRTIO_BLK_T_GET_ID) {
        memcpy(bytes, "far", 4);
        return VIRTIO_BLK_S_OK;
    }
    if (type == VIRTIO_BLK_T_DISCARD) {
        struct virtio_blk_range range;
        memcpy(&range, bytes, sizeof(range));
        memset(disk + range.sector * 512, 0, (size_t)range.sector_count * 512);
        return VIRTIO_BLK_S_OK;
    }
    EXPECT(sector * 512 + data->len <= sizeof(disk));
    EXPECT_EQ((data->flags & VIRTQ_DESC_F_WRITE) != 0, type == VIRTIO_BLK_T_IN);
    if (type == VIRTIO_BLK_T_IN) {
        memcpy(bytes, disk + sector * 512, data->len);
    } else {
        memcpy(disk + sector * 512, bytes, data->len);
    }
    return VIRTIO_BLK_S_OK;
}

static void serve_chain(const struct virtq_desc *table, uint16_t at)
{
    struct virtio_blk_header header;
    memcpy(&header, phys_to_virt((phys_addr_t){table[at].addr}), sizeof(header));
    uint64_t sector = header.sector;
    uint8_t status = VIRTIO_BLK_S_OK;
    for (at = table[at].next; (table[at].flags & VIRTQ_DESC_F_NEXT) != 0; at = table[at].next) {
        status = serve_data(header.type, sector, &table[at]);
        sector += table[at].len / 512;
    }
    uint8_t *status_byte = phys_to_virt((phys_addr_t){table[at].addr});
    EXPECT_EQ(table[at].len, 1);
    status = model.lie == LIE_STATUS_VALUE ? 77 : model.lie == LIE_NOSPC ? 3 : status;
    if (model.lie != LIE_NO_STATUS) {
        *status_byte = status;
    }
}

static void use(uint16_t queue, uint32_t id)
{
    struct virtq_used *used = model.used[queue];
    used->ring[used->idx % model.queue_size] = (struct virtq_used_elem){id, 1};
    used->idx++;
}

static void serve_one(uint16_t queue, uint16_t head)
{
    const struct virtq_desc *desc = &model.desc[queue][head];
    if ((desc->flags & VIRTQ_DESC_F_INDIRECT) != 0) {
        serve_chain(phys_to_virt((phys_addr_t){desc->addr}), 0);
    } else {
        serve_chain(model.desc[queue], head);
    }
    switch (model.lie) {
    case LIE_ID_OUT_OF_RANGE:
        use(queue, 0x10000u + head);
        break;
    case LIE_ID_NOT_IN_FLIGHT:
        use(queue, (uint32_t)(model.queue_size - 1));
        break;
    case LIE_TWICE:
        use(queue, head);
        use(queue, head);
        break;
    case LIE_INDEX_JUMPS:
        model.used[queue]->idx = (uint16_t)(model.used[queue]->idx + 1000);
        break;
    default:
        use(queue, head);
        break;
    }
}

static void serve(uint16_t queue)
{
    if (model.avail[queue] == NULL) {
        return;
    }
    uint16_t first = model.seen[queue];
    uint16_t count = (uint16_t)(model.avail[queue]->idx - first);
    for (uint16_t i = 0; i < count; i++) {
        uint16_t at = (uint16_t)(first + (model.reversed ? count - 1 - i : i));
        serve_one(queue, model.avail[queue]->ring[at % model.queue_size]);
    }
    model.seen[queue] = (uint16_t)(first + count);
}

void cpu_halt_prepare(void)
{
}

void cpu_halt_cancel(void)
{
}

void cpu_halt(void)
{
    model.halts++;
    for (uint16_t i = 0; i < model.queue_count; i++) {
        serve(i);
    }
}

/* ---- the transport ---- */

int virtio_mmio_negotiate(struct virtio_device *d, uint64_t wanted)
{
    d->features = model.offered & (wanted | VIRTIO_F_VERSION_1);
    return 0;
}

void virtio_mmio_start(struct virtio_device *d)
{
}

void virtio_mmio_fail(struct virtio_device *d)
{
    d->failed = true;
    model.reset_count++;
    memset(model.avail, 0, sizeof(model.avail));
}

bool virtio_mmio_needs_reset(const struct virtio_device *d)
{
    return false;
}

uint16_t virtio_mmio_queue_size_max(struct virtio_device *d, uint16_t index)
{
    return index < model.queue_count ? model.queue_size : 0;
}

void virtio_mmio_queue_set(struct virtio_device *d, uint16_t index, uint16_t size, phys_addr_t desc,
                           phys_addr_t avail, phys_addr_t used)
{
    EXPECT_EQ(size, model.queue_size);
    model.desc[index] = phys_to_virt(desc);
    model.avail[index] = phys_to_virt(avail);
    model.used[index] = phys_to_virt(used);
}

void virtio_mmio_notify(const struct virtio_device *d, uint16_t index)
{
    model.notify_count++;
    if (!model.lazy) {
        serve(index);
    }
}

uint16_t virtio_mmio_config16(const struct virtio_device *d, uint32_t offset)
{
    return model.queue_count;
}

uint32_t virtio_mmio_config32(const struct virtio_device *d, uint32_t offset)
{
    return DISCARD_MAX;
}

uint64_t virtio_mmio_config64(const struct virtio_device *d, uint32_t offset)
{
    return DISK_SECTORS;
}

/* ---- cases ---- */

static void open_with(uint64_t features, uint16_t queue_size)
{
    static uint32_t queues_used;
    CHECK(queues_used++ < 12); /* the driver has room for as many queues */
    memset(&model, 0, sizeof(model));
    memset(&device, 0, sizeof(device));
    memset(disk, 0, sizeof(disk));
    arena_next = 0;
    model.offered = features | VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_DISCARD;
    model.queue_size = queue_size;
    model.queue_count = 1;
    EXPECT_EQ(blk_open(&device, &blk), 0);
    EXPECT_STR(blk.id, "far");
}

static struct blkq_segment frame(uint32_t bytes)
{
    phys_addr_t pa = {0};
    EXPECT_EQ(dma_frame_alloc(&pa), 0);
    return (struct blkq_segment){pa, bytes};
}

/* Submits reads until there is no room, takes the answers; each token must come once. */
static void exactly_once(int status)
{
    struct blkq *q = blk.queues[0];
    struct blkq_segment segment = frame(4096);
    struct blkq_done done[7];
    uint32_t submitted = 0, ended = 0;
    uint8_t count[REQUESTS_MAX] = {0};
    while (submitted < REQUESTS_MAX && blkq_room(q) != 0) {
        EXPECT_EQ(blkq_submit(q, BLKQ_READ, submitted % 100, &segment, 1, submitted), 0);
        submitted++;
    }
    blkq_kick(q);
    for (uint32_t tries = 0; ended < submitted && tries < 10000; tries++) {
        blkq_wait(q);
        uint32_t n = blkq_poll(q, done, ARRAY_LEN(done));
        for (uint32_t i = 0; i < n; i++) {
            EXPECT(done[i].token < submitted);
            EXPECT_EQ(done[i].status, status);
            count[done[i].token % REQUESTS_MAX]++;
        }
        ended += n;
    }
    EXPECT(submitted >= 1);
    for (uint32_t i = 0; i < submitted; i++) {
        EXPECT_EQ(count[i], 1);
    }
    EXPECT_EQ(blkq_poll(q, done, ARRAY_LEN(done)), 0);
}

/* A read that the device answers after so many looks at the clock (0: at a halt). Returns how often
 * the driver looked. */
static uint32_t looks_of_read(uint32_t answers_after)
{
    struct blkq *q = blk.queues[0];
    struct blkq_segment segment = frame(4096);
    struct blkq_done done;
    model.looks = 0;
    model.answers_after = answers_after;
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &segment, 1, 1), 0);
    blkq_kick(q);
    blkq_wait(q);
    EXPECT_EQ(blkq_poll(q, &done, 1), 1);
    return model.looks;
}

/* The clock of this test goes on by 1 us at each look. */
static void test_polling_lasts_where_it_pays(void)
{
    open_with(0, 64);
    model.lazy = true;
    model.halts = 0;
    EXPECT(looks_of_read(0) < 300);
    EXPECT(looks_of_read(0) < 300);
    EXPECT_EQ(model.halts, 2);
    for (uint32_t i = 0; i < 8; i++) {
        EXPECT_EQ(looks_of_read(100), 100);
    }
    EXPECT_EQ(looks_of_read(3900), 3900);
    EXPECT_EQ(model.halts, 2);
    EXPECT(looks_of_read(0) > 3900);
    EXPECT(looks_of_read(0) < 1100);
    EXPECT(looks_of_read(0) < 300);
    EXPECT_EQ(model.halts, 5);
}

static void round_trip(uint64_t features, uint16_t queue_size)
{
    open_with(features, queue_size);
    struct blkq *q = blk.queues[0];
    struct blkq_done done;
    struct blkq_segment out[3] = {frame(4096), frame(512), frame(1024)};
    struct blkq_segment in = frame(4096);
    for (uint32_t i = 0; i < 3; i++) {
        memset(phys_to_virt(out[i].pa), (int)i + 1, out[i].length);
    }
    EXPECT_EQ(blkq_submit(q, BLKQ_WRITE, 8, out, 3, 5), 0);
    blkq_kick(q);
    blkq_wait(q);
    EXPECT_EQ(blkq_poll(q, &done, 1), 1);
    EXPECT_EQ(done.token, 5);
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 16, &in, 1, 6), 0);
    blkq_kick(q);
    blkq_wait(q);
    EXPECT_EQ(blkq_poll(q, &done, 1), 1);
    const uint8_t *read = phys_to_virt(in.pa);
    EXPECT_EQ(read[0], 2);
    EXPECT_EQ(read[511], 2);
    EXPECT_EQ(read[512], 3);
    EXPECT_EQ(read[1535], 3);
    EXPECT_EQ(read[1536], 0);
    EXPECT_EQ(blkq_discard(q, 17, 1, 7), 0);
    blkq_kick(q);
    blkq_wait(q);
    EXPECT_EQ(blkq_poll(q, &done, 1), 1);
    EXPECT_EQ(disk[16 * 512], 2);
    EXPECT_EQ(disk[17 * 512], 0);
    EXPECT_EQ(disk[18 * 512], 3);
    for (int i = 0; i < 300; i++) {
        model.lazy = i % 2 == 0;
        model.reversed = i % 3 == 0;
        exactly_once(0);
    }
    EXPECT(!device.failed);
}

static void test_chains(void)
{
    round_trip(0, 64);
}

static void test_indirect_and_event_index(void)
{
    round_trip(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, 64);
}

static void test_limits(void)
{
    open_with(VIRTIO_F_INDIRECT_DESC, 32);
    struct blkq *q = blk.queues[0];
    struct blkq_segment segment = frame(4096), odd = frame(100);
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, DISK_SECTORS - 7, &segment, 1, 0), -EINVAL);
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, UINT64_MAX, &segment, 1, 0), -EINVAL);
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &odd, 1, 0), -EINVAL);
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &segment, 0, 0), -EINVAL);
    EXPECT_EQ(blkq_discard(q, 0, DISCARD_MAX + 1, 0), -EMSGSIZE);
    EXPECT_EQ(blkq_discard(q, DISK_SECTORS, 1, 0), -EINVAL);
    model.lazy = true;
    for (uint32_t i = 0; i < 32; i++) {
        EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &segment, 1, i), 0);
    }
    EXPECT_EQ(blkq_room(q), 0);
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &segment, 1, 0), -EAGAIN);
}

/* After the lie all requests, those to come too, end with -EIO, and the device was reset once. */
static void broken_by(enum lie lie)
{
    open_with(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, 32);
    exactly_once(0);
    model.lie = lie;
    struct blkq *q = blk.queues[0];
    struct blkq_segment segment = frame(4096);
    struct blkq_done done[4];
    model.lazy = true;
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &segment, 1, 100 + i), 0);
    }
    blkq_kick(q);
    uint32_t ended = 0;
    uint32_t tokens = 0;
    for (uint32_t tries = 0; ended < 3 && tries < 10; tries++) {
        blkq_wait(q);
        uint32_t n = blkq_poll(q, done, ARRAY_LEN(done));
        for (uint32_t i = 0; i < n; i++) {
            EXPECT(done[i].token >= 100 && done[i].token < 103);
            tokens |= 1u << (done[i].token % 100 % 32);
        }
        ended += n;
    }
    EXPECT_EQ(ended, 3);
    EXPECT_EQ(tokens, 7);
    EXPECT(device.failed);
    EXPECT_EQ(model.reset_count, 1);
    exactly_once(-EIO);
    EXPECT_EQ(model.reset_count, 1);
}

static void test_used_id_out_of_range(void)
{
    broken_by(LIE_ID_OUT_OF_RANGE);
}

static void test_used_id_not_in_flight(void)
{
    broken_by(LIE_ID_NOT_IN_FLIGHT);
}

static void test_used_twice(void)
{
    broken_by(LIE_TWICE);
}

static void test_used_index_jumps(void)
{
    broken_by(LIE_INDEX_JUMPS);
}

/* Its frames may not go back to their owner while the device may yet write to them. */
static void test_used_without_a_status(void)
{
    broken_by(LIE_NO_STATUS);
}

/* The device repeats a completion when its chain is in flight again, for another request. */
static void test_repeat_for_the_next_request(void)
{
    open_with(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, 32);
    struct blkq *q = blk.queues[0];
    struct blkq_segment first = frame(4096), second = frame(4096);
    struct blkq_done done;
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 0, &first, 1, 1), 0);
    blkq_kick(q);
    blkq_wait(q);
    EXPECT_EQ(blkq_poll(q, &done, 1), 1);
    EXPECT_EQ(done.status, 0);
    uint16_t head = model.avail[0]->ring[(model.avail[0]->idx - 1) % model.queue_size];
    model.lazy = true;
    EXPECT_EQ(blkq_submit(q, BLKQ_READ, 8, &second, 1, 2), 0);
    blkq_kick(q);
    EXPECT_EQ(model.avail[0]->ring[(model.avail[0]->idx - 1) % model.queue_size], head);
    use(0, head);
    EXPECT_EQ(blkq_poll(q, &done, 1), 1);
    EXPECT_EQ(done.token, 2);
    EXPECT_EQ(done.status, -EIO);
    EXPECT(device.failed);
    EXPECT_EQ(model.reset_count, 1);
    EXPECT_EQ(blkq_poll(q, &done, 1), 0);
}

static void test_statuses(void)
{
    static const struct {
        enum lie lie;
        int status;
    } rows[] = {{LIE_STATUS_VALUE, -EIO}, {LIE_NOSPC, -ENOSPC}, {LIE_NONE, 0}};
    open_with(VIRTIO_F_INDIRECT_DESC, 32);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        model.lie = rows[i].lie;
        exactly_once(rows[i].status);
    }
    EXPECT(!device.failed);
}

int main(void)
{
    TAP_RUN(test_chains);
    TAP_RUN(test_indirect_and_event_index);
    TAP_RUN(test_limits);
    TAP_RUN(test_used_id_out_of_range);
    TAP_RUN(test_used_id_not_in_flight);
    TAP_RUN(test_used_twice);
    TAP_RUN(test_used_index_jumps);
    TAP_RUN(test_used_without_a_status);
    TAP_RUN(test_repeat_for_the_next_request);
    TAP_RUN(test_statuses);
    TAP_RUN(test_polling_lasts_where_it_pays);
    return tap_done();
}
