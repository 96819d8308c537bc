/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that outlive their connections: cut, stalled, refused, and a node that forgot. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/fabric_test.h"
#include "lib/fabric/steady.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"
#include "tests/unit/fabric/proxy.h"

#define PAGE    4096u
#define PAGES   (SLAB_BYTES / PAGE)
#define FLIGHT  32u
#define NOTES   4096u
#define LONG_MS 20000u

static const struct fabric_steady_times patient = {
    .connect_ms = 2000, .stall_ms = LONG_MS, .refused_ms = LONG_MS, .patience_ms = LONG_MS};

static char notes[NOTES];
static uint32_t prepared;

static void on_note(void *context, const char *text)
{
    size_t used = strlen(notes);
    (void)snprintf(notes + used, sizeof(notes) - used, "%s\n", text);
}

static int on_prepare(void *context, struct fabric_peer *connection)
{
    prepared++;
    return 0;
}

/* tcp: an address, or NULL for shared memory. */
static struct fabric_peer *open_peer(const struct harness *h, const char *tcp,
                                     const struct fabric_steady_times *times)
{
    struct fabric_peer *peer;
    const struct fabric_steady_config config = {
        .endpoint = {.node = "mn1", .host_id = "here", .tcp_address = tcp, .shm_path = h->socket},
        .choice = {.local_host_id = "here", .only = tcp == NULL ? "shm" : "tcp"},
        .times = *times,
        .prepare = on_prepare,
        .note = on_note};
    notes[0] = '\0';
    prepared = 0;
    CHECK(fabric_steady_open(&config, &peer) == 0);
    return peer;
}

/* What a page must hold after its write number `version`. */
static void page_fill(uint8_t *page, uint32_t number, uint32_t version)
{
    for (uint32_t i = 0; i < PAGE; i += 8) {
        uint64_t value =
            version == 0 ? 0 : ((uint64_t)number << 40) ^ ((uint64_t)version << 12) ^ i;
        memcpy(page + i, &value, 8);
    }
}

/* A random load: at most one request a page, as a guest does it. Every read is checked. */
struct load {
    struct fabric_peer *peer;
    uint32_t slab;
    uint64_t seed;
    uint32_t versions[PAGES];
    struct flight {
        bool used, write;
        uint32_t page;
        uint8_t data[PAGE];
    } flights[FLIGHT];
    uint32_t in_flight;
    uint32_t done, wrong, failed;
};

static bool page_is_busy(const struct load *load, uint32_t page)
{
    for (uint32_t i = 0; i < FLIGHT; i++) {
        if (load->flights[i].used && load->flights[i].page == page) {
            return true;
        }
    }
    return false;
}

static void load_post(struct load *load)
{
    for (uint32_t i = 0; i < FLIGHT; i++) {
        struct flight *flight = &load->flights[i];
        uint32_t page = (uint32_t)(harness_random(&load->seed) % PAGES);
        if (flight->used || page_is_busy(load, page)) {
            continue;
        }
        flight->page = page;
        flight->write = harness_random(&load->seed) % 2 == 0;
        page_fill(flight->data, page, flight->write ? load->versions[page] + 1 : 999999);
        const struct iovec segment = {flight->data, PAGE};
        int error = flight->write
                        ? fabric_write(load->peer, load->slab, page * PAGE, &segment, 1, i)
                        : fabric_read(load->peer, load->slab, page * PAGE, &segment, 1, i);
        flight->used = error == 0;
        load->in_flight += error == 0 ? 1 : 0;
        load->versions[page] += error == 0 && flight->write ? 1 : 0;
    }
}

static void load_take(struct load *load)
{
    struct fabric_done done[FLIGHT];
    uint8_t expected[PAGE];
    uint32_t count = fabric_poll(load->peer, done, FLIGHT);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(done[i].token < FLIGHT);
        struct flight *flight = &load->flights[done[i].token];
        CHECK(flight->used);
        page_fill(expected, flight->page, load->versions[flight->page]);
        load->failed += done[i].status != 0 ? 1 : 0;
        load->wrong += done[i].status == 0 && memcmp(expected, flight->data, PAGE) != 0 ? 1 : 0;
        flight->used = false;
        load->in_flight--;
        load->done++;
    }
}

/* Until `count` more requests are answered. False: it took too long. */
static bool load_run(struct load *load, uint32_t count)
{
    uint64_t deadline_ns = sys_monotonic_ns() + 30000000000ull;
    uint32_t until = load->done + count;
    while (load->done < until && sys_monotonic_ns() < deadline_ns) {
        load_post(load);
        load_take(load);
    }
    return load->done >= until;
}

static bool load_drain(struct load *load)
{
    uint64_t deadline_ns = sys_monotonic_ns() + 30000000000ull;
    while (load->in_flight > 0 && sys_monotonic_ns() < deadline_ns) {
        load_take(load);
    }
    return load->in_flight == 0;
}

static struct load *load_new(struct fabric_peer *peer, uint32_t slab)
{
    struct load *load = calloc(1, sizeof(*load));
    CHECK(load != NULL);
    load->peer = peer;
    load->slab = slab;
    load->seed = 7;
    return load;
}

static void test_cut_connections(void)
{
    struct harness h;
    struct proxy proxy;
    uint32_t slab;
    harness_open(&h, "tcp");
    proxy_open(&proxy, node_tcp_address(h.node));
    struct fabric_peer *peer = open_peer(&h, proxy.address, &patient);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    struct load *load = load_new(peer, slab);
    for (unsigned i = 0; i < 10; i++) {
        EXPECT(load_run(load, 300));
        proxy_cut(&proxy);
    }
    EXPECT(load_run(load, 300));
    EXPECT(load_drain(load));
    EXPECT_EQ(load->failed, 0);
    EXPECT_EQ(load->wrong, 0);
    EXPECT(fabric_steady_breaks(peer) >= 5);
    EXPECT_EQ(prepared, fabric_steady_breaks(peer) + 1);
    EXPECT(strstr(notes, "memory node mn1 broke the connection: connecting again\n") != NULL);
    EXPECT(strstr(notes, "memory node mn1 is connected again\n") != NULL);
    EXPECT_STR(fabric_name(peer), "tcp");
    free(load);
    fabric_close(peer);
    proxy_close(&proxy);
    harness_close(&h);
}

static void test_stalled_connection(void)
{
    const struct fabric_steady_times times = {
        .connect_ms = 100, .stall_ms = 100, .refused_ms = LONG_MS, .patience_ms = LONG_MS};
    struct harness h;
    struct proxy proxy;
    uint32_t slab;
    harness_open(&h, "tcp");
    proxy_open(&proxy, node_tcp_address(h.node));
    struct fabric_peer *peer = open_peer(&h, proxy.address, &times);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    struct load *load = load_new(peer, slab);
    EXPECT(load_run(load, 100));
    proxy_set(&proxy.stalled, true);
    /* Noticed also by somebody who sleeps between polls. */
    load_post(load);
    for (unsigned i = 0; i < 10; i++) {
        (void)usleep(50000);
        load_take(load);
    }
    EXPECT(fabric_steady_breaks(peer) > 0);
    uint64_t until_ns = sys_monotonic_ns() + 400000000ull;
    while (sys_monotonic_ns() < until_ns || fabric_steady_breaks(peer) == 0) {
        load_post(load);
        load_take(load);
    }
    /* What the old connections still carry arrives now: it must not undo anything. */
    proxy_set(&proxy.stalled, false);
    EXPECT(load_run(load, 1000));
    EXPECT(load_drain(load));
    EXPECT_EQ(load->failed, 0);
    EXPECT_EQ(load->wrong, 0);
    EXPECT(strstr(notes, "does not answer: connecting again") != NULL);
    free(load);
    fabric_close(peer);
    proxy_close(&proxy);
    harness_close(&h);
}

static void test_nobody_listens(void)
{
    const struct fabric_steady_times times = {
        .connect_ms = 2000, .stall_ms = LONG_MS, .refused_ms = 200, .patience_ms = LONG_MS};
    struct harness h;
    struct proxy proxy;
    struct fabric_done done;
    uint32_t slab;
    uint8_t data[PAGE] = {1};
    const struct iovec segment = {data, PAGE};
    harness_open(&h, "tcp");
    proxy_open(&proxy, node_tcp_address(h.node));
    struct fabric_peer *peer = open_peer(&h, proxy.address, &times);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    /* A process that ends: for a moment connections are accepted and closed again. */
    proxy_aim(&proxy, "127.0.0.1:1");
    proxy_cut(&proxy);
    uint32_t breaks = 0;
    while (breaks == 0) {
        EXPECT_EQ(fabric_poll(peer, &done, 1), 0);
        breaks = fabric_steady_breaks(peer);
    }
    (void)usleep(30000);
    proxy_set(&proxy.deaf, true);
    EXPECT_EQ(fabric_read(peer, slab, 0, &segment, 1, 5), 0);
    EXPECT_EQ(harness_wait(peer, &done, 1), 1);
    EXPECT_EQ(done.status, -ENOTCONN);
    EXPECT(!fabric_alive(peer));
    EXPECT_EQ(fabric_read(peer, slab, 0, &segment, 1, 6), -ENOTCONN);
    EXPECT(strstr(notes, "memory node mn1 is lost: tcp: Connection refused") != NULL);
    fabric_detach(peer, slab);
    fabric_close(peer);
    proxy_close(&proxy);
    harness_close(&h);
}

/* Opening does not wait; what was asked meanwhile fails when the one try has. */
static void test_never_there(void)
{
    struct harness h;
    struct proxy proxy;
    struct fabric_done done;
    uint32_t slab;
    harness_open(&h, "tcp");
    proxy_open(&proxy, node_tcp_address(h.node));
    proxy_close(&proxy);
    struct fabric_peer *peer = open_peer(&h, proxy.address, &patient);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(fabric_attach(peer, &grant, 3, &slab), 0);
    EXPECT_EQ(harness_wait(peer, &done, 1), 1);
    EXPECT_EQ(done.token, 3);
    EXPECT_EQ(done.status, -ENOTCONN);
    EXPECT(strstr(notes, "memory node mn1 can't be reached: tcp: Connection refused") != NULL);
    fabric_detach(peer, slab);
    fabric_close(peer);
    harness_close(&h);
}

/* Behind the same address is another memory node: its zeros are not our data. */
static void test_node_that_forgot(void)
{
    struct harness h;
    struct harness fresh;
    struct proxy proxy;
    uint32_t slab;
    uint8_t data[PAGE];
    harness_open(&h, "tcp");
    harness_open(&fresh, "tcp");
    proxy_open(&proxy, node_tcp_address(h.node));
    struct fabric_peer *peer = open_peer(&h, proxy.address, &patient);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    memset(data, 0x77, sizeof(data));
    EXPECT_EQ(harness_transfer(peer, true, slab, 0, data, PAGE), 0);
    proxy_aim(&proxy, node_tcp_address(fresh.node));
    proxy_cut(&proxy);
    int status = 0;
    for (unsigned i = 0; i < 10000 && status == 0; i++) {
        status = harness_transfer(peer, false, slab, 0, data, PAGE);
    }
    EXPECT_EQ(status, -EACCES);
    EXPECT_EQ(data[0], 0x77);
    /* The peer itself lives: new grants work. */
    struct fabric_grant other = harness_grant(&fresh, 2, false);
    EXPECT(fabric_alive(peer));
    fabric_detach(peer, slab);
    EXPECT_EQ(harness_attach(peer, &other, &slab), 0);
    EXPECT_EQ(harness_transfer(peer, true, slab, 0, data, PAGE), 0);
    fabric_close(peer);
    proxy_close(&proxy);
    harness_close(&fresh);
    harness_close(&h);
}

/* The node revokes a slab, and its client is too slow to say that it has let go of it. */
static void test_slow_shm_client(void)
{
    struct harness h;
    uint32_t kept;
    uint32_t revoked;
    uint8_t data[PAGE];
    harness_open(&h, "shm");
    struct fabric_peer *peer = open_peer(&h, NULL, &patient);
    struct fabric_grant grants[] = {harness_grant(&h, 0, false), harness_grant(&h, 1, false)};
    EXPECT_EQ(harness_attach(peer, &grants[0], &kept), 0);
    EXPECT_EQ(harness_attach(peer, &grants[1], &revoked), 0);
    memset(data, 0x31, sizeof(data));
    EXPECT_EQ(harness_transfer(peer, true, kept, 5 * PAGE, data, PAGE), 0);
    EXPECT_EQ(harness_revoke(&h, &grants[1]), 0); /* nobody polls here meanwhile */
    EXPECT_EQ(export_counter(&node_counters(h.node)->closed_silent), 1);
    memset(data, 0, sizeof(data));
    /* A busy client looks at its socket within a bounded number of polls. */
    for (unsigned i = 0; i < 100; i++) {
        EXPECT_EQ(harness_transfer(peer, false, kept, 5 * PAGE, data, PAGE), 0);
        EXPECT_EQ(data[17], 0x31);
    }
    EXPECT_EQ(fabric_steady_breaks(peer), 1);
    EXPECT_EQ(harness_transfer(peer, false, revoked, 0, data, PAGE), -EACCES);
    EXPECT(fabric_alive(peer));
    fabric_close(peer);
    harness_close(&h);
}

static uint32_t wraps;
static uint32_t repeat_permille;

static int wrap(void *context, struct fabric_peer *peer, struct fabric_peer **ret)
{
    wraps++;
    const struct fabric_trouble plan = {.seed = wraps,
                                        .busy_permille = 50,
                                        .delay_permille = 300,
                                        .delay_polls_max = 20,
                                        .repeat_permille = repeat_permille,
                                        .die_after_requests = 20 + wraps % 60};
    return fabric_trouble_wrap(peer, &plan, ret);
}

/* Every connection lives for some tens of requests, with delays and busy signals. */
static void die_often(const char *fabric)
{
    struct harness h;
    uint32_t slabs[3];
    harness_open(&h, fabric);
    fabric_set_test_wrap(wrap, NULL);
    bool is_tcp = strcmp(fabric, "tcp") == 0;
    struct fabric_peer *peer = open_peer(&h, is_tcp ? node_tcp_address(h.node) : NULL, &patient);
    for (uint32_t i = 0; i < 3; i++) {
        struct fabric_grant grant = harness_grant(&h, i, false);
        EXPECT_EQ(harness_attach(peer, &grant, &slabs[i]), 0);
    }
    struct load *load = load_new(peer, slabs[1]);
    EXPECT(load_run(load, 3000));
    EXPECT(load_drain(load));
    EXPECT_EQ(load->failed, 0);
    EXPECT_EQ(load->wrong, 0);
    EXPECT(fabric_steady_breaks(peer) > 20);
    struct fabric_counters counters;
    fabric_counters(peer, &counters);
    EXPECT_EQ(counters.repeats > 100, repeat_permille != 0);
    free(load);
    fabric_close(peer);
    fabric_set_test_wrap(NULL, NULL);
    harness_close(&h);
}

static void test_dying_connections(void)
{
    die_often("shm");
    die_often("tcp");
}

/* Completions that come once more, early or late, have no effect. */
static void test_repeated_completions(void)
{
    repeat_permille = 300;
    die_often("shm");
    die_often("tcp");
    repeat_permille = 0;
}

int main(void)
{
    TAP_RUN(test_cut_connections);
    TAP_RUN(test_stalled_connection);
    TAP_RUN(test_nobody_listens);
    TAP_RUN(test_never_there);
    TAP_RUN(test_node_that_forgot);
    TAP_RUN(test_slow_shm_client);
    TAP_RUN(test_dying_connections);
    TAP_RUN(test_repeated_completions);
    return tap_done();
}
