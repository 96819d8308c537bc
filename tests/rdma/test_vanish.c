/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA devices that go, come back, or are of no use, while pages move: they go on over what works,
 * none is lost, and nothing that one fabric still carries can undo what another wrote. In the VM
 * only (tests/rdma/vm.py).
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/steady.h"
#include "lib/sys/sys.h"
#include "memnode/report.h"
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

static void open_at(struct harness *h, const char *fabric, const char *addresses)
{
    CHECK(setenv("DILOS_TEST_VERBS", addresses, 1) == 0);
    harness_open(h, fabric);
}

/* As an agent on another host. */
static struct fabric_peer *open_steady(const struct harness *h,
                                       int (*prepare)(void *, struct fabric_peer *))
{
    struct fabric_peer *peer = NULL;
    const struct fabric_steady_config config = {
        .endpoint = {.node = "test",
                     .host_id = "there",
                     .tcp_address = node_tcp_address(h->node),
                     .shm_path = h->socket,
                     .verbs_address = node_verbs_addresses(h->node)},
        .choice = {.local_host_id = "here"},
        .times = FABRIC_STEADY_TIMES,
        .prepare = prepare};
    CHECK(fabric_steady_open(&config, &peer) == 0);
    return peer;
}

static void link_set(const char *link, const char *to)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "ip link set %s %s", link, to);
    CHECK(system(command) == 0);
}

/* Writes and reads on, with other bytes each time, until the fabric is in use. */
static bool goes_over(struct fabric_peer *peer, uint32_t slab, const char *fabric, uint64_t seed)
{
    uint64_t deadline_ns = sys_monotonic_ns() + 2 * ROUNDS_MS * NS_PER_MS;
    do {
        write_all(peer, slab, seed);
        read_all(peer, slab);
        seed += 100;
    } while (strcmp(fabric_name(peer), fabric) != 0 && sys_monotonic_ns() < deadline_ns &&
             tap_case_ok);
    return strcmp(fabric_name(peer), fabric) == 0;
}

/* Down: over TCP. Up: over RDMA again. Each time with what was written last. */
static void test_link_goes_down_and_up(void)
{
    struct harness h;
    uint32_t slab;
    open_at(&h, "verbs", ADDRESS);
    struct fabric_peer *peer = open_steady(&h, NULL);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_STR(fabric_name(peer), "verbs");
    write_all(peer, slab, 1);
    read_all(peer, slab);
    for (uint64_t round = 0; round < 2 && tap_case_ok; round++) {
        link_set("dummy1", "down");
        EXPECT(goes_over(peer, slab, "tcp", 2 + round));
        EXPECT(strstr(fabric_steady_reason(peer), "verbs: ") != NULL);
        EXPECT(fabric_steady_breaks(peer) > round);
        link_set("dummy1", "up");
        read_all(peer, slab);
        EXPECT(goes_over(peer, slab, "verbs", 20 + round));
        EXPECT_STR(fabric_steady_reason(peer), "");
    }
    read_all(peer, slab);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    fabric_close(peer);
    harness_close(&h);
}

/* Queue pairs of a device, as the kernel counts them. */
static int queues_of(const char *device)
{
    char command[128];
    char text[16] = "";
    (void)snprintf(command, sizeof(command),
                   "rdma resource show | sed -n 's/.*%s:.* qp \\([0-9]*\\) .*/\\1/p'", device);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    (void)!fgets(text, sizeof(text), pipe);
    (void)pclose(pipe);
    return atoi(text);
}

/* Only the device that is configured is used, by either side. */
static void test_configured_device(void)
{
    const char *const addresses[] = {"10.77.0.1:0", ADDRESS};
    for (unsigned i = 0; i < 2; i++) {
        struct harness h;
        uint32_t slab;
        int before[2] = {queues_of("rxe0"), queues_of("rxe1")};
        open_at(&h, "verbs", addresses[i]);
        struct fabric_peer *peer = open_steady(&h, NULL);
        struct fabric_grant grant = harness_grant(&h, 0, false);
        EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
        EXPECT_STR(fabric_name(peer), "verbs");
        int more[2] = {queues_of("rxe0") - before[0], queues_of("rxe1") - before[1]};
        EXPECT_EQ(more[i], 2);
        EXPECT_EQ(more[1 - i], 0);
        fabric_close(peer);
        harness_close(&h);
    }
}

/* Two devices, found by themselves: whichever one loses, the other carries on. */
static void test_other_device_carries_on(void)
{
    struct harness h;
    uint32_t slab;
    CHECK(unsetenv("DILOS_TEST_VERBS") == 0);
    harness_open(&h, "verbs");
    EXPECT(strchr(node_verbs_addresses(h.node), ',') != NULL);
    struct fabric_peer *peer = open_steady(&h, NULL);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    write_all(peer, slab, 1);
    for (unsigned i = 0; i < 2 && tap_case_ok; i++) {
        const char *link = i == 0 ? "dummy1" : "dummy0";
        link_set(link, "down");
        write_all(peer, slab, 2 + i);
        read_all(peer, slab);
        EXPECT_STR(fabric_name(peer), "verbs");
        link_set(link, "up");
    }
    EXPECT(fabric_steady_breaks(peer) > 0);
    fabric_close(peer);
    harness_close(&h);
}

/* Whether the node's health has the code, with a remedy. */
static bool says(const struct harness *h, const char *code)
{
    static struct report report;
    bool found = false;
    report_fill(&report, h->node);
    for (uint32_t i = 0; i < report.health_count; i++) {
        found = found ||
                (strcmp(report.health[i].code, code) == 0 && report.health[i].remedy[0] != '\0');
    }
    return found;
}

static bool memory_is_refused = true;

static int no_memory_for_verbs(void *context, struct fabric_peer *connection)
{
    (void)context;
    return memory_is_refused && strcmp(fabric_name(connection), "verbs") == 0 ? -ENOMEM : 0;
}

/* Guest memory that may not be locked: over TCP, and the reason says what to raise. */
static void test_memory_not_registered(void)
{
    struct harness h;
    uint32_t slab;
    open_at(&h, "verbs", ADDRESS);
    struct fabric_peer *peer = open_steady(&h, no_memory_for_verbs);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_STR(fabric_name(peer), "tcp");
    EXPECT(strstr(fabric_steady_reason(peer), "locked-memory limit") != NULL);
    EXPECT_EQ(fabric_steady_fallback(peer), FABRIC_FALLBACK_RDMA);
    write_all(peer, slab, 1);
    read_all(peer, slab);
    /* The limit was raised: it is tried again. */
    memory_is_refused = false;
    EXPECT(goes_over(peer, slab, "verbs", 2));
    EXPECT_EQ(fabric_steady_fallback(peer), FABRIC_FALLBACK_NONE);
    memory_is_refused = true;
    fabric_close(peer);
    harness_close(&h);
}

/*
 * The node's device has one window left, the client wants two slabs: over TCP, both of them. With
 * one slab given up, the other goes over RDMA again.
 */
static void test_out_of_windows(void)
{
    struct harness h;
    uint32_t slabs[2];
    open_at(&h, "verbs-one", ADDRESS);
    struct fabric_peer *peer = open_steady(&h, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        struct fabric_grant grant = harness_grant(&h, i, false);
        EXPECT_EQ(harness_attach(peer, &grant, &slabs[i]), 0);
        EXPECT_STR(fabric_name(peer), i == 0 ? "verbs" : "tcp");
        write_all(peer, slabs[i], i);
    }
    read_all(peer, slabs[1]);
    EXPECT(strstr(fabric_steady_reason(peer), "no window") != NULL);
    EXPECT_EQ(export_counter(&node_counters(h.node)->exhausted), 1);
    EXPECT(says(&h, "VERBS_EXHAUSTED"));
    write_all(peer, slabs[0], 9);
    read_all(peer, slabs[0]);
    /* A try in vain harms nothing. */
    uint64_t deadline_ns = sys_monotonic_ns() + 2 * ROUNDS_MS * NS_PER_MS;
    while (export_counter(&node_counters(h.node)->exhausted) == 1 &&
           sys_monotonic_ns() < deadline_ns) {
        write_all(peer, slabs[1], 10);
        read_all(peer, slabs[1]);
    }
    read_all(peer, slabs[1]);
    EXPECT_EQ(export_counter(&node_counters(h.node)->exhausted), 2);
    EXPECT_STR(fabric_name(peer), "tcp");
    fabric_detach(peer, slabs[1]);
    EXPECT(goes_over(peer, slabs[0], "verbs", 10));
    EXPECT_STR(fabric_steady_reason(peer), "");
    fabric_close(peer);
    harness_close(&h);
}

/*
 * The device has lost its link and its address for good: the node goes on by the other. Deleting
 * the interface itself waits in Linux 6.1 until nobody has the Soft-RoCE device open.
 */
static void test_device_vanishes(void)
{
    struct harness h;
    uint32_t slab;
    CHECK(unsetenv("DILOS_TEST_VERBS") == 0);
    harness_open(&h, "verbs");
    struct fabric_peer *peer = open_steady(&h, NULL);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    write_all(peer, slab, 1);
    CHECK(system("ip address del 10.77.1.1/24 dev dummy1 && ip link set dummy1 down") == 0);
    read_all(peer, slab);
    write_all(peer, slab, 2);
    read_all(peer, slab);
    EXPECT_STR(fabric_name(peer), "verbs");
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
    TAP_RUN(test_configured_device);
    TAP_RUN(test_memory_not_registered);
    TAP_RUN(test_out_of_windows);
    TAP_RUN(test_other_device_carries_on);
    TAP_RUN(test_link_goes_down_and_up);
    TAP_RUN(test_device_vanishes);
    return tap_done();
}
