/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies between two sides that both behave. */
#include <errno.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/rpc/limits.h"
#include "tests/tap.h"
#include "tests/unit/rpc/harness.h"

#define RETRY_MS 200

static void test_round_trips(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    struct rpc_connection *connection = rpc_client_connection(client);
    EXPECT(connection != NULL);
    EXPECT_EQ(h.server_seen.peer_role, DILOS__ROLE__ROLE_OPERATOR);
    EXPECT_STR(h.server_seen.peer_name, "cli");
    EXPECT_EQ(h.client_seen.peer_role, DILOS__ROLE__ROLE_CONTROLLER);
    EXPECT_STR(h.client_seen.peer_name, "ctl");
    EXPECT_EQ(h.client_seen.peer_epoch, 7);
    for (unsigned i = 0; i < 100; i++) {
        EXPECT_EQ(ask(connection, METHOD_ECHO, i, 0, &outcome), 0);
        EXPECT_EQ(outcome.reply_count, i);
        EXPECT(harness_until(&h, &outcome.reply_count, i + 1));
        EXPECT_EQ(outcome.value, i);
    }
    EXPECT_EQ(h.handled_count, 100);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_replies_in_another_order(void)
{
    struct harness h;
    struct outcome outcomes[3] = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(ask(rpc_client_connection(client), METHOD_HOLD, 0, 0, &outcomes[i]), 0);
    }
    EXPECT(harness_until(&h, &h.held_count, 3));
    release_held(&h, 2, 102);
    release_held(&h, 0, 100);
    EXPECT(harness_until(&h, &outcomes[0].reply_count, 1));
    EXPECT_EQ(outcomes[2].value, 102);
    EXPECT_EQ(outcomes[0].value, 100);
    EXPECT_EQ(outcomes[1].reply_count, 0);
    release_held(&h, 1, 101);
    EXPECT(harness_until(&h, &outcomes[1].reply_count, 1));
    EXPECT_EQ(outcomes[1].value, 101);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_errors_reach_the_caller(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    struct rpc_connection *connection = rpc_client_connection(client);
    EXPECT_EQ(ask(connection, METHOD_FAIL, 0, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.error_count, 1));
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_NOT_FOUND);
    EXPECT_STR(outcome.message, "no such thing");
    EXPECT_EQ(ask(connection, METHOD_UNKNOWN, 0, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.error_count, 2));
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_INVALID);
    EXPECT(strstr(outcome.message, "unknown message 999") != NULL);
    EXPECT_EQ(ask(connection, METHOD_AGENT, 0, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.error_count, 3));
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_REFUSED);
    EXPECT_EQ(h.handled_count, 0);
    /* The connection has stayed through all of that. */
    EXPECT_EQ(ask(connection, METHOD_ECHO, 5, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.reply_count, 1));
    struct rpc_counters counters;
    rpc_server_counters(h.server, &counters);
    EXPECT_EQ(counters.requests_refused, 2);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_right_role_may(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_AGENT, RETRY_MS);
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_AGENT, 3, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.reply_count, 1));
    EXPECT_EQ(outcome.value, 3);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_timeout_then_late_reply(void)
{
    struct harness h;
    struct outcome outcome = {0};
    struct rpc_counters counters;
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    const struct rpc_connection *connection = rpc_client_connection(client);
    uint64_t frames = rpc_connection_frames(connection);
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_HOLD, 0, 20, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.error_count, 1));
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_TIMEOUT);
    EXPECT_EQ(rpc_connection_frames(connection), frames);
    EXPECT(harness_until(&h, &h.held_count, 1));
    release_held(&h, 0, 9);
    harness_settle(&h);
    EXPECT_EQ(outcome.reply_count, 0);
    EXPECT_EQ(outcome.error_count, 1);
    rpc_client_counters(client, &counters);
    EXPECT_EQ(counters.replies_late, 1);
    EXPECT_EQ(rpc_connection_frames(connection), frames + 1);
    EXPECT(rpc_client_connection(client) != NULL);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_notices(void)
{
    struct harness h;
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    struct rpc_counters counters;
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_MEMNODE, RETRY_MS);
    struct rpc_connection *connection = rpc_client_connection(client);
    EXPECT_EQ(rpc_notify(connection, METHOD_UNKNOWN, &filter.base), 0);
    EXPECT_EQ(rpc_notify(connection, METHOD_NOTICE, &filter.base), 0);
    EXPECT(harness_until(&h, &h.notice_count, 1));
    rpc_server_counters(h.server, &counters);
    EXPECT_EQ(counters.notices_dropped, 1);
    EXPECT_EQ(h.server_seen.close_count, 0);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_close_with_calls_in_flight(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_EQ(ask(rpc_client_connection(client), METHOD_HOLD, 0, 60000, &outcome), 0);
    }
    EXPECT(harness_until(&h, &h.held_count, 5));
    rpc_connection_close(h.server_seen.connection, "enough");
    EXPECT(harness_until(&h, &outcome.error_count, 5));
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_UNAVAILABLE);
    EXPECT_EQ(h.server_seen.close_error, -ECANCELED);
    EXPECT_STR(h.server_seen.close_reason, "enough");
    /* Requests outlive their connection until they are answered. */
    EXPECT(rpc_request_connection(h.held[0]) == NULL);
    EXPECT_STR(rpc_request_peer(h.held[0])->name, "cli");
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_too_many_calls(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    struct rpc_connection *connection = rpc_client_connection(client);
    for (unsigned i = 0; i < RPC_CALLS_MAX; i++) {
        EXPECT_EQ(ask(connection, METHOD_HOLD, 0, 0, &outcome), 0);
    }
    EXPECT_EQ(ask(connection, METHOD_HOLD, 0, 0, &outcome), -ENOBUFS);
    EXPECT(harness_until(&h, &h.held_count, RPC_CALLS_MAX));
    release_held(&h, 0, 0);
    EXPECT(harness_until(&h, &outcome.reply_count, 1));
    EXPECT_EQ(ask(connection, METHOD_ECHO, 0, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.reply_count, 2));
    (void)rpc_client_close(client);
    EXPECT_EQ(outcome.error_count, RPC_CALLS_MAX - 1);
    harness_fini(&h);
}

static void test_own_body_above_the_limits(void)
{
    struct harness h;
    struct outcome outcome = {0};
    static char name[RPC_FIELD_BYTES_MAX + 2];
    Dilos__NameRef ref = DILOS__NAME_REF__INIT;
    memset(name, 'x', sizeof(name) - 1);
    ref.name = name;
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    EXPECT_EQ(rpc_notify(rpc_client_connection(client), METHOD_NAME, &ref.base), -EMSGSIZE);
    EXPECT_EQ(outcome.error_count, 0);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_handler_closes_its_connection(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    h.close_in_handler = true;
    struct rpc_client *client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, 0);
    EXPECT(harness_until(&h, &h.client_seen.open_count, 1));
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_ECHO, 1, 0, &outcome), 0);
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_ECHO, 2, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.error_count, 2));
    EXPECT_EQ(h.handled_count, 1);
    EXPECT_EQ(h.server_seen.close_count, 1);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static struct rpc_client *closing_client;

static void close_in_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    unsigned *count = context;
    ++*count;
    /* Closing completes the other calls too, so this runs again inside. */
    struct rpc_client *client = closing_client;
    closing_client = NULL;
    (void)rpc_client_close(client);
}

static void test_client_closed_in_its_own_completion(void)
{
    struct harness h;
    unsigned count = 0;
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    harness_init(&h);
    closing_client = harness_client(&h, DILOS__ROLE__ROLE_OPERATOR, RETRY_MS);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(rpc_call(rpc_client_connection(closing_client), METHOD_ECHO, &filter.base,
                           STATUS_REPLY, 0, close_in_done, &count),
                  0);
    }
    EXPECT(harness_until(&h, &count, 3));
    EXPECT(closing_client == NULL);
    EXPECT_EQ(h.client_seen.close_count, 1);
    harness_fini(&h);
}

int main(void)
{
    TAP_RUN(test_round_trips);
    TAP_RUN(test_replies_in_another_order);
    TAP_RUN(test_errors_reach_the_caller);
    TAP_RUN(test_right_role_may);
    TAP_RUN(test_timeout_then_late_reply);
    TAP_RUN(test_notices);
    TAP_RUN(test_close_with_calls_in_flight);
    TAP_RUN(test_too_many_calls);
    TAP_RUN(test_own_body_above_the_limits);
    TAP_RUN(test_handler_closes_its_connection);
    TAP_RUN(test_client_closed_in_its_own_completion);
    return tap_done();
}
