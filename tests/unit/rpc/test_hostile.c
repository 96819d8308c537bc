/* SPDX-License-Identifier: Apache-2.0 */
/* A server against peers that break the rules: each loses its connection, others don't notice. */
#include <errno.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "lib/rpc/limits.h"
#include "tests/tap.h"
#include "tests/unit/rpc/harness.h"

#define AGENT DILOS__ROLE__ROLE_AGENT
#define HELLO DILOS__MESSAGE_TYPE__MESSAGE_HELLO

/* A raw peer after a good HELLO. */
static int open_raw(struct harness *h)
{
    uint8_t body[4096];
    struct frame_header header;
    int fd = raw_connect(h);
    raw_hello(fd, AGENT, "raw", 1, 1);
    EXPECT(raw_receive(h, fd, &header, body) > 0);
    EXPECT_EQ(header.type, HELLO);
    EXPECT_EQ(header.flags, FRAME_REPLY);
    return fd;
}

/* The server closes `fd` and has told its owner `error`. */
static void expect_closed(struct harness *h, int fd, int error, const char *reason_part)
{
    EXPECT(raw_receives_end(h, fd));
    (void)close(fd);
    EXPECT(harness_until(h, &h->server_seen.close_count, ++h->closes_expected));
    EXPECT_EQ(h->server_seen.close_count, h->closes_expected);
    EXPECT_EQ(h->server_seen.close_error, error);
    if (strstr(h->server_seen.close_reason, reason_part) == NULL) {
        EXPECT_STR(h->server_seen.close_reason, reason_part);
    }
}

static void expect_still_serving(struct harness *h)
{
    struct outcome outcome = {0};
    struct rpc_client *client = harness_client(h, AGENT, 100);
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_ECHO, 42, 0, &outcome), 0);
    EXPECT(harness_until(h, &outcome.reply_count, 1));
    EXPECT_EQ(outcome.value, 42);
    (void)rpc_client_close(client);
}

static void header_bytes(uint8_t *data, uint16_t type, uint16_t flags, uint32_t length, uint64_t id)
{
    le32_store(data, FRAME_MAGIC);
    le16_store(data + 4, FRAME_VERSION);
    le16_store(data + 6, type);
    le16_store(data + 8, flags);
    le16_store(data + 10, 0);
    le32_store(data + 12, length);
    le64_store(data + 16, id);
}

static void test_garbage(void)
{
    struct harness h;
    uint8_t garbage[100];
    harness_init(&h);
    memset(garbage, 0xa5, sizeof(garbage));
    int fd = raw_connect(&h);
    raw_send(fd, garbage, sizeof(garbage));
    expect_closed(&h, fd, -EPROTO, "no frame of this protocol");
    fd = open_raw(&h);
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw_send(fd, http, sizeof(http) - 1);
    expect_closed(&h, fd, -EPROTO, "no frame of this protocol");
    expect_still_serving(&h);
    harness_fini(&h);
}

static void test_truncated(void)
{
    struct harness h;
    uint8_t data[FRAME_HEADER_BYTES];
    harness_init(&h);
    int fd = open_raw(&h);
    header_bytes(data, METHOD_ECHO, 0, 1000, 5);
    raw_send(fd, data, sizeof(data));
    raw_send(fd, "abc", 3);
    harness_settle(&h);
    (void)close(fd);
    EXPECT(harness_until(&h, &h.server_seen.close_count, 1));
    EXPECT_EQ(h.server_seen.close_error, -EPROTO);
    EXPECT(strstr(h.server_seen.close_reason, "in the middle of a frame") != NULL);
    EXPECT_EQ(h.handled_count, 0);
    expect_still_serving(&h);
    harness_fini(&h);
}

static void test_one_byte_at_a_time(void)
{
    struct harness h;
    uint8_t body[4096];
    uint8_t data[FRAME_HEADER_BYTES + 2];
    struct frame_header header;
    harness_init(&h);
    int fd = open_raw(&h);
    header_bytes(data, METHOD_ECHO, 0, 2, 5);
    data[FRAME_HEADER_BYTES] = 0x08; /* field 1, varint */
    data[FRAME_HEADER_BYTES + 1] = 77;
    for (size_t i = 0; i < sizeof(data); i++) {
        EXPECT_EQ(h.handled_count, 0);
        raw_send(fd, data + i, 1);
        harness_settle(&h);
    }
    EXPECT(raw_receive(&h, fd, &header, body) > 0);
    EXPECT_EQ(header.request_id, 5);
    EXPECT_EQ(header.flags, FRAME_REPLY);
    EXPECT_EQ(h.handled_count, 1);
    (void)close(fd);
    harness_fini(&h);
}

static void test_oversized(void)
{
    struct harness h;
    uint8_t data[FRAME_HEADER_BYTES];
    harness_init(&h);
    int fd = open_raw(&h);
    header_bytes(data, METHOD_ECHO, 0, FRAME_BODY_BYTES_MAX + 1, 5);
    raw_send(fd, data, sizeof(data));
    expect_closed(&h, fd, -EMSGSIZE, "above the limit");
    expect_still_serving(&h);
    harness_fini(&h);
}

static void test_other_frame_version(void)
{
    struct harness h;
    uint8_t data[FRAME_HEADER_BYTES];
    harness_init(&h);
    int fd = raw_connect(&h);
    header_bytes(data, HELLO, 0, 0, 1);
    le16_store(data + 4, FRAME_VERSION + 1);
    raw_send(fd, data, sizeof(data));
    expect_closed(&h, fd, -EPROTONOSUPPORT, "another version");
    harness_fini(&h);
}

static void test_malformed_body(void)
{
    struct harness h;
    uint8_t data[FRAME_HEADER_BYTES + 3];
    harness_init(&h);
    int fd = open_raw(&h);
    header_bytes(data, METHOD_ECHO, 0, 3, 5);
    memset(data + FRAME_HEADER_BYTES, 0xff, 3);
    raw_send(fd, data, sizeof(data));
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    expect_closed(&h, fd, -EPROTO, "can't be accepted");
    EXPECT_EQ(h.handled_count, 0);
    expect_still_serving(&h);
    harness_fini(&h);
}

static void test_string_above_the_limit(void)
{
    struct harness h;
    static char name[RPC_FIELD_BYTES_MAX + 2];
    Dilos__NameRef ref = DILOS__NAME_REF__INIT;
    uint8_t body[4096];
    struct frame_header header;
    harness_init(&h);
    int fd = open_raw(&h);
    memset(name, 'x', RPC_FIELD_BYTES_MAX);
    ref.name = name;
    raw_send_frame(fd, METHOD_NAME, 0, 8, &ref.base);
    EXPECT(raw_receive(&h, fd, &header, body) > 0);
    EXPECT_EQ(header.flags, FRAME_REPLY);
    EXPECT_EQ(h.handled_count, 1);
    name[RPC_FIELD_BYTES_MAX] = 'x';
    raw_send_frame(fd, METHOD_NAME, 0, 9, &ref.base);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    expect_closed(&h, fd, -EMSGSIZE, "the limit is 4096");
    EXPECT_EQ(h.handled_count, 1);
    harness_fini(&h);
}

static void test_reply_to_what_was_not_asked(void)
{
    struct harness h;
    Dilos__Status status = DILOS__STATUS__INIT;
    harness_init(&h);
    int fd = open_raw(&h);
    raw_send_frame(fd, METHOD_ECHO, FRAME_REPLY, 1234, &status.base);
    expect_closed(&h, fd, -EPROTO, "answered request 1234");
    expect_still_serving(&h);
    harness_fini(&h);
}

/* A call of the server, answered by the raw peer in ways that the call's caller must survive. */
static void answer_wrongly(uint16_t type, const void *body, size_t length, Dilos__ErrorCode code)
{
    struct harness h;
    struct outcome outcome = {0};
    struct frame_header header;
    uint8_t received[4096];
    uint8_t data[FRAME_HEADER_BYTES];
    harness_init(&h);
    int fd = open_raw(&h);
    EXPECT_EQ(ask(h.server_seen.connection, METHOD_ECHO, 1, 0, &outcome), 0);
    EXPECT(raw_receive(&h, fd, &header, received) >= 0);
    EXPECT_EQ(header.type, METHOD_ECHO);
    header_bytes(data, type, FRAME_REPLY, (uint32_t)length, header.request_id);
    raw_send(fd, data, sizeof(data));
    raw_send(fd, body, length);
    expect_closed(&h, fd, -EPROTO, "");
    EXPECT_EQ(outcome.reply_count, 0);
    EXPECT_EQ(outcome.error_count, 1);
    EXPECT_EQ(outcome.code, code);
    harness_fini(&h);
}

static void test_reply_of_another_type(void)
{
    answer_wrongly(METHOD_HOLD, "", 0, DILOS__ERROR_CODE__ERROR_UNAVAILABLE);
}

static void test_reply_that_cannot_be_parsed(void)
{
    answer_wrongly(METHOD_ECHO, "\xff\xff\xff", 3, DILOS__ERROR_CODE__ERROR_INTERNAL);
}

static void test_request_id_twice(void)
{
    struct harness h;
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    harness_init(&h);
    int fd = open_raw(&h);
    raw_send_frame(fd, METHOD_HOLD, 0, 77, &filter.base);
    EXPECT(harness_until(&h, &h.held_count, 1));
    raw_send_frame(fd, METHOD_ECHO, 0, 77, &filter.base);
    expect_closed(&h, fd, -EPROTO, "request id 77 twice");
    EXPECT_EQ(h.handled_count, 0);
    harness_fini(&h);
}

/* A handler of requests always has one to answer, a handler of notices never. */
static void test_notice_of_a_request_and_back(void)
{
    struct harness h;
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    struct rpc_counters counters;
    harness_init(&h);
    int fd = open_raw(&h);
    raw_send_frame(fd, METHOD_ECHO, FRAME_NOTICE, 0, &filter.base);
    raw_send_frame(fd, METHOD_NOTICE, 0, 4, &filter.base);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    EXPECT_EQ(h.handled_count, 0);
    EXPECT_EQ(h.notice_count, 0);
    rpc_server_counters(h.server, &counters);
    EXPECT_EQ(counters.notices_dropped, 1);
    EXPECT_EQ(counters.requests_refused, 1);
    (void)close(fd);
    expect_still_serving(&h);
    harness_fini(&h);
}

static void test_too_many_requests(void)
{
    struct harness h;
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    struct frame_header header;
    uint8_t body[4096];
    harness_init(&h);
    int fd = open_raw(&h);
    for (unsigned i = 0; i < RPC_REQUESTS_MAX; i++) {
        raw_send_frame(fd, METHOD_HOLD, 0, 100 + i, &filter.base);
        EXPECT(harness_until(&h, &h.held_count, i % 64 == 63 ? i + 1 : 0));
    }
    EXPECT(harness_until(&h, &h.held_count, RPC_REQUESTS_MAX));
    raw_send_frame(fd, METHOD_HOLD, 0, 5, &filter.base);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_UNAVAILABLE));
    EXPECT_EQ(h.held_count, RPC_REQUESTS_MAX);
    release_held(&h, 0, 1);
    EXPECT(raw_receive(&h, fd, &header, body) > 0);
    raw_send_frame(fd, METHOD_ECHO, 0, 6, &filter.base);
    EXPECT(raw_receive(&h, fd, &header, body) >= 0);
    EXPECT_EQ(header.request_id, 6);
    (void)close(fd);
    harness_fini(&h);
}

/* A peer that asks and asks and never reads the answers. */
static void test_peer_that_does_not_read(void)
{
    struct harness h;
    harness_init(&h);
    int fd = open_raw(&h);
    static char text[RPC_FIELD_BYTES_MAX];
    Dilos__NodeInfo info = DILOS__NODE_INFO__INIT;
    memset(text, 'x', sizeof(text) - 1);
    info.name = text;
    int error = 0;
    unsigned sent = 0;
    for (; error == 0 && sent < 10000; sent++) {
        error = rpc_notify(h.server_seen.connection, METHOD_NOTICE, &info.base);
    }
    EXPECT_EQ(error, -ENOBUFS);
    EXPECT(sent <= RPC_OUTPUT_BYTES_MAX / sizeof(text) + 1);
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    for (unsigned i = 0; i < 64 && h.server_seen.close_count == 0; i++) {
        /* Fills what the kernel took meanwhile, so that the answer has no room. */
        while (h.server_seen.connection != NULL &&
               rpc_notify(h.server_seen.connection, METHOD_NOTICE, &info.base) == 0) {
        }
        while (h.server_seen.connection != NULL &&
               rpc_notify(h.server_seen.connection, METHOD_NOTICE, &filter.base) == 0) {
        }
        raw_send_frame(fd, METHOD_ECHO, 0, 100 + i, &filter.base);
        harness_settle(&h);
    }
    EXPECT(harness_until(&h, &h.server_seen.close_count, 1));
    EXPECT_EQ(h.server_seen.close_error, -ENOBUFS);
    (void)close(fd);
    expect_still_serving(&h);
    harness_fini(&h);
}

static void test_hello_missing(void)
{
    struct harness h;
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    harness_init(&h);
    int fd = raw_connect(&h);
    raw_send_frame(fd, METHOD_ECHO, 0, 1, &filter.base);
    expect_closed(&h, fd, -EPROTO, "first frame is not HELLO");
    EXPECT_EQ(h.handled_count, 0);
    EXPECT_EQ(h.server_seen.open_count, 0);
    harness_fini(&h);
}

static void test_hello_never_comes(void)
{
    struct harness h;
    harness_init(&h);
    int fd = raw_connect(&h);
    EXPECT(harness_until(&h, &h.server_seen.close_count, 1));
    EXPECT_EQ(h.server_seen.close_error, -ETIMEDOUT);
    EXPECT(raw_receives_end(&h, fd));
    (void)close(fd);
    harness_fini(&h);
}

static void test_hello_twice(void)
{
    struct harness h;
    harness_init(&h);
    int fd = open_raw(&h);
    raw_hello(fd, AGENT, "raw", 1, 1);
    expect_closed(&h, fd, -EPROTO, "HELLO twice");
    harness_fini(&h);
}

static void test_hello_without_role_or_name(void)
{
    struct harness h;
    harness_init(&h);
    int fd = raw_connect(&h);
    raw_hello(fd, DILOS__ROLE__ROLE_UNKNOWN, "raw", 1, 1);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    expect_closed(&h, fd, -EPROTO, "without a role");
    fd = raw_connect(&h);
    raw_hello(fd, AGENT, "", 1, 1);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    expect_closed(&h, fd, -EPROTO, "unusable name");
    fd = raw_connect(&h);
    raw_hello(fd, AGENT, "a\nlevel=error", 1, 1);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    expect_closed(&h, fd, -EPROTO, "unusable name");
    fd = raw_connect(&h);
    raw_hello(fd, (Dilos__Role)29, "raw", 1, 1);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_INVALID));
    expect_closed(&h, fd, -EPROTO, "Hello.role: unknown value 29");
    harness_fini(&h);
}

static void test_no_common_version(void)
{
    struct harness h;
    harness_init(&h);
    int fd = raw_connect(&h);
    raw_hello(fd, AGENT, "raw", RPC_VERSION_MAX + 1, RPC_VERSION_MAX + 3);
    EXPECT(raw_receives_error(&h, fd, DILOS__ERROR_CODE__ERROR_VERSION));
    expect_closed(&h, fd, -EPROTONOSUPPORT, "ctl speaks 1 to 1, raw speaks 2 to 4");
    /* A newer peer that still speaks ours is welcome. */
    fd = raw_connect(&h);
    raw_hello(fd, AGENT, "raw", RPC_VERSION_MAX, RPC_VERSION_MAX + 3);
    uint8_t body[4096];
    struct frame_header header;
    EXPECT(raw_receive(&h, fd, &header, body) > 0);
    EXPECT_EQ(header.flags, FRAME_REPLY);
    (void)close(fd);
    harness_fini(&h);
}

int main(void)
{
    TAP_RUN(test_garbage);
    TAP_RUN(test_truncated);
    TAP_RUN(test_one_byte_at_a_time);
    TAP_RUN(test_oversized);
    TAP_RUN(test_other_frame_version);
    TAP_RUN(test_malformed_body);
    TAP_RUN(test_string_above_the_limit);
    TAP_RUN(test_reply_to_what_was_not_asked);
    TAP_RUN(test_reply_of_another_type);
    TAP_RUN(test_reply_that_cannot_be_parsed);
    TAP_RUN(test_request_id_twice);
    TAP_RUN(test_notice_of_a_request_and_back);
    TAP_RUN(test_too_many_requests);
    TAP_RUN(test_peer_that_does_not_read);
    TAP_RUN(test_hello_missing);
    TAP_RUN(test_hello_never_comes);
    TAP_RUN(test_hello_twice);
    TAP_RUN(test_hello_without_role_or_name);
    TAP_RUN(test_no_common_version);
    return tap_done();
}
