/* SPDX-License-Identifier: Apache-2.0 */
/* A client that doesn't play by the rules, byte by byte against the TCP export. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/wire/pageop.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

static int connect_raw(const struct harness *h)
{
    struct fabric_address address;
    CHECK(fabric_address_parse(node_tcp_address(h->node), &address) == 0);
    int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&address.storage, address.length) == 0);
    return fd;
}

static void put(int fd, const void *data, size_t bytes)
{
    CHECK(send(fd, data, bytes, MSG_NOSIGNAL) == (ssize_t)bytes);
}

/* True if all bytes came within the deadline; false at the end of the stream. */
static bool take(int fd, void *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (poll(&item, 1, (int)WAIT_MS) != 1) {
            return false;
        }
        ssize_t count = recv(fd, (uint8_t *)data + done, bytes - done, 0);
        if (count <= 0) {
            return false;
        }
        done += (size_t)count;
    }
    return true;
}

static bool is_closed(int fd)
{
    uint8_t byte;
    return !take(fd, &byte, 1);
}

static int connect_greeted(const struct harness *h)
{
    uint8_t hello[PAGEOP_HELLO_BYTES];
    int fd = connect_raw(h);
    pageop_hello_encode(hello);
    put(fd, hello, sizeof(hello));
    CHECK(take(fd, hello, sizeof(hello)));
    CHECK(pageop_hello_decode(hello) == 0);
    return fd;
}

static void put_request(int fd, const struct pageop_request *request)
{
    uint8_t data[PAGEOP_REQUEST_BYTES];
    pageop_request_encode(request, data);
    put(fd, data, sizeof(data));
}

static struct pageop_reply take_reply(int fd)
{
    uint8_t data[PAGEOP_REPLY_BYTES];
    struct pageop_reply reply = {.status = UINT16_MAX};
    if (take(fd, data, sizeof(data))) {
        EXPECT_EQ(pageop_reply_decode(data, &reply), 0);
    }
    return reply;
}

static uint16_t status_of(int fd, uint8_t kind, uint32_t handle, uint64_t offset, uint32_t length)
{
    static uint8_t data[PAGEOP_LENGTH_MAX];
    const struct pageop_request request = {
        .kind = kind, .handle = handle, .token = 99, .offset = offset, .length = length};
    put_request(fd, &request);
    if (kind == PAGEOP_WRITE) {
        put(fd, data, length);
    }
    struct pageop_reply reply = take_reply(fd);
    EXPECT_EQ(reply.token, 99);
    EXPECT_EQ(reply.kind, kind);
    if (reply.length != 0) {
        EXPECT(take(fd, data, reply.length));
    }
    return reply.status;
}

static uint16_t attach_as(int fd, uint32_t handle, const struct fabric_grant *grant,
                          uint32_t incarnation)
{
    uint8_t data[PAGEOP_ATTACH_BYTES];
    const struct pageop_request request = {
        .kind = PAGEOP_ATTACH, .handle = handle, .length = PAGEOP_ATTACH_BYTES};
    struct pageop_attach body = {.slab_index = grant->slab_index,
                                 .incarnation = incarnation,
                                 .generation = grant->generation};
    memcpy(body.key, grant->key, sizeof(body.key));
    put_request(fd, &request);
    pageop_attach_encode(&body, data);
    put(fd, data, sizeof(data));
    return take_reply(fd).status;
}

static uint16_t attach(int fd, uint32_t handle, const struct fabric_grant *grant)
{
    return attach_as(fd, handle, grant, 0);
}

static void test_bounds_are_the_nodes(void)
{
    struct harness h;
    harness_open(&h, "tcp");
    struct fabric_grant grant = harness_grant(&h, 1, false);
    int fd = connect_greeted(&h);
    EXPECT_EQ(status_of(fd, PAGEOP_READ, 5, 0, 1), PAGEOP_DENIED);
    EXPECT_EQ(attach(fd, 5, &grant), PAGEOP_OK);
    EXPECT_EQ(attach(fd, 5, &grant), PAGEOP_DENIED); /* the handle is taken */
    const uint8_t kinds[] = {PAGEOP_READ, PAGEOP_WRITE};
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        EXPECT_EQ(status_of(fd, kinds[i], 5, SLAB_BYTES - 10, 10), PAGEOP_OK);
        EXPECT_EQ(status_of(fd, kinds[i], 5, SLAB_BYTES - 10, 11), PAGEOP_RANGE);
        EXPECT_EQ(status_of(fd, kinds[i], 5, SLAB_BYTES, 1), PAGEOP_RANGE);
        EXPECT_EQ(status_of(fd, kinds[i], 5, 1, PAGEOP_LENGTH_MAX), PAGEOP_RANGE);
        EXPECT_EQ(status_of(fd, kinds[i], 5, UINT64_MAX, 1), PAGEOP_RANGE);
        EXPECT_EQ(status_of(fd, kinds[i], 5, UINT64_MAX - 99, 100), PAGEOP_RANGE);
        EXPECT_EQ(status_of(fd, kinds[i], 4, 0, 8), PAGEOP_DENIED);
        EXPECT_EQ(status_of(fd, kinds[i], PAGEOP_HANDLES_MAX - 1, 0, 8), PAGEOP_DENIED);
    }
    const struct pageop_request detach = {.kind = PAGEOP_DETACH, .handle = 5};
    put_request(fd, &detach);
    EXPECT_EQ(status_of(fd, PAGEOP_READ, 5, 0, 1), PAGEOP_DENIED);
    struct incidents *incidents = node_incidents(h.node);
    EXPECT(incidents_has(incidents, INCIDENT_NOT_ATTACHED, "", INCIDENTS_ANY_SLAB));
    EXPECT(incidents_has(incidents, INCIDENT_BEYOND_END, "instance", 1));
    EXPECT_EQ(incidents_count(incidents), 1 + 2 * 7 + 1);
    (void)close(fd);
    harness_close(&h);
}

/* Each wrong use of a key is told with the slab, and with the instance once it has shown itself. */
static void test_wrong_keys_are_told(void)
{
    struct harness h;
    harness_open(&h, "tcp");
    struct incidents *incidents = node_incidents(h.node);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    struct fabric_grant reader = harness_grant(&h, 2, true);
    struct fabric_grant wrong = grant;
    int fd = connect_greeted(&h);
    wrong.key[3] ^= 1;
    EXPECT_EQ(attach(fd, 1, &wrong), PAGEOP_DENIED);
    EXPECT(incidents_has(incidents, INCIDENT_WRONG_KEY, "", 1));
    wrong.slab_index = 1000;
    EXPECT_EQ(attach(fd, 1, &wrong), PAGEOP_DENIED);
    EXPECT(incidents_has(incidents, INCIDENT_WRONG_KEY, "", INCIDENTS_ANY_SLAB));
    EXPECT_EQ(attach(fd, 1, &grant), PAGEOP_OK);
    EXPECT_EQ(attach(fd, 2, &reader), PAGEOP_OK);
    EXPECT_EQ(status_of(fd, PAGEOP_WRITE, 2, 0, 8), PAGEOP_DENIED);
    EXPECT(incidents_has(incidents, INCIDENT_READ_ONLY, "instance", 2));
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    EXPECT_EQ(status_of(fd, PAGEOP_READ, 1, 0, 8), PAGEOP_DENIED);
    EXPECT(incidents_has(incidents, INCIDENT_OLD_KEY, "instance", 1));
    EXPECT_EQ(attach(fd, 7, &grant), PAGEOP_DENIED);
    EXPECT_EQ(incidents_count(incidents), 5);
    (void)close(fd);
    harness_close(&h);
}

static void test_garbage_harms_nobody_else(void)
{
    struct harness h;
    uint8_t data[300];
    uint8_t byte = 0x42;
    uint32_t slab;
    uint64_t seed = 9;
    harness_open(&h, "tcp");
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    for (unsigned round = 0; round < 20; round++) {
        int fd = round % 2 == 0 ? connect_raw(&h) : connect_greeted(&h);
        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = (uint8_t)(harness_random(&seed) | (i == 0 ? 0x80 : 0));
        }
        put(fd, data, sizeof(data));
        EXPECT(is_closed(fd));
        (void)close(fd);
        EXPECT_EQ(harness_transfer(peer, true, slab, round, &byte, 1), 0);
        EXPECT_EQ(harness_transfer(peer, false, slab, round, &byte, 1), 0);
        EXPECT_EQ(byte, 0x42);
    }
    const struct export_counters *counters = node_counters(h.node);
    EXPECT_EQ(export_counter(&counters->closed_hello), 10);
    EXPECT_EQ(export_counter(&counters->closed_protocol), 10);
    fabric_close(peer);
    harness_close(&h);
}

static void test_other_version_is_told(void)
{
    struct harness h;
    uint8_t hello[PAGEOP_HELLO_BYTES];
    harness_open(&h, "tcp");
    int fd = connect_raw(&h);
    pageop_hello_encode(hello);
    le16_store(hello + 4, PAGEOP_VERSION + 1);
    put(fd, hello, sizeof(hello));
    EXPECT(take(fd, hello, sizeof(hello)));
    EXPECT_EQ(pageop_hello_decode(hello), 0);
    EXPECT(is_closed(fd));
    (void)close(fd);
    harness_close(&h);
}

/*
 * A client has connected again. What its earlier connection still carries comes too late: the end
 * of a write that had begun, a whole write, an attach.
 */
static void test_earlier_connection_is_fenced(void)
{
    struct harness h;
    uint8_t old[4096];
    uint8_t new[4096];
    uint32_t slab;
    memset(old, 0x01, sizeof(old));
    memset(new, 0x02, sizeof(new));
    harness_open(&h, "tcp");
    struct fabric_grant grant = harness_grant(&h, 0, false);
    struct fabric_grant bystander_grant = harness_grant(&h, 1, false);
    int earlier = connect_greeted(&h);
    int bystander = connect_greeted(&h);
    EXPECT_EQ(attach(earlier, 0, &grant), PAGEOP_OK);
    EXPECT_EQ(attach(bystander, 0, &bystander_grant), PAGEOP_OK);
    const struct pageop_request half = {.kind = PAGEOP_WRITE, .token = 1, .length = sizeof(old)};
    put_request(earlier, &half);
    put(earlier, old, sizeof(old) / 2);
    while (export_counter(&node_counters(h.node)->bytes_written) < sizeof(old) / 2) {
        (void)usleep(1000);
    }
    struct fabric_peer *later = harness_connect(&h);
    grant.incarnation = 1;
    EXPECT_EQ(harness_attach(later, &grant, &slab), 0);
    EXPECT_EQ(harness_transfer(later, true, slab, 0, new, sizeof(new)), 0);
    put(earlier, old + sizeof(old) / 2, sizeof(old) / 2);
    EXPECT_EQ(take_reply(earlier).status, PAGEOP_DENIED);
    EXPECT_EQ(status_of(earlier, PAGEOP_WRITE, 0, 0, 4096), PAGEOP_DENIED);
    EXPECT_EQ(attach(earlier, 1, &grant), PAGEOP_DENIED);
    EXPECT_EQ(status_of(bystander, PAGEOP_WRITE, 0, 0, 4096), PAGEOP_OK);
    EXPECT_EQ(harness_transfer(later, false, slab, 0, old, sizeof(old)), 0);
    EXPECT(memcmp(old, new, sizeof(old)) == 0);
    /* The next grant of the slab begins anew. */
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    struct fabric_grant next = harness_grant(&h, 0, false);
    EXPECT_EQ(attach(bystander, 1, &next), PAGEOP_OK);
    fabric_close(later);
    (void)close(earlier);
    (void)close(bystander);
    harness_close(&h);
}

/* A write whose client dies in the middle is never acknowledged and does not disturb others. */
static void test_half_a_write(void)
{
    struct harness h;
    uint8_t data[1000] = {1};
    harness_open(&h, "tcp");
    struct fabric_grant grant = harness_grant(&h, 0, false);
    int fd = connect_greeted(&h);
    EXPECT_EQ(attach(fd, 0, &grant), PAGEOP_OK);
    const struct pageop_request request = {.kind = PAGEOP_WRITE, .length = 5000};
    put_request(fd, &request);
    put(fd, data, sizeof(data));
    (void)close(fd);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    fd = connect_greeted(&h);
    grant = harness_grant(&h, 0, false);
    EXPECT_EQ(attach(fd, 0, &grant), PAGEOP_OK);
    const struct pageop_request read = {.kind = PAGEOP_READ, .length = 1000};
    put_request(fd, &read);
    EXPECT_EQ(take_reply(fd).status, PAGEOP_OK);
    EXPECT(take(fd, data, sizeof(data)));
    EXPECT(data[0] == 0 && memcmp(data, data + 1, sizeof(data) - 1) == 0);
    (void)close(fd);
    harness_close(&h);
}

/*
 * The revoke comes while a write is half received and many reads are half sent. The write and the
 * reads that had not begun are refused, the one that had begun is completed with the old data, the
 * stream stays in step.
 */
static void test_revoke_in_the_middle(void)
{
    enum { READS = 40 };
    static uint8_t data[PAGEOP_LENGTH_MAX];
    struct harness h;
    unsigned ok = 0;
    harness_open(&h, "tcp");
    struct fabric_grant grant = harness_grant(&h, 2, false);
    int reader = connect_greeted(&h);
    int writer = connect_greeted(&h);
    EXPECT_EQ(attach(reader, 0, &grant), PAGEOP_OK);
    EXPECT_EQ(attach(writer, 0, &grant), PAGEOP_OK);
    memset(data, 0x77, sizeof(data));
    const struct pageop_request write = {.kind = PAGEOP_WRITE, .length = PAGEOP_LENGTH_MAX};
    put_request(writer, &write);
    put(writer, data, sizeof(data));
    EXPECT_EQ(take_reply(writer).status, PAGEOP_OK);
    put_request(writer, &write);
    put(writer, data, 100000);
    for (unsigned i = 0; i < READS; i++) {
        const struct pageop_request read = {
            .kind = PAGEOP_READ, .token = i, .length = PAGEOP_LENGTH_MAX};
        put_request(reader, &read);
    }
    /* The first reply's header says that the node has begun to answer. */
    struct pageop_reply reply = take_reply(reader);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    put(writer, data, sizeof(data) - 100000);
    EXPECT_EQ(take_reply(writer).status, PAGEOP_DENIED);
    for (unsigned i = 0; i < READS && tap_case_ok; i++) {
        reply = i == 0 ? reply : take_reply(reader);
        EXPECT_EQ(reply.token, i);
        EXPECT(reply.status == PAGEOP_OK || reply.status == PAGEOP_DENIED);
        if (reply.status == PAGEOP_OK) {
            EXPECT(take(reader, data, reply.length));
            EXPECT(data[0] == 0x77 && memcmp(data, data + 1, reply.length - 1) == 0);
            ok++;
        }
    }
    /* Socket buffers hold a few megabytes of the 40. */
    EXPECT(ok >= 1);
    EXPECT(ok < READS);
    EXPECT_EQ(status_of(reader, PAGEOP_READ, 0, 0, 1), PAGEOP_DENIED);
    (void)close(reader);
    (void)close(writer);
    harness_close(&h);
}

static int connect_from(const struct harness *h, const char *source)
{
    struct fabric_address from;
    struct fabric_address to;
    CHECK(fabric_address_parse(source, &from) == 0);
    CHECK(fabric_address_parse(node_tcp_address(h->node), &to) == 0);
    int fd = socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&from.storage, from.length) == 0);
    CHECK(connect(fd, (struct sockaddr *)&to.storage, to.length) == 0);
    return fd;
}

static bool greets(int fd)
{
    uint8_t hello[PAGEOP_HELLO_BYTES];
    pageop_hello_encode(hello);
    put(fd, hello, sizeof(hello));
    return take(fd, hello, sizeof(hello));
}

/* As many idle connections as one host may have: it gets no more, another host does. */
static void test_one_host_does_not_shut_out_others(void)
{
    static int fds[EXPORT_HOST_CONNECTIONS_MAX];
    struct harness h;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = MIN(limit.rlim_max, 4 * EXPORT_HOST_CONNECTIONS_MAX);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    harness_open(&h, "tcp");
    for (unsigned i = 0; i < EXPORT_HOST_CONNECTIONS_MAX; i++) {
        fds[i] = connect_from(&h, "127.0.0.1:0");
        EXPECT(greets(fds[i]));
    }
    int more = connect_from(&h, "127.0.0.1:0");
    EXPECT(is_closed(more));
    EXPECT_EQ(export_counter(&node_counters(h.node)->closed_limit), 1);
    int other = connect_from(&h, "127.0.0.2:0");
    EXPECT(greets(other));
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(attach(other, 0, &grant), PAGEOP_OK);
    (void)close(other);
    (void)close(more);
    for (unsigned i = 0; i < EXPORT_HOST_CONNECTIONS_MAX; i++) {
        (void)close(fds[i]);
    }
    harness_close(&h);
}

/* Who has attached a slab may rest; of those who never do, the oldest are sent away. */
static void test_idle_without_a_slab_is_closed(void)
{
    static int fds[EXPORT_IDLE_MAX];
    struct harness h;
    harness_open(&h, "tcp");
    struct fabric_grant grant = harness_grant(&h, 1, false);
    int working = connect_greeted(&h);
    EXPECT_EQ(attach(working, 0, &grant), PAGEOP_OK);
    int oldest = connect_greeted(&h);
    for (unsigned i = 0; i < EXPORT_IDLE_MAX; i++) {
        fds[i] = connect_greeted(&h);
    }
    EXPECT(is_closed(oldest));
    EXPECT_EQ(export_counter(&node_counters(h.node)->closed_idle), 1);
    EXPECT_EQ(status_of(working, PAGEOP_READ, 0, 0, 8), PAGEOP_OK);
    EXPECT_EQ(attach(fds[0], 0, &grant), PAGEOP_OK);
    EXPECT_EQ(status_of(fds[0], PAGEOP_READ, 0, 0, 8), PAGEOP_OK);
    for (unsigned i = 0; i < EXPORT_IDLE_MAX; i++) {
        (void)close(fds[i]);
    }
    (void)close(oldest);
    (void)close(working);
    harness_close(&h);
}

int main(void)
{
    TAP_RUN(test_bounds_are_the_nodes);
    TAP_RUN(test_wrong_keys_are_told);
    TAP_RUN(test_garbage_harms_nobody_else);
    TAP_RUN(test_other_version_is_told);
    TAP_RUN(test_earlier_connection_is_fenced);
    TAP_RUN(test_half_a_write);
    TAP_RUN(test_revoke_in_the_middle);
    TAP_RUN(test_one_host_does_not_shut_out_others);
    TAP_RUN(test_idle_without_a_slab_is_closed);
    return tap_done();
}
