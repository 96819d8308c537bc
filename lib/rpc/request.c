/* SPDX-License-Identifier: Apache-2.0 */
/* The peer's requests and notices: found in the table of methods, parsed, handled, answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/rpc/body.h"
#include "lib/rpc/connection.h"
#include "lib/rpc/limits.h"

struct rpc_request {
    struct list link;
    struct rpc_connection *connection; /* held until the answer, also when it is CLOSED */
    uint64_t id;
    uint16_t type;
};

static struct list *bucket(struct rpc_connection *connection, uint64_t id)
{
    return &connection->requests[id % RPC_BUCKET_COUNT];
}

static bool is_in_flight(struct rpc_connection *connection, uint64_t id)
{
    list_for_each (node, bucket(connection, id)) {
        if (list_entry(node, struct rpc_request, link)->id == id) {
            return true;
        }
    }
    return false;
}

const struct rpc_peer *rpc_request_peer(const struct rpc_request *request)
{
    return &request->connection->peer;
}

struct rpc_connection *rpc_request_connection(const struct rpc_request *request)
{
    return request->connection->state == CONNECTION_CLOSED ? NULL : request->connection;
}

/* The answer is given: forgets the request. */
static void finish(struct rpc_request *request)
{
    struct rpc_connection *connection = request->connection;
    if (connection->state != CONNECTION_CLOSED) {
        connection->request_count--;
    }
    list_remove(&request->link);
    free(request);
    connection_release(connection);
}

void rpc_reply(struct rpc_request *request, const ProtobufCMessage *body)
{
    struct rpc_connection *connection = request->connection;
    int error = connection_send(connection, request->type, FRAME_REPLY, request->id, body);
    if (error == -EMSGSIZE) {
        connection_send_error(
            connection, request->type, request->id, DILOS__ERROR_CODE__ERROR_INTERNAL,
            "the reply breaks a limit of the protocol", "ask for less at once, and report this");
    } else if (error == -ENOBUFS) {
        connection_fail(connection, error, "the peer doesn't read what it is sent");
    }
    finish(request);
}

void rpc_fail(struct rpc_request *request, Dilos__ErrorCode code, const char *message,
              const char *remedy)
{
    connection_send_error(request->connection, request->type, request->id, code, message, remedy);
    finish(request);
}

static const struct rpc_method *find_method(const struct rpc_connection *connection, uint16_t type)
{
    const struct rpc_callbacks *callbacks = &connection->side->callbacks;
    for (uint32_t i = 0; i < callbacks->method_count; i++) {
        if (callbacks->methods[i].type == type) {
            return &callbacks->methods[i];
        }
    }
    return NULL;
}

/* Refuses one message; the connection stays. */
static void refuse(struct rpc_connection *connection, const struct frame_header *header,
                   Dilos__ErrorCode code, const char *message, const char *remedy)
{
    if ((header->flags & FRAME_NOTICE) != 0) {
        connection->side->counters.notices_dropped++;
        return;
    }
    connection->side->counters.requests_refused++;
    connection_send_error(connection, header->type, header->request_id, code, message, remedy);
}

static const char *role_name(Dilos__Role role)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&dilos__role__descriptor, (int)role);
    return value == NULL ? "unknown" : value->name;
}

static bool role_may(const struct rpc_connection *connection, const struct rpc_method *method)
{
    unsigned role = (unsigned)connection->peer.role;
    return role < 32 && (method->roles >> role & 1) != 0;
}

/* NULL, and refused, when this message is not to be handled. */
static const struct rpc_method *admit(struct rpc_connection *connection,
                                      const struct frame_header *header)
{
    char message[RPC_REASON_BYTES];
    const struct rpc_method *method = find_method(connection, header->type);
    if (method == NULL) {
        (void)snprintf(message, sizeof(message), "unknown message %u", header->type);
        refuse(connection, header, DILOS__ERROR_CODE__ERROR_INVALID, message,
               "install the same release of DiLOS on both sides");
        return NULL;
    }
    if (method->notice != ((header->flags & FRAME_NOTICE) != 0)) {
        (void)snprintf(message, sizeof(message), "message %u must come as a %s", header->type,
                       method->notice ? "notice" : "request");
        refuse(connection, header, DILOS__ERROR_CODE__ERROR_INVALID, message,
               "install the same release of DiLOS on both sides");
        return NULL;
    }
    if (!role_may(connection, method)) {
        (void)snprintf(message, sizeof(message), "%s may not send message %u",
                       role_name(connection->peer.role), header->type);
        refuse(connection, header, DILOS__ERROR_CODE__ERROR_REFUSED, message,
               "connect in a role that may");
        return NULL;
    }
    if (connection->request_count >= RPC_REQUESTS_MAX && (header->flags & FRAME_NOTICE) == 0) {
        (void)snprintf(message, sizeof(message), "%u requests of this connection are in flight",
                       connection->request_count);
        refuse(connection, header, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, message,
               "wait for replies before asking more");
        return NULL;
    }
    return method;
}

static struct rpc_request *remember(struct rpc_connection *connection,
                                    const struct frame_header *header)
{
    struct rpc_request *request = malloc(sizeof(*request));
    if (request == NULL) {
        return NULL;
    }
    request->connection = connection;
    request->id = header->request_id;
    request->type = header->type;
    connection_hold(connection);
    connection->request_count++;
    list_append(bucket(connection, request->id), &request->link);
    return request;
}

static void body_refused(struct rpc_connection *connection, const struct frame_header *header,
                         int error, const char *why)
{
    if ((header->flags & FRAME_NOTICE) == 0) {
        connection_send_error(connection, header->type, header->request_id,
                              DILOS__ERROR_CODE__ERROR_INVALID, why, "");
    }
    connection_fail(connection, error, "message %u can't be accepted: %s", header->type, why);
}

void request_frame(struct rpc_connection *connection, const struct frame_header *header,
                   const uint8_t *body)
{
    char why[RPC_WHY_BYTES];
    ProtobufCMessage *message;
    struct rpc_request *request = NULL;
    bool notice = (header->flags & FRAME_NOTICE) != 0;
    if (!notice && is_in_flight(connection, header->request_id)) {
        connection_fail(connection, -EPROTO, "the peer used request id %llu twice at once",
                        (unsigned long long)header->request_id);
        return;
    }
    const struct rpc_method *method = admit(connection, header);
    if (method == NULL) {
        return;
    }
    int error = rpc_body_unpack(method->body, body, header->length, &message, why);
    if (error != 0) {
        body_refused(connection, header, error, why);
        return;
    }
    if (!notice) {
        request = remember(connection, header);
    }
    if (notice || request != NULL) {
        method->handle(connection->side->callbacks.context, connection, request, message);
    } else {
        connection_fail(connection, -ENOMEM, "out of memory for a request");
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

void request_detach_all(struct rpc_connection *connection)
{
    for (size_t i = 0; i < RPC_BUCKET_COUNT; i++) {
        while (!list_empty(&connection->requests[i])) {
            list_remove(list_first(&connection->requests[i]));
        }
    }
    connection->request_count = 0;
}
