/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link of the RDMA device goes down while pages move: they go on over TCP, none is lost, and
 * nothing that RDMA still carries can undo what TCP wrote. In the VM only (tests/rdma/vm.py).
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/steady.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

#define ADDRESS   "10.77.1.1:0" /* of the second device, on the link dummy1 */
#define ROUNDS_MS 30000u
#define NS_PER_MS 1000000ull

static uint8_t data[SLAB_BYTES];
static uint8_t back[SLAB_BYTES];

/* One request; it may take as long as a fall-back does. */
static int transfer(struct fabric_peer *peer, bool write, uint32_t slab, uint64_t offset,
                    uint8_t *at)
{
    struct fabric_done done;
    const struct iovec segment = {at, PAGE_BYTES};
    uint64_t deadline_ns = sys_monotonic_ns() + ROUNDS_MS * NS_PER_MS;
    int error = write ? fabric_write(peer, slab, offset, &segment, 1, 9)
                      : fabric_read(peer, slab, offset, &segment, 1, 9);
    while (error == 0 && fabric_poll(peer, &done, 1) == 0) {
        error = sys_monotonic_ns() > deadline_ns ? -ETIMEDOUT : 0;
        (void)usleep(100);
    }
    return error != 0 ? error : done.status;
}

static void write_all(struct fabric_peer *peer, uint32_t slab, uint64_t seed)
{
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)harness_random(&seed);
    }
    for (uint64_t at = 0; at < SLAB_BYTES && tap_case_ok; at += PAGE_BYTES) {
        EXPECT_EQ(transfer(peer, true, slab, at, data + at), 0);
    }
}

static void read_all(struct fabric_peer *peer, uint32_t slab)
{
    for (uint64_t at = 0; at < SLAB_BYTES && tap_case_ok; at += PAGE_BYTES) {
        EXPECT_EQ(transfer(peer, false, slab, at, back + at), 0);
    }
    EXPECT(memcmp(data, back, sizeof(data)) == 0);
}

static void test_link_goes_down(void)
{
    struct harness h;
    struct fabric_peer *peer = NULL;
    uint32_t slab;
    CHECK(setenv("DILOS_TEST_VERBS", ADDRESS, 1) == 0);
    harness_open(&h, "verbs");
    const struct fabric_steady_config config = {
        .endpoint = {.node = "test",
                     .host_id = "there",
                     .tcp_address = node_tcp_address(h.node),
                     .shm_path = h.socket,
                     .verbs_address = node_verbs_addresses(h.node)},
        .choice = {.local_host_id = "here"},
        .times = FABRIC_STEADY_TIMES};
    CHECK(fabric_steady_open(&config, &peer) == 0);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_STR(fabric_name(peer), "verbs");
    write_all(peer, slab, 1);
    read_all(peer, slab);
    EXPECT_EQ(system("ip link set dummy1 down"), 0);
    write_all(peer, slab, 2);
    read_all(peer, slab);
    EXPECT_STR(fabric_name(peer), "tcp");
    EXPECT(fabric_steady_breaks(peer) > 0);
    EXPECT_EQ(system("ip link set dummy1 up"), 0);
    read_all(peer, slab);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    fabric_close(peer);
    harness_close(&h);
}

int main(void)
{
    if (getenv("DILOS_VM") == NULL) {
        printf("1..0 # SKIP it takes a link down: only in the VM\n");
        return 0;
    }
    TAP_RUN(test_link_goes_down);
    return tap_done();
}
