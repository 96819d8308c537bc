/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first frames of a connection. Whoever connected says HELLO with its range of versions; the
 * other answers with the highest version that both have, or with Error VERSION.
 *
 * The name and role of a peer are what it says here. That is enough on a unix socket and on
 * loopback; once there is TLS, the certificate says who the peer is and HELLO only has to agree.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rpc/body.h"
#include "lib/rpc/connection.h"
#include "lib/rpc/limits.h"

#define HELLO_ID   1
#define HELLO_TYPE DILOS__MESSAGE_TYPE__MESSAGE_HELLO

static char build_text[] = "dilos " DILOS_VERSION;

static bool is_readable(const char *text, size_t length_min)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }
    return length >= length_min && length <= RPC_NAME_BYTES_MAX;
}

static bool replace(const char **text, const char *with)
{
    char *copy = strdup(with);
    if (copy == NULL) {
        return false;
    }
    free((char *)(uintptr_t)*text);
    *text = copy;
    return true;
}

static void become_open(struct rpc_connection *connection, const char *name, const char *build,
                        Dilos__Role role)
{
    struct rpc_callbacks callbacks = connection->side->callbacks;
    if (!replace(&connection->peer.name, name) || !replace(&connection->peer.build, build)) {
        connection_fail(connection, -ENOMEM, "out of memory");
        return;
    }
    connection->peer.role = role;
    (void)event_del(connection->timer);
    connection_move(connection, CONNECTION_OPEN);
    if (callbacks.on_open != NULL) {
        callbacks.on_open(callbacks.context, connection);
    }
}

void hello_start(struct rpc_connection *connection)
{
    Dilos__Hello hello = DILOS__HELLO__INIT;
    hello.role = connection->side->role;
    hello.name = connection->side->name;
    hello.version_min = RPC_VERSION_MIN;
    hello.version_max = RPC_VERSION_MAX;
    hello.build = build_text;
    connection->call_id_next = HELLO_ID + 1;
    connection_set_timer(connection, RPC_HELLO_MS);
    int error = connection_send(connection, HELLO_TYPE, 0, HELLO_ID, &hello.base);
    if (error != 0) {
        connection_fail(connection, error, "can't send HELLO");
    }
}

static int send_reply(struct rpc_connection *connection, uint64_t id, uint32_t version)
{
    Dilos__HelloReply reply = DILOS__HELLO_REPLY__INIT;
    reply.version = version;
    reply.epoch = connection->side->epoch;
    reply.name = connection->side->name;
    reply.role = connection->side->role;
    reply.build = build_text;
    return connection_send(connection, HELLO_TYPE, FRAME_REPLY, id, &reply.base);
}

/* Answers with an error, then closes. */
static void refuse(struct rpc_connection *connection, uint64_t id, Dilos__ErrorCode code,
                   const char *message, const char *remedy)
{
    connection_send_error(connection, HELLO_TYPE, id, code, message, remedy);
    connection_fail(connection,
                    code == DILOS__ERROR_CODE__ERROR_VERSION ? -EPROTONOSUPPORT : -EPROTO, "%s",
                    message);
}

static void refuse_version(struct rpc_connection *connection, uint64_t id,
                           const Dilos__Hello *hello)
{
    char message[RPC_REASON_BYTES];
    (void)snprintf(message, sizeof(message),
                   "no common protocol version: %s speaks %u to %u, %s speaks %u to %u",
                   connection->side->name, RPC_VERSION_MIN, RPC_VERSION_MAX, hello->name,
                   hello->version_min, hello->version_max);
    refuse(connection, id, DILOS__ERROR_CODE__ERROR_VERSION, message,
           "install the same release of DiLOS on both sides");
}

static void accept_hello(struct rpc_connection *connection, uint64_t id, const Dilos__Hello *hello)
{
    if (hello->role == DILOS__ROLE__ROLE_UNKNOWN || !is_readable(hello->name, 1) ||
        !is_readable(hello->build, 0)) {
        refuse(connection, id, DILOS__ERROR_CODE__ERROR_INVALID,
               "HELLO without a role or with an unusable name", "");
        return;
    }
    if (hello->version_min > RPC_VERSION_MAX || hello->version_max < RPC_VERSION_MIN ||
        hello->version_min > hello->version_max) {
        refuse_version(connection, id, hello);
        return;
    }
    connection->peer.version = MIN(hello->version_max, RPC_VERSION_MAX);
    int error = send_reply(connection, id, connection->peer.version);
    if (error != 0) {
        connection_fail(connection, error, "can't answer HELLO");
        return;
    }
    become_open(connection, hello->name, hello->build, hello->role);
}

static void request_received(struct rpc_connection *connection, const struct frame_header *header,
                             const uint8_t *body)
{
    char why[RPC_WHY_BYTES];
    ProtobufCMessage *message;
    int error = rpc_body_unpack(&dilos__hello__descriptor, body, header->length, &message, why);
    if (error != 0) {
        refuse(connection, header->request_id, DILOS__ERROR_CODE__ERROR_INVALID, why, "");
        return;
    }
    accept_hello(connection, header->request_id, (const Dilos__Hello *)message);
    protobuf_c_message_free_unpacked(message, NULL);
}

static void error_received(struct rpc_connection *connection, const Dilos__Error *error)
{
    bool version = error->code == DILOS__ERROR_CODE__ERROR_VERSION;
    connection_fail(connection, version ? -EPROTONOSUPPORT : -ECONNREFUSED,
                    "the peer refused HELLO: %s%s%s", error->message,
                    error->remedy[0] == '\0' ? "" : "; ", error->remedy);
}

static void reply_received(struct rpc_connection *connection, const Dilos__HelloReply *reply)
{
    if (reply->version < RPC_VERSION_MIN || reply->version > RPC_VERSION_MAX ||
        !is_readable(reply->name, 1) || !is_readable(reply->build, 0)) {
        connection_fail(connection, -EPROTO, "the peer's answer to HELLO makes no sense");
        return;
    }
    connection->peer.version = reply->version;
    connection->peer.epoch = reply->epoch;
    become_open(connection, reply->name, reply->build, reply->role);
}

static void answer_received(struct rpc_connection *connection, const struct frame_header *header,
                            const uint8_t *body)
{
    char why[RPC_WHY_BYTES];
    ProtobufCMessage *message;
    bool is_error = (header->flags & FRAME_ERROR) != 0;
    int error =
        rpc_body_unpack(is_error ? &dilos__error__descriptor : &dilos__hello_reply__descriptor,
                        body, header->length, &message, why);
    if (error != 0) {
        connection_fail(connection, error, "the answer to HELLO can't be parsed: %s", why);
        return;
    }
    if (is_error) {
        error_received(connection, (const Dilos__Error *)message);
    } else {
        reply_received(connection, (const Dilos__HelloReply *)message);
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

void hello_frame(struct rpc_connection *connection, const struct frame_header *header,
                 const uint8_t *body)
{
    bool reply = (header->flags & FRAME_REPLY) != 0;
    bool notice = (header->flags & FRAME_NOTICE) != 0;
    bool wrong_answer = connection->initiator && header->request_id != HELLO_ID;
    if (header->type != HELLO_TYPE || reply != connection->initiator || notice || wrong_answer) {
        connection_fail(connection, -EPROTO, "the peer's first frame is not HELLO");
    } else if (reply) {
        answer_received(connection, header, body);
    } else {
        request_received(connection, header, body);
    }
}
