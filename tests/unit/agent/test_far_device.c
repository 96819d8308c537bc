/* SPDX-License-Identifier: Apache-2.0 */
/* The far device against a front end that plays VMM and driver, over a fabric in memory. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "computenode/agent/far_server.h"
#include "lib/base/check.h"
#include "lib/base/compiler.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"
#include "tests/unit/agent/rig.h"

#define FEATURES                                                                                   \
    (VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | VIRTIO_BLK_F_DISCARD |                          \
     VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_MQ | VIRTIO_BLK_F_SEG_MAX)
#define FAR    (64 * MIB)
#define SLAB   ((uint64_t)FAKE_SLAB_BYTES)
#define DATA   FRONT_DATA_OFFSET
#define DATA_2 (FRONT_DATA_OFFSET + (2u << 20))

static bool all_are(const uint8_t *data, size_t bytes, uint8_t value)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != value) {
            return false;
        }
    }
    return true;
}

static void test_config(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    EXPECT_EQ(rig.front.config.capacity, (UINT64_C(1) << 48) / 512);
    EXPECT_EQ(rig.front.config.num_queues, FRONT_QUEUES);
    EXPECT_EQ(rig.front.config.seg_max, 126);
    EXPECT_EQ(rig.front.features & FEATURES, FEATURES);
    memset(rig.front.memory + DATA, 0xff, 20);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_GET_ID, 0, DATA, 20), VIRTIO_BLK_S_OK);
    EXPECT_STR((const char *)rig.front.memory + DATA, "far");
    rig_close(&rig);
}

static void test_unwritten_reads_zeros(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    memset(rig.front.memory + DATA, 0xff, 3 * 4096);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 5 * SLAB - 4096, DATA, 3 * 4096), VIRTIO_BLK_S_OK);
    EXPECT(all_are(rig.front.memory + DATA, 3 * 4096, 0));
    /* A neighbour is written: still zeros around it, and still without I/O. */
    memset(rig.front.memory + DATA_2, 0x11, 4096);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 5 * SLAB + 4096, DATA_2, 4096), VIRTIO_BLK_S_OK);
    memset(rig.front.memory + DATA, 0xff, 3 * 4096);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 5 * SLAB, DATA, 4096), VIRTIO_BLK_S_OK);
    EXPECT(all_are(rig.front.memory + DATA, 4096, 0));
    EXPECT_EQ(__atomic_load_n(&fake_fabric.reads, __ATOMIC_SEQ_CST), 0);
    rig_close(&rig);
}

static void test_part_of_page(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    memset(rig.front.memory + DATA, 0x22, 512);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 1024, DATA, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 0, DATA_2, 4096), VIRTIO_BLK_S_OK);
    EXPECT(all_are(rig.front.memory + DATA_2, 1024, 0));
    EXPECT(all_are(rig.front.memory + DATA_2 + 1024, 512, 0x22));
    EXPECT(all_are(rig.front.memory + DATA_2 + 1536, 4096 - 1536, 0));
    /* Discarding a part of it zeroes that part only. */
    EXPECT_EQ(rig_discard(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 1024, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 0, DATA_2, 4096), VIRTIO_BLK_S_OK);
    EXPECT(all_are(rig.front.memory + DATA_2, 4096, 0));
    rig_close(&rig);
}

static void test_wrong_requests(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    EXPECT_EQ(rig_do(&rig, 99, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 0, DATA, 100), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, UINT64_C(1) << 48, DATA, 512), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, (UINT64_C(1) << 48) - 512, DATA, 1024),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_DISCARD, 0, DATA, 15), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, (UINT64_C(1) << 48) - 512, DATA, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig.broken, 0);
    rig_close(&rig);
}

static void test_discard_gives_slabs_back(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    memset(rig.front.memory + DATA, 0x33, 4096);
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, i * SLAB + 8192, DATA, 4096), VIRTIO_BLK_S_OK);
    }
    EXPECT(rig_granted(&rig) >= 8);
    EXPECT_EQ(rig_discard(&rig, VIRTIO_BLK_T_DISCARD, 0, 8 * SLAB), VIRTIO_BLK_S_OK);
    EXPECT(rig_wait_granted(&rig, SLAB_POOL_SPARES));
    EXPECT_EQ(__atomic_load_n(&fake_fabric.attached, __ATOMIC_SEQ_CST), SLAB_POOL_SPARES);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 8192, DATA_2, 4096), VIRTIO_BLK_S_OK);
    EXPECT(all_are(rig.front.memory + DATA_2, 4096, 0));
    rig_close(&rig);
}

static void test_controller_away(void)
{
    struct rig rig;
    struct front_done done;
    struct front_segment segment = {.offset = DATA, .bytes = 4096};
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    EXPECT(rig_wait_for(&rig, &rig.asks, 1));
    rig.away = true;
    /* Two spares are in hand; the third slab has to wait, reads go on. */
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT(front_submit(&rig.front, 0, VIRTIO_BLK_T_OUT, i * SLAB / 512, &segment, 1, false,
                            i) >= 0);
    }
    front_kick(&rig.front, 0);
    EXPECT(rig_wait(&rig, 0, &done));
    EXPECT(rig_wait(&rig, 0, &done));
    EXPECT(!front_wait(&rig.front, 0, 50, &done));
    EXPECT(front_submit(&rig.front, 1, VIRTIO_BLK_T_IN, 0, &segment, 1, false, 7) >= 0);
    front_kick(&rig.front, 1);
    EXPECT(rig_wait(&rig, 1, &done));
    EXPECT_EQ(done.token, 7);
    EXPECT(!front_wait(&rig.front, 0, 20, &done));
    rig.away = false;
    EXPECT(rig_wait(&rig, 0, &done));
    EXPECT_EQ(done.token, 2);
    EXPECT_EQ(done.status, VIRTIO_BLK_S_OK);
    rig_close(&rig);
}

static void test_no_space(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    EXPECT(rig_wait_for(&rig, &rig.asks, 1));
    rig.full = true;
    memset(rig.front.memory + DATA, 0x44, 4096);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 0, DATA, 4096), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, SLAB, DATA, 4096), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 2 * SLAB, DATA, 4096), VIRTIO_BLK_S_NOSPC);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 4096, DATA, 4096), VIRTIO_BLK_S_OK);
    /* A discarded slab is used again at once. */
    EXPECT_EQ(rig_discard(&rig, VIRTIO_BLK_T_DISCARD, 0, SLAB), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 2 * SLAB, DATA, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_IN, 2 * SLAB, DATA_2, 4096), VIRTIO_BLK_S_OK);
    EXPECT(all_are(rig.front.memory + DATA_2, 512, 0x44));
    EXPECT(all_are(rig.front.memory + DATA_2 + 512, 4096 - 512, 0));
    /* It fails at once also while nobody answers; and works again when there is space again. */
    rig.away = true;
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 3 * SLAB, DATA, 4096), VIRTIO_BLK_S_NOSPC);
    rig.away = false;
    rig.full = false;
    int status = VIRTIO_BLK_S_NOSPC;
    for (int tries = 0; tries < 200 && status == VIRTIO_BLK_S_NOSPC; tries++) {
        (void)usleep(10000);
        status = rig_do(&rig, VIRTIO_BLK_T_OUT, 3 * SLAB, DATA, 4096);
    }
    EXPECT_EQ(status, VIRTIO_BLK_S_OK);
    EXPECT_EQ(rig.lost, 0);
    rig_close(&rig);
}

static void test_node_dies(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    memset(rig.front.memory + DATA, 0x55, 4096);
    for (uint64_t i = 0; i < 4; i++) {
        EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, i * SLAB, DATA, 4096), VIRTIO_BLK_S_OK);
    }
    __atomic_store_n(&fake_fabric.dead[1], true, __ATOMIC_SEQ_CST);
    rig.nodes = 1;
    uint32_t failed = 0;
    for (uint64_t i = 0; i < 4; i++) {
        memset(rig.front.memory + DATA_2, 0xff, 4096);
        int status = rig_do(&rig, VIRTIO_BLK_T_IN, i * SLAB, DATA_2, 4096);
        failed += status == VIRTIO_BLK_S_IOERR ? 1 : 0;
        EXPECT(status == VIRTIO_BLK_S_IOERR || all_are(rig.front.memory + DATA_2, 4096, 0x55));
    }
    EXPECT(failed >= 1 && failed <= 3); /* the grants go round two nodes */
    EXPECT(rig_wait_for(&rig, &rig.lost, 1));
    EXPECT(strstr(rig.text, "memory node mn1 lost") != NULL);
    /* The other node still serves, and gives new slabs. */
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 9 * SLAB, DATA, 4096), VIRTIO_BLK_S_OK);
    rig_close(&rig);
}

static void test_unreachable_nodes(void)
{
    struct rig rig;
    fake_fabric_reset();
    __atomic_store_n(&fake_fabric.refuses[0], true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fake_fabric.refuses[1], true, __ATOMIC_SEQ_CST);
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 0, DATA, 4096), VIRTIO_BLK_S_IOERR);
    EXPECT(rig_wait_for(&rig, &rig.lost, 1));
    EXPECT_EQ(rig_granted(&rig), 0);
    rig_close(&rig);
}

static void expect_broken(const struct virtq_desc *chain, uint16_t count)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    front_submit_raw(&rig.front, 0, chain, count);
    front_kick(&rig.front, 0);
    EXPECT(rig_wait_for(&rig, &rig.broken, 1));
    EXPECT(strstr(rig.text, "queue 0") != NULL);
    rig_close(&rig);
}

static void test_hostile_chains(void)
{
    uint64_t base = FRONT_GUEST_BASE + DATA;
    struct virtq_desc loop[] = {{base, 16, VIRTQ_DESC_F_NEXT, 1}, {base, 16, VIRTQ_DESC_F_NEXT, 0}};
    expect_broken(loop, 2);
    struct virtq_desc outside[] = {{0, 16, 0, 0}};
    expect_broken(outside, 1);
    struct virtq_desc wraps[] = {{UINT64_MAX - 4, 16, 0, 0}};
    expect_broken(wraps, 1);
    struct virtq_desc beyond[] = {{FRONT_GUEST_BASE + FRONT_MEMORY_BYTES - 8, 16, 0, 0}};
    expect_broken(beyond, 1);
    struct virtq_desc next[] = {{base, 16, VIRTQ_DESC_F_NEXT, FRONT_QUEUE_SIZE}};
    expect_broken(next, 1);
    struct virtq_desc no_status[] = {{base, 16, 0, 0}};
    expect_broken(no_status, 1);
    struct virtq_desc backwards[] = {{base, 16, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 1},
                                     {base, 16, 0, 0}};
    expect_broken(backwards, 2);
    struct virtq_desc odd_table[] = {{base, 17, VIRTQ_DESC_F_INDIRECT, 0}};
    expect_broken(odd_table, 1);
    struct virtq_desc empty[] = {{base, 0, VIRTQ_DESC_F_WRITE, 0}};
    expect_broken(empty, 1);
}

static void test_hostile_index(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    __atomic_store_n(&rig.front.queues[1].available->idx, (uint16_t)(FRONT_QUEUE_SIZE + 1),
                     __ATOMIC_SEQ_CST);
    front_kick(&rig.front, 1);
    EXPECT(rig_wait_for(&rig, &rig.broken, 1));
    EXPECT(strstr(rig.text, "queue 1") != NULL);
    rig_close(&rig);
}

/* What is in far memory comes when its time has come, in its order; what isn't comes at once. */
static void test_delay(void)
{
    const uint64_t delay_ns = 20000000;
    struct rig rig;
    struct front_done done;
    fake_fabric_reset();
    EXPECT(rig_open_delayed(&rig, FAR, FEATURES, delay_ns));
    memset(rig.front.memory + DATA, 0x44, 4096);
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 0, DATA, 4096), VIRTIO_BLK_S_OK);
    uint64_t start_ns = sys_monotonic_ns();
    for (uint32_t i = 0; i < 8; i++) {
        struct front_segment segment = {.offset = DATA_2 + i * 4096, .bytes = 4096};
        EXPECT(front_submit(&rig.front, 0, VIRTIO_BLK_T_IN, 0, &segment, 1, true, i) >= 0);
    }
    front_kick(&rig.front, 0);
    for (uint32_t i = 0; i < 8; i++) {
        EXPECT(rig_wait(&rig, 0, &done));
        EXPECT_EQ(done.token, i);
        EXPECT_EQ(done.status, VIRTIO_BLK_S_OK);
        EXPECT(sys_monotonic_ns() - start_ns >= delay_ns);
        EXPECT(all_are(rig.front.memory + DATA_2 + i * 4096, 4096, 0x44));
    }
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_GET_ID, 0, DATA, 20), VIRTIO_BLK_S_OK);
    rig_close(&rig);
}

/* A queue that stops gets all its answers before, however long they would be held. */
static void test_delay_ends_with_the_queue(void)
{
    struct rig rig;
    struct front_done done;
    struct front_segment segment = {.offset = DATA, .bytes = 4096};
    fake_fabric_reset();
    EXPECT(rig_open_delayed(&rig, FAR, FEATURES, UINT64_C(3600000000000)));
    EXPECT(front_submit(&rig.front, 0, VIRTIO_BLK_T_IN, 0, &segment, 1, true, 7) >= 0);
    front_kick(&rig.front, 0);
    EXPECT(!front_wait(&rig.front, 0, 50, &done));
    EXPECT_EQ(front_stop(&rig.front, 0), 1);
    EXPECT(front_wait(&rig.front, 0, 0, &done));
    EXPECT_EQ(done.token, 7);
    EXPECT_EQ(done.status, VIRTIO_BLK_S_OK);
    rig_close(&rig);
}

static void test_stop_and_stats(void)
{
    struct rig rig;
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 65530));
    struct gueststats stats = {.magic = GUESTSTATS_MAGIC,
                               .version = GUESTSTATS_VERSION,
                               .bytes = sizeof(stats),
                               .faults_remote = 70,
                               .pages_local = 4,
                               .pages_remote = 1,
                               .block_count = 2};
    /* Processor 1 has its own block: it has freed two pages that 0 had counted, and one more. */
    struct gueststats second = {
        .faults_remote = 7, .pages_local = (uint64_t)-2, .pages_remote = (uint64_t)-2};
    memcpy(rig.front.memory + DATA_2, &stats, sizeof(stats));
    memcpy(rig.front.memory + DATA_2 + sizeof(stats), &second, sizeof(second));
    for (uint32_t i = 0; i < 10; i++) {
        EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, i * 4096, DATA, 4096), VIRTIO_BLK_S_OK);
    }
    EXPECT_EQ(far_device_live(rig.device, FRONT_GUEST_BASE + DATA_2), 0);
    for (int i = 0; i < 1000 && !rig.has_live; i++) {
        (void)usleep(1000);
        rig_pump(&rig);
    }
    EXPECT(rig.has_live);
    EXPECT_EQ(rig.live.counters.writes, 10);
    EXPECT_EQ(rig.live.counters.bytes_written, 10 * 4096);
    EXPECT_EQ(rig.live.slabs_mapped, 1);
    EXPECT(rig.live.has_stats);
    EXPECT_EQ(rig.live.stats.faults_remote, 77);
    EXPECT_EQ(rig.live.stats.pages_local, 2);
    EXPECT_EQ(rig.live.stats.pages_remote, 0);
    EXPECT_EQ(front_stop(&rig.front, 0), (uint16_t)(65530 + 10));
    /* The VMM dies. What the guest had counted until then is still there, and the device's own. */
    ((struct gueststats *)(rig.front.memory + DATA_2))->faults_remote = 71;
    (void)shutdown(rig.front.fd, SHUT_RDWR);
    EXPECT_EQ(far_device_stop(rig.device, FRONT_GUEST_BASE + DATA_2), 0);
    EXPECT(rig_wait_for(&rig, &rig.stopped, 1));
    EXPECT(rig.live.has_stats);
    EXPECT_EQ(rig.live.stats.faults_remote, 78);
    EXPECT_EQ(rig.live.counters.writes, 10);
    EXPECT_EQ(rig.live.slabs_mapped, 1);
    EXPECT(rig.live.peer_count > 0);
    rig_close(&rig);
}

static void *node_speaks_again(void *context)
{
    (void)context;
    (void)usleep(6 * FAR_ENDING_MS_MAX * 1000);
    __atomic_store_n(&fake_fabric.silent, false, __ATOMIC_SEQ_CST);
    return NULL;
}

/*
 * A memory node owes an answer when the VMM stops the queue. For a guest that goes on it is waited
 * for; for one that has ended it is not.
 */
static void stop_with_silent_node(bool ending)
{
    struct rig rig;
    pthread_t thread;
    const struct front_segment segment = {.offset = DATA, .bytes = 4096};
    fake_fabric_reset();
    EXPECT(rig_open(&rig, FAR, FEATURES, 0));
    EXPECT_EQ(rig_do(&rig, VIRTIO_BLK_T_OUT, 0, DATA, 4096), VIRTIO_BLK_S_OK);
    __atomic_store_n(&fake_fabric.silent, true, __ATOMIC_SEQ_CST);
    EXPECT(front_submit(&rig.front, 0, VIRTIO_BLK_T_IN, 0, &segment, 1, false, 1) >= 0);
    front_kick(&rig.front, 0);
    for (int i = 0; i < 10000 && __atomic_load_n(&fake_fabric.reads, __ATOMIC_SEQ_CST) == 0; i++) {
        (void)usleep(1000);
    }
    if (ending) {
        far_device_ending(rig.device);
    }
    CHECK(pthread_create(&thread, NULL, node_speaks_again, NULL) == 0);
    EXPECT_EQ(front_stop(&rig.front, 0), ending ? -1 : 2);
    if (ending) {
        EXPECT(rig_wait_for(&rig, &rig.broken, 1));
        EXPECT_EQ(far_device_stop(rig.device, 0), 0);
        EXPECT(rig_wait_for(&rig, &rig.stopped, 1));
        EXPECT(__atomic_load_n(&fake_fabric.silent, __ATOMIC_SEQ_CST));
    }
    CHECK(pthread_join(thread, NULL) == 0);
    rig_close(&rig);
}

static void test_silent_node_is_waited_for(void)
{
    stop_with_silent_node(false);
}

static void test_silent_node_does_not_hold_up_an_end(void)
{
    stop_with_silent_node(true);
}

int main(void)
{
    TAP_RUN(test_config);
    TAP_RUN(test_unwritten_reads_zeros);
    TAP_RUN(test_part_of_page);
    TAP_RUN(test_wrong_requests);
    TAP_RUN(test_discard_gives_slabs_back);
    TAP_RUN(test_controller_away);
    TAP_RUN(test_no_space);
    TAP_RUN(test_node_dies);
    TAP_RUN(test_unreachable_nodes);
    TAP_RUN(test_hostile_chains);
    TAP_RUN(test_hostile_index);
    TAP_RUN(test_delay);
    TAP_RUN(test_delay_ends_with_the_queue);
    TAP_RUN(test_stop_and_stats);
    TAP_RUN(test_silent_node_is_waited_for);
    TAP_RUN(test_silent_node_does_not_hold_up_an_end);
    return tap_done();
}
