/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random requests on the far device against a model of what every sector must hold: many in flight
 * on both queues, scattered and indirect, over a fabric that delays, reorders and is busy, with a
 * controller that is away or without space now and then. Requests in flight never overlap: that is
 * the guest's duty.
 */
#include <stdlib.h>

#include "lib/base/compiler.h"
#include "tests/tap.h"
#include "tests/unit/agent/rig.h"

#define FEATURES     (VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
#define SLAB         ((uint64_t)FAKE_SLAB_BYTES)
#define SECTOR       ((uint64_t)VIRTIO_BLK_SECTOR_BYTES)
#define AREA_BYTES   (256u * 1024) /* of each slab, at its end and at the next one's start */
#define AREAS        6u
#define SLOTS        24u
#define SLOT_BYTES   (64u * 1024)
#define SEGMENTS     6u
#define SLOTS_OFFSET (2u << 20)
#define ROUNDS       6000u

/* Far slabs under test; each area straddles the border to the next slab. */
static const uint64_t area_slabs[AREAS] = {0, 1, 77, 1 << 14, 1 << 20, (1 << 28) - 2};

struct slot {
    bool busy;
    uint32_t queue;
    uint32_t type;
    uint32_t area;
    uint32_t offset; /* in the area */
    uint32_t bytes;
};

static struct rig rig;
static uint8_t model[AREAS][AREA_BYTES];
static struct slot slots[SLOTS];
static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % below;
}

static uint64_t area_start(uint32_t area)
{
    return (area_slabs[area] + 1) * SLAB - AREA_BYTES / 2;
}

static bool overlaps(uint32_t area, uint32_t offset, uint32_t bytes)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &slots[i];
        if (slot->busy && slot->area == area && offset < slot->offset + slot->bytes &&
            slot->offset < offset + bytes) {
            return true;
        }
    }
    return false;
}

static uint8_t *slot_memory(uint32_t index)
{
    return rig.front.memory + SLOTS_OFFSET + index * SLOT_BYTES;
}

/* Data in up to SEGMENTS pieces that need not be whole sectors. */
static uint32_t cut(uint32_t index, uint32_t bytes, struct front_segment *segments)
{
    uint32_t count = 0;
    uint32_t at = 0;
    while (at < bytes) {
        uint32_t part = bytes - at;
        if (count + 1 < SEGMENTS && draw(2) == 0) {
            part = 1 + draw(part);
        }
        segments[count++] =
            (struct front_segment){.offset = SLOTS_OFFSET + index * SLOT_BYTES + at, .bytes = part};
        at += part;
    }
    return count;
}

static uint32_t draw_type(void)
{
    uint32_t dice = draw(20);
    return dice < 8    ? VIRTIO_BLK_T_IN
           : dice < 17 ? VIRTIO_BLK_T_OUT
           : dice < 19 ? VIRTIO_BLK_T_DISCARD
                       : VIRTIO_BLK_T_WRITE_ZEROES;
}

static void submit(uint32_t index)
{
    struct slot *slot = &slots[index];
    uint32_t type = draw_type();
    uint32_t area = draw(AREAS);
    bool whole = draw(2) == 0;
    uint32_t unit = whole ? 4096 : 512;
    uint32_t bytes = (1 + draw(SLOT_BYTES / 4096)) * unit;
    uint32_t offset = draw((AREA_BYTES - bytes) / unit) * unit;
    if (overlaps(area, offset, bytes)) {
        return;
    }
    uint64_t sector = (area_start(area) + offset) / SECTOR;
    struct front_segment segments[SEGMENTS];
    uint32_t count;
    if (type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT) {
        count = cut(index, bytes, segments);
        for (uint32_t i = 0; i < bytes; i++) {
            slot_memory(index)[i] = (uint8_t)draw(256);
        }
    } else {
        struct virtio_blk_range range = {.sector = sector,
                                         .sector_count = bytes / (uint32_t)SECTOR};
        memcpy(slot_memory(index), &range, sizeof(range));
        count = cut(index, sizeof(range), segments);
        sector = 0;
    }
    uint32_t queue = draw(FRONT_QUEUES);
    if (front_submit(&rig.front, queue, type, sector, segments, count, draw(2) == 0, index) < 0) {
        return;
    }
    *slot = (struct slot){
        .busy = true, .queue = queue, .type = type, .area = area, .offset = offset, .bytes = bytes};
    if (draw(3) == 0) {
        front_kick(&rig.front, queue);
    }
}

static void check(const struct front_done *done)
{
    struct slot *slot = &slots[done->token];
    uint8_t *expected = &model[slot->area][slot->offset];
    EXPECT(slot->busy);
    EXPECT_EQ(done->status, VIRTIO_BLK_S_OK);
    EXPECT_EQ(done->written, slot->type == VIRTIO_BLK_T_IN ? slot->bytes + 1 : 1);
    if (slot->type == VIRTIO_BLK_T_IN) {
        EXPECT(memcmp(slot_memory((uint32_t)done->token), expected, slot->bytes) == 0);
    } else if (slot->type == VIRTIO_BLK_T_OUT) {
        memcpy(expected, slot_memory((uint32_t)done->token), slot->bytes);
    } else {
        memset(expected, 0, slot->bytes);
    }
    slot->busy = false;
}

static bool wait_one(void)
{
    struct front_done done;
    for (uint32_t tries = 0; tries < 5000; tries++) {
        for (uint32_t queue = 0; queue < FRONT_QUEUES; queue++) {
            front_kick(&rig.front, queue);
            rig_pump(&rig);
            if (front_wait(&rig.front, queue, tries == 0 ? 0 : 1, &done)) {
                check(&done);
                return true;
            }
        }
    }
    return false;
}

static uint32_t busy_slots(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        count += slots[i].busy ? 1 : 0;
    }
    return count;
}

static void hammer(uint64_t features, uint32_t delay, uint32_t busy, uint32_t repeat)
{
    fake_fabric_reset();
    __atomic_store_n(&fake_fabric.repeat_permille, repeat, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fake_fabric.delay_polls_max, delay, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fake_fabric.busy_permille, busy, __ATOMIC_SEQ_CST);
    memset(model, 0, sizeof(model));
    memset(slots, 0, sizeof(slots));
    EXPECT(rig_open(&rig, 64 * MIB, features, 65500)); /* the indexes wrap soon */
    for (uint32_t round = 0; round < ROUNDS && tap_case_ok; round++) {
        rig.away = draw(50) == 0;
        uint32_t index = draw(SLOTS);
        if (!slots[index].busy) {
            submit(index);
        } else {
            rig.away = false;
            EXPECT(wait_one());
        }
    }
    rig.away = false;
    while (busy_slots() > 0 && tap_case_ok) {
        EXPECT(wait_one());
    }
    EXPECT_EQ(rig.lost + rig.broken, 0);
    EXPECT_EQ(__atomic_load_n(&fake_fabric.repeats, __ATOMIC_SEQ_CST) > 100, repeat > 0);
    for (uint32_t area = 0; area < AREAS && tap_case_ok; area++) {
        EXPECT_EQ(rig_discard(&rig, VIRTIO_BLK_T_DISCARD, area_slabs[area] * SLAB, 2 * SLAB),
                  VIRTIO_BLK_S_OK);
    }
    EXPECT(rig_wait_granted(&rig, SLAB_POOL_SPARES));
    EXPECT_EQ(__atomic_load_n(&fake_fabric.attached, __ATOMIC_SEQ_CST), SLAB_POOL_SPARES);
    rig_close(&rig);
}

static void test_prompt_fabric(void)
{
    hammer(FEATURES, 0, 0, 0);
}

static void test_slow_reordering_fabric(void)
{
    hammer(FEATURES, 40, 100, 0);
}

/* What has completed completes again, at any time later and with any status: without effect. */
static void test_repeating_fabric(void)
{
    hammer(FEATURES, 10, 50, 200);
}

static void test_without_event_idx(void)
{
    hammer(VIRTIO_F_INDIRECT_DESC, 10, 0, 0);
}

int main(void)
{
    seed = 20261123;
    TAP_RUN(test_prompt_fabric);
    TAP_RUN(test_slow_reordering_fabric);
    TAP_RUN(test_repeating_fabric);
    TAP_RUN(test_without_event_idx);
    return tap_done();
}
