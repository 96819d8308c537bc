/* SPDX-License-Identifier: Apache-2.0 */
/* Our own requests: each waits in a table by its id until the reply, its deadline, or the end. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/check.h"
#include "lib/rpc/body.h"
#include "lib/rpc/connection.h"
#include "lib/rpc/limits.h"

struct call {
    struct list link;
    struct rpc_connection *connection;
    uint64_t id;
    uint16_t type;
    const ProtobufCMessageDescriptor *reply_type;
    rpc_done *done;
    void *context;
    struct event *timer; /* NULL: no deadline */
};

static struct list *bucket(struct rpc_connection *connection, uint64_t id)
{
    return &connection->calls[id % RPC_BUCKET_COUNT];
}

static struct call *find(struct rpc_connection *connection, uint64_t id)
{
    list_for_each (node, bucket(connection, id)) {
        struct call *call = list_entry(node, struct call, link);
        if (call->id == id) {
            return call;
        }
    }
    return NULL;
}

/* Takes the call out of the table; from then on nothing but its caller's completion knows it. */
static void forget(struct call *call)
{
    list_remove(&call->link);
    call->connection->call_count--;
    if (call->timer != NULL) {
        event_free(call->timer);
    }
}

/* Completes a forgotten call and frees it. The callback may close anything. */
static void complete(struct call *call, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    rpc_done *done = call->done;
    void *context = call->context;
    free(call);
    done(context, reply, error);
}

static void complete_failed(struct call *call, Dilos__ErrorCode code, const char *message)
{
    Dilos__Error error = DILOS__ERROR__INIT;
    char text[RPC_REASON_BYTES];
    (void)snprintf(text, sizeof(text), "%s", message);
    error.code = code;
    error.message = text;
    complete(call, NULL, &error);
}

static void on_deadline(evutil_socket_t fd, short events, void *context)
{
    struct call *call = context;
    char text[RPC_REASON_BYTES];
    (void)snprintf(text, sizeof(text), "%s (%s) didn't answer in time", call->connection->peer.name,
                   call->connection->peer.address);
    forget(call);
    complete_failed(call, DILOS__ERROR_CODE__ERROR_TIMEOUT, text);
}

static int set_deadline(struct call *call, uint32_t timeout_ms)
{
    if (timeout_ms == 0) {
        return 0;
    }
    struct timeval after = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    call->timer = evtimer_new(connection_base(call->connection), on_deadline, call);
    if (call->timer == NULL) {
        return -ENOBUFS;
    }
    return evtimer_add(call->timer, &after) == 0 ? 0 : -ENOBUFS;
}

static void abandon(struct call *call)
{
    if (call->timer != NULL) {
        event_free(call->timer);
    }
    free(call);
}

int rpc_call(struct rpc_connection *connection, uint16_t type, const ProtobufCMessage *body,
             const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms, rpc_done *done,
             void *context)
{
    if (connection->state != CONNECTION_OPEN) {
        return -ENOTCONN;
    }
    if (connection->call_count >= RPC_CALLS_MAX) {
        return -ENOBUFS;
    }
    struct call *call = malloc(sizeof(*call));
    if (call == NULL) {
        return -ENOBUFS;
    }
    *call = (struct call){.connection = connection,
                          .id = connection->call_id_next,
                          .type = type,
                          .reply_type = reply_type,
                          .done = done,
                          .context = context};
    int error = set_deadline(call, timeout_ms);
    if (error == 0) {
        error = connection_send(connection, type, 0, call->id, body);
    }
    if (error != 0) {
        abandon(call);
        return error;
    }
    connection->call_id_next++;
    connection->call_count++;
    list_append(bucket(connection, call->id), &call->link);
    return 0;
}

int rpc_notify(struct rpc_connection *connection, uint16_t type, const ProtobufCMessage *body)
{
    if (connection->state != CONNECTION_OPEN) {
        return -ENOTCONN;
    }
    return connection_send(connection, type, FRAME_NOTICE, 0, body);
}

/* A reply for which nobody waits: late, or one that was never asked for. */
static void unexpected(struct rpc_connection *connection, uint64_t id)
{
    if (id < connection->call_id_next) {
        connection->side->counters.replies_late++;
    } else {
        connection_fail(connection, -EPROTO, "the peer answered request %llu, which was not made",
                        (unsigned long long)id);
    }
}

void call_frame(struct rpc_connection *connection, const struct frame_header *header,
                const uint8_t *body)
{
    struct call *call = find(connection, header->request_id);
    if (call == NULL) {
        unexpected(connection, header->request_id);
        return;
    }
    if (header->type != call->type) {
        connection_fail(connection, -EPROTO, "the peer answered message %u with message %u",
                        call->type, header->type);
        return;
    }
    char why[RPC_WHY_BYTES];
    ProtobufCMessage *message;
    bool is_error = (header->flags & FRAME_ERROR) != 0;
    forget(call);
    int error = rpc_body_unpack(is_error ? &dilos__error__descriptor : call->reply_type, body,
                                header->length, &message, why);
    if (error != 0) {
        connection_fail(connection, error, "a reply can't be parsed: %s", why);
        complete_failed(call, DILOS__ERROR_CODE__ERROR_INTERNAL, why);
        return;
    }
    complete(call, is_error ? NULL : message, is_error ? (const Dilos__Error *)message : NULL);
    protobuf_c_message_free_unpacked(message, NULL);
}

void call_fail_all(struct rpc_connection *connection, Dilos__ErrorCode code, const char *message)
{
    for (size_t i = 0; i < RPC_BUCKET_COUNT; i++) {
        while (!list_empty(&connection->calls[i])) {
            struct call *call = list_entry(list_first(&connection->calls[i]), struct call, link);
            forget(call);
            complete_failed(call, code, message);
        }
    }
    CHECK(connection->call_count == 0);
}
