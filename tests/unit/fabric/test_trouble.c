/* SPDX-License-Identifier: Apache-2.0 */
/* What only one fabric does, the choice between them, and the provider that makes trouble. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/fabric_test.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

static int connect_to(const struct harness *h, const char *host_id, const char *only,
                      const char *shm_path, char *reason)
{
    struct fabric_peer *peer = NULL;
    const struct fabric_endpoint endpoint = {
        .host_id = "here", .tcp_address = node_tcp_address(h->node), .shm_path = shm_path};
    const struct fabric_choice choice = {.local_host_id = host_id, .only = only};
    int error = fabric_connect(&endpoint, &choice, WAIT_MS, &peer, reason);
    if (error == 0) {
        error = strcmp(fabric_name(peer), "shm") == 0 ? 1 : 2;
        fabric_close(peer);
    }
    return error;
}

static void test_choice(void)
{
    struct harness h;
    char reason[128];
    harness_open(&h, "tcp");
    EXPECT_EQ(connect_to(&h, "here", NULL, h.socket, reason), 1);
    EXPECT_STR(reason, "");
    EXPECT_EQ(connect_to(&h, "there", NULL, h.socket, reason), 2);
    EXPECT(strstr(reason, "shm: the memory node is on another host") != NULL);
    EXPECT_EQ(connect_to(&h, "here", NULL, "/nonexistent/socket", reason), 2);
    EXPECT(strstr(reason, "shm: No such file") != NULL);
    EXPECT_EQ(connect_to(&h, "here", "tcp", h.socket, reason), 2);
    EXPECT_EQ(connect_to(&h, "there", "shm", h.socket, reason), -EHOSTUNREACH);
    EXPECT_EQ(connect_to(&h, "here", "verbs", h.socket, reason), -EHOSTUNREACH);
    EXPECT_EQ(connect_to(&h, "here", "pigeon", h.socket, reason), -EHOSTUNREACH);
    EXPECT(strstr(reason, "pigeon") != NULL);
    harness_close(&h);
}

/*
 * An shm client that was stopped: it keeps its mapping and doesn't answer. Its slab gets new
 * memory, and what it writes later does not reach the next tenant.
 */
static void test_silent_client(void)
{
    struct harness h;
    uint32_t slab;
    uint32_t next_slab;
    uint8_t byte = 0x11;
    harness_open(&h, "shm");
    struct fabric_peer *zombie = harness_connect(&h);
    struct fabric_peer *next = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(zombie, &grant, &slab), 0);
    EXPECT_EQ(harness_transfer(zombie, true, slab, 7, &byte, 1), 0);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    EXPECT_EQ(export_counter(&node_counters(h.node)->closed_silent), 1);
    struct fabric_grant fresh = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(next, &fresh, &next_slab), 0);
    const struct iovec segment = {&byte, 1};
    EXPECT_EQ(fabric_write(zombie, slab, 8, &segment, 1, 1), 0);
    EXPECT_EQ(harness_transfer(next, false, next_slab, 7, &byte, 1), 0);
    EXPECT_EQ(byte, 0);
    byte = 0x22;
    EXPECT_EQ(harness_transfer(next, false, next_slab, 8, &byte, 1), 0);
    EXPECT_EQ(byte, 0);
    fabric_close(zombie);
    fabric_close(next);
    harness_close(&h);
}

struct worker {
    struct fabric_peer *peer;
    uint32_t slab;
    atomic_uint *acknowledged;
    unsigned late_successes;
    unsigned refusals;
};

/* Reads and writes as fast as it can until everything is refused. */
static void *hammer(void *argument)
{
    struct worker *w = argument;
    uint8_t data[4096] = {0};
    for (unsigned round = 0; w->refusals < 20 && round < 10000000; round++) {
        bool late = atomic_load(w->acknowledged) != 0;
        int status = harness_transfer(w->peer, round % 2 == 0, w->slab, 0, data, sizeof(data));
        w->late_successes += late && status == 0 ? 1 : 0;
        w->refusals += status == -EACCES || status == -ENOTCONN ? 1 : 0;
    }
    return NULL;
}

static void revoke_under_load(const char *fabric)
{
    struct harness h;
    pthread_t thread;
    atomic_uint acknowledged = 0;
    struct worker w = {.acknowledged = &acknowledged};
    harness_open(&h, fabric);
    w.peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(w.peer, &grant, &w.slab), 0);
    CHECK(pthread_create(&thread, NULL, hammer, &w) == 0);
    (void)usleep(20000);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    atomic_store(&acknowledged, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    EXPECT_EQ(w.late_successes, 0);
    EXPECT_EQ(w.refusals, 20);
    EXPECT(fabric_alive(w.peer));
    EXPECT_EQ(export_counter(&node_counters(h.node)->closed_silent), 0);
    fabric_close(w.peer);
    harness_close(&h);
}

static void test_revoke_under_load_shm(void)
{
    revoke_under_load("shm");
}

static void test_revoke_under_load_tcp(void)
{
    revoke_under_load("tcp");
}

static int wrap(void *context, struct fabric_peer *peer, struct fabric_peer **ret)
{
    return fabric_trouble_wrap(peer, context, ret);
}

#define REQUESTS 2000u

/* Each post completes once, whatever happens to it, and some of each kind happen. */
static void trouble(const char *fabric, uint64_t die_after_requests)
{
    static uint8_t pages[16][4096];
    static uint8_t seen[REQUESTS];
    struct harness h;
    struct fabric_done done;
    unsigned counts[3] = {0}; /* good, failed, dead */
    unsigned overtaken = 0;
    uint64_t last = 0;
    uint32_t slab;
    uint32_t posted = 0;
    uint32_t completed = 0;
    struct fabric_trouble plan = {.seed = 5,
                                  .fail_permille = 100,
                                  .busy_permille = 100,
                                  .delay_permille = 300,
                                  .delay_polls_max = 5,
                                  .die_after_requests = die_after_requests};
    harness_open(&h, fabric);
    fabric_set_test_wrap(wrap, &plan);
    struct fabric_peer *peer = harness_connect(&h);
    fabric_set_test_wrap(NULL, NULL);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    memset(seen, 0, sizeof(seen));
    while ((posted < REQUESTS && fabric_alive(peer)) || completed < posted) {
        const struct iovec segment = {pages[posted % 16], 4096};
        if (posted < REQUESTS && posted - completed < 16 &&
            fabric_read(peer, slab, 0, &segment, 1, posted) == 0) {
            posted++;
        }
        if (fabric_poll(peer, &done, 1) == 1) {
            completed++;
            seen[done.token % REQUESTS]++;
            overtaken += done.token < last ? 1 : 0;
            last = done.token;
            counts[done.status == 0 ? 0 : done.status == -EIO ? 1 : 2]++;
        }
    }
    for (uint32_t i = 0; i < posted; i++) {
        EXPECT_EQ(seen[i], 1);
    }
    EXPECT(counts[0] > 0);
    EXPECT(counts[1] > 0);
    EXPECT(overtaken > 0);
    EXPECT_EQ(fabric_alive(peer), die_after_requests == 0);
    EXPECT_EQ(posted == REQUESTS, die_after_requests == 0);
    fabric_close(peer);
    harness_close(&h);
}

static void test_trouble(void)
{
    trouble("tcp", 0);
    trouble("shm", 0);
}

static void test_trouble_that_kills(void)
{
    trouble("tcp", 500);
    trouble("shm", 500);
}

int main(void)
{
    TAP_RUN(test_choice);
    TAP_RUN(test_silent_client);
    TAP_RUN(test_revoke_under_load_shm);
    TAP_RUN(test_revoke_under_load_tcp);
    TAP_RUN(test_trouble);
    TAP_RUN(test_trouble_that_kills);
    return tap_done();
}
