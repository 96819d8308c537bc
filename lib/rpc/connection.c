/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/rpc/connection.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/state.h"
#include "lib/rpc/body.h"
#include "lib/rpc/limits.h"

static const uint32_t moves[] = {
    [CONNECTION_CONNECTING] =
        STATE_TO(CONNECTION_GREETING) | STATE_TO(CONNECTION_CLOSING) | STATE_TO(CONNECTION_CLOSED),
    [CONNECTION_GREETING] =
        STATE_TO(CONNECTION_OPEN) | STATE_TO(CONNECTION_CLOSING) | STATE_TO(CONNECTION_CLOSED),
    [CONNECTION_OPEN] = STATE_TO(CONNECTION_CLOSING) | STATE_TO(CONNECTION_CLOSED),
    [CONNECTION_CLOSING] = STATE_TO(CONNECTION_CLOSED),
    [CONNECTION_CLOSED] = 0,
};

void connection_move(struct rpc_connection *connection, enum connection_state to)
{
    CHECK(state_may_move(moves, connection->state, to));
    connection->state = to;
}

int rpc_side_init(struct rpc_side *side, const struct rpc_identity *identity,
                  const struct rpc_callbacks *callbacks)
{
    *side = (struct rpc_side){.role = identity->role, .callbacks = *callbacks};
    side->name = strdup(identity->name);
    return side->name == NULL ? -ENOMEM : 0;
}

void rpc_side_fini(struct rpc_side *side)
{
    free(side->name);
    side->name = NULL;
}

struct event_base *connection_base(const struct rpc_connection *connection)
{
    return event_get_base(connection->timer);
}

void connection_hold(struct rpc_connection *connection)
{
    connection->references++;
}

static void connection_free(struct rpc_connection *connection)
{
    if (connection->stream != NULL) {
        bufferevent_free(connection->stream);
    }
    if (connection->timer != NULL) {
        event_free(connection->timer);
    }
    free((char *)(uintptr_t)connection->peer.name);
    free((char *)(uintptr_t)connection->peer.build);
    free((char *)(uintptr_t)connection->peer.address);
    free(connection);
}

void connection_release(struct rpc_connection *connection)
{
    CHECK(connection->references > 0);
    if (--connection->references == 0) {
        connection_free(connection);
    }
}

void connection_set_timer(struct rpc_connection *connection, uint32_t after_ms)
{
    struct timeval after = {.tv_sec = after_ms / 1000, .tv_usec = after_ms % 1000 * 1000};
    int error = evtimer_add(connection->timer, &after);
    CHECK(error == 0);
}

void connection_finish(struct rpc_connection *connection, int error, const char *reason)
{
    if (connection->state == CONNECTION_CLOSED) {
        return;
    }
    if (connection->state != CONNECTION_CLOSING) {
        connection->close_error = error;
        (void)snprintf(connection->close_reason, sizeof(connection->close_reason), "%s", reason);
    }
    struct rpc_callbacks callbacks = connection->side->callbacks;
    connection_hold(connection);
    connection_move(connection, CONNECTION_CLOSED);
    (void)event_del(connection->timer);
    bufferevent_free(connection->stream);
    connection->stream = NULL;
    connection->closed(connection->owner, connection);
    /* From here on the owner may go away in a callback. */
    call_fail_all(connection, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, connection->close_reason);
    request_detach_all(connection);
    if (callbacks.on_close != NULL) {
        callbacks.on_close(callbacks.context, connection, connection->close_error,
                           connection->close_reason);
    }
    connection_release(connection); /* ours */
    connection_release(connection); /* the owner's */
}

/* Error 0 and -ECANCELED are orderly; whatever else was decided here the peer has caused. */
static void begin_closing(struct rpc_connection *connection, int error)
{
    connection->close_error = error;
    connection_move(connection, CONNECTION_CLOSING);
    (void)bufferevent_disable(connection->stream, EV_READ);
    bool unsent = evbuffer_get_length(bufferevent_get_output(connection->stream)) > 0;
    connection_set_timer(connection, unsent ? RPC_LINGER_MS : 0);
}

void connection_fail(struct rpc_connection *connection, int error, const char *format, ...)
{
    if (connection->state >= CONNECTION_CLOSING) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(connection->close_reason, sizeof(connection->close_reason), format, arguments);
    va_end(arguments);
    connection->side->counters.connections_broken++;
    begin_closing(connection, error);
}

void rpc_connection_close(struct rpc_connection *connection, const char *reason)
{
    if (connection->state >= CONNECTION_CLOSING) {
        return;
    }
    (void)snprintf(connection->close_reason, sizeof(connection->close_reason), "%s", reason);
    begin_closing(connection, -ECANCELED);
}

static void explain_bad_frame(struct rpc_connection *connection, int error)
{
    switch (error) {
    case -EPROTONOSUPPORT:
        connection_fail(connection, error, "the peer's frames have another version than %u",
                        FRAME_VERSION);
        break;
    case -EMSGSIZE:
        connection_fail(connection, error, "the peer sent a frame above the limit of %u bytes",
                        FRAME_BODY_BYTES_MAX);
        break;
    default:
        connection_fail(connection, error, "the peer sent what is no frame of this protocol");
        break;
    }
}

static void dispatch(struct rpc_connection *connection, const struct frame_header *header,
                     const uint8_t *body)
{
    if (connection->state != CONNECTION_OPEN) {
        hello_frame(connection, header, body);
    } else if (header->type == DILOS__MESSAGE_TYPE__MESSAGE_HELLO) {
        connection_fail(connection, -EPROTO, "the peer said HELLO twice");
    } else if ((header->flags & FRAME_REPLY) != 0) {
        call_frame(connection, header, body);
    } else {
        request_frame(connection, header, body);
    }
}

/* Takes one whole frame out of the input, if there is one. */
static bool read_frame(struct rpc_connection *connection)
{
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    uint8_t data[FRAME_HEADER_BYTES];
    struct frame_header header;
    if (evbuffer_copyout(input, data, sizeof(data)) < (ev_ssize_t)sizeof(data)) {
        return false;
    }
    int error = frame_decode(data, &header);
    if (error != 0) {
        explain_bad_frame(connection, error);
        return false;
    }
    size_t bytes = FRAME_HEADER_BYTES + (size_t)header.length;
    if (evbuffer_get_length(input) < bytes) {
        return false;
    }
    const uint8_t *frame = evbuffer_pullup(input, (ev_ssize_t)bytes);
    if (frame == NULL) {
        connection_fail(connection, -ENOMEM, "out of memory for a frame of %zu bytes", bytes);
        return false;
    }
    connection->frame_count++;
    dispatch(connection, &header, frame + FRAME_HEADER_BYTES);
    if (connection->state >= CONNECTION_CLOSING) {
        return false;
    }
    (void)evbuffer_drain(input, bytes);
    return true;
}

static void on_readable(struct bufferevent *stream, void *context)
{
    struct rpc_connection *connection = context;
    connection_hold(connection);
    while (connection->state < CONNECTION_CLOSING && read_frame(connection)) {
    }
    connection_release(connection);
}

/* All output is sent. */
static void on_sent(struct bufferevent *stream, void *context)
{
    struct rpc_connection *connection = context;
    if (connection->state == CONNECTION_CLOSING) {
        connection_finish(connection, 0, "");
    }
}

static void on_stream_end(struct rpc_connection *connection, short events)
{
    int socket_error = EVUTIL_SOCKET_ERROR();
    if ((events & BEV_EVENT_EOF) != 0) {
        if (evbuffer_get_length(bufferevent_get_input(connection->stream)) > 0) {
            connection_finish(connection, -EPROTO, "the peer closed in the middle of a frame");
        } else {
            connection_finish(connection, 0, "the peer closed the connection");
        }
        return;
    }
    char reason[RPC_REASON_BYTES];
    int error = socket_error == 0 ? -EIO : -socket_error;
    (void)snprintf(reason, sizeof(reason), "%s: %s",
                   connection->state == CONNECTION_CONNECTING ? "can't connect"
                                                              : "the connection broke",
                   strerror(-error));
    connection_finish(connection, error, reason);
}

static void on_stream_event(struct bufferevent *stream, short events, void *context)
{
    struct rpc_connection *connection = context;
    if ((events & BEV_EVENT_CONNECTED) == 0) {
        on_stream_end(connection, events);
    } else if (connection->state == CONNECTION_CONNECTING) {
        connection_move(connection, CONNECTION_GREETING);
        hello_start(connection);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    struct rpc_connection *connection = context;
    switch (connection->state) {
    case CONNECTION_CONNECTING:
        connection_finish(connection, -ETIMEDOUT, "can't connect: no answer in time");
        break;
    case CONNECTION_GREETING:
        connection->side->counters.connections_broken++;
        connection_finish(connection, -ETIMEDOUT, "the peer didn't say HELLO in time");
        break;
    default:
        connection_finish(connection, 0, ""); /* has lingered; the reason is kept already */
        break;
    }
}

static void connection_init(struct rpc_connection *connection, struct rpc_side *side,
                            bool initiator)
{
    connection->state = initiator ? CONNECTION_CONNECTING : CONNECTION_GREETING;
    connection->references = 1;
    connection->side = side;
    connection->initiator = initiator;
    connection->call_id_next = 1;
    list_init(&connection->link);
    for (size_t i = 0; i < RPC_BUCKET_COUNT; i++) {
        list_init(&connection->requests[i]);
        list_init(&connection->calls[i]);
    }
}

int connection_open(struct event_base *base, struct rpc_side *side, int fd, bool initiator,
                    const char *address, struct rpc_connection **ret)
{
    struct rpc_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        return -ENOMEM;
    }
    connection_init(connection, side, initiator);
    connection->timer = evtimer_new(base, on_timer, connection);
    connection->peer.name = strdup("");
    connection->peer.build = strdup("");
    connection->peer.address = strdup(address);
    if (connection->timer == NULL || connection->peer.name == NULL ||
        connection->peer.build == NULL || connection->peer.address == NULL) {
        connection_free(connection);
        return -ENOMEM;
    }
    connection->stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (connection->stream == NULL) {
        connection_free(connection);
        return -ENOMEM;
    }
    bufferevent_setcb(connection->stream, on_readable, on_sent, on_stream_event, connection);
    /* One whole frame always fits; beyond it reading pauses until that frame is handled. */
    bufferevent_setwatermark(connection->stream, EV_READ, 0,
                             FRAME_HEADER_BYTES + FRAME_BODY_BYTES_MAX);
    connection_set_timer(connection, initiator ? RPC_CONNECT_MS : RPC_HELLO_MS);
    (void)bufferevent_enable(connection->stream, EV_READ | EV_WRITE);
    *ret = connection;
    return 0;
}

int connection_send(struct rpc_connection *connection, uint16_t type, uint16_t flags, uint64_t id,
                    const ProtobufCMessage *body)
{
    char why[RPC_WHY_BYTES];
    if (connection->state >= CONNECTION_CLOSING) {
        return -ENOTCONN;
    }
    if (body != NULL && rpc_body_check(body, why) != 0) {
        return -EMSGSIZE;
    }
    size_t length = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
    if (length > FRAME_BODY_BYTES_MAX) {
        return -EMSGSIZE;
    }
    struct evbuffer *output = bufferevent_get_output(connection->stream);
    struct evbuffer_iovec room;
    size_t bytes = FRAME_HEADER_BYTES + length;
    if (evbuffer_get_length(output) + bytes > RPC_OUTPUT_BYTES_MAX ||
        evbuffer_reserve_space(output, (ev_ssize_t)bytes, &room, 1) != 1) {
        return -ENOBUFS;
    }
    struct frame_header header = {
        .type = type, .flags = flags, .length = (uint32_t)length, .request_id = id};
    frame_encode(&header, room.iov_base);
    if (length > 0) {
        size_t packed =
            protobuf_c_message_pack(body, (uint8_t *)room.iov_base + FRAME_HEADER_BYTES);
        CHECK(packed == length);
    }
    room.iov_len = bytes;
    int error = evbuffer_commit_space(output, &room, 1);
    CHECK(error == 0);
    return 0;
}

void connection_send_error(struct rpc_connection *connection, uint16_t type, uint64_t id,
                           Dilos__ErrorCode code, const char *message, const char *remedy)
{
    char message_text[RPC_FIELD_BYTES_MAX + 1];
    char remedy_text[RPC_FIELD_BYTES_MAX + 1];
    Dilos__Error body = DILOS__ERROR__INIT;
    (void)snprintf(message_text, sizeof(message_text), "%s", message == NULL ? "" : message);
    (void)snprintf(remedy_text, sizeof(remedy_text), "%s", remedy == NULL ? "" : remedy);
    body.code = code;
    body.message = message_text;
    body.remedy = remedy_text;
    if (connection_send(connection, type, FRAME_REPLY | FRAME_ERROR, id, &body.base) == -ENOBUFS) {
        connection_fail(connection, -ENOBUFS, "the peer doesn't read what it is sent");
    }
}

const struct rpc_peer *rpc_connection_peer(const struct rpc_connection *connection)
{
    return &connection->peer;
}

uint64_t rpc_connection_frames(const struct rpc_connection *connection)
{
    return connection->frame_count;
}

void rpc_connection_set_data(struct rpc_connection *connection, void *data)
{
    connection->data = data;
}

void *rpc_connection_data(const struct rpc_connection *connection)
{
    return connection->data;
}
