/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"

#define WAIT_STEPS_MAX 4000
#define STEP_US        5000

static void step(struct harness *h)
{
    struct timeval pause = {.tv_usec = STEP_US};
    (void)event_base_loopexit(h->base, &pause);
    (void)event_base_dispatch(h->base);
}

bool harness_until(struct harness *h, const unsigned *counter, unsigned count)
{
    for (int i = 0; i < WAIT_STEPS_MAX && *counter < count; i++) {
        step(h);
    }
    return *counter >= count;
}

void harness_settle(struct harness *h)
{
    for (int i = 0; i < 10; i++) {
        step(h);
    }
}

static void reply_status(struct rpc_request *request, uint64_t value)
{
    Dilos__Status status = DILOS__STATUS__INIT;
    status.epoch = value;
    rpc_reply(request, &status.base);
}

static void on_echo(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    struct harness *h = context;
    h->handled_count++;
    if (h->close_in_handler) {
        rpc_connection_close(connection, "closed by the handler");
    }
    reply_status(request, ((const Dilos__EventFilter *)message)->after);
}

static void on_name(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    struct harness *h = context;
    h->handled_count++;
    reply_status(request, strlen(((const Dilos__NameRef *)message)->name));
}

static void on_hold(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    struct harness *h = context;
    CHECK(h->held_count < HARNESS_HELD_MAX);
    h->held[h->held_count++] = request;
}

static void on_fail(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, "no such thing", "look elsewhere");
}

static void on_notice(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    struct harness *h = context;
    CHECK(request == NULL);
    h->notice_count++;
}

#define ANYONE UINT32_MAX

static const struct rpc_method methods[] = {
    {METHOD_ECHO, &dilos__event_filter__descriptor, on_echo, ANYONE},
    {METHOD_HOLD, &dilos__event_filter__descriptor, on_hold, ANYONE},
    {METHOD_FAIL, &dilos__event_filter__descriptor, on_fail, ANYONE},
    {METHOD_AGENT, &dilos__event_filter__descriptor, on_echo, 1u << DILOS__ROLE__ROLE_AGENT},
    {METHOD_NOTICE, &dilos__event_filter__descriptor, on_notice, ANYONE, .notice = true},
    {METHOD_NAME, &dilos__name_ref__descriptor, on_name, ANYONE},
};

static void note_open(struct seen *seen, struct rpc_connection *connection)
{
    const struct rpc_peer *peer = rpc_connection_peer(connection);
    seen->open_count++;
    seen->connection = connection;
    seen->peer_role = peer->role;
    seen->peer_epoch = peer->epoch;
    (void)snprintf(seen->peer_name, sizeof(seen->peer_name), "%s", peer->name);
}

static void note_close(struct seen *seen, int error, const char *reason)
{
    seen->close_count++;
    seen->connection = NULL;
    seen->close_error = error;
    (void)snprintf(seen->close_reason, sizeof(seen->close_reason), "%s", reason);
}

static void on_server_open(void *context, struct rpc_connection *connection)
{
    struct harness *h = context;
    note_open(&h->server_seen, connection);
}

static void on_server_close(void *context, struct rpc_connection *connection, int error,
                            const char *reason)
{
    struct harness *h = context;
    note_close(&h->server_seen, error, reason);
}

static void on_client_open(void *context, struct rpc_connection *connection)
{
    struct harness *h = context;
    note_open(&h->client_seen, connection);
}

static void on_client_close(void *context, struct rpc_connection *connection, int error,
                            const char *reason)
{
    struct harness *h = context;
    note_close(&h->client_seen, error, reason);
}

void harness_listen(struct harness *h)
{
    struct rpc_identity identity = {DILOS__ROLE__ROLE_CONTROLLER, "ctl"};
    struct rpc_callbacks callbacks = {.methods = methods,
                                      .method_count = ARRAY_LEN(methods),
                                      .on_open = on_server_open,
                                      .on_close = on_server_close,
                                      .context = h};
    int error = rpc_listen(h->base, h->address, false, &identity, &callbacks, &h->server, NULL);
    CHECK(error == 0);
    rpc_server_set_epoch(h->server, 7);
}

void harness_stop(struct harness *h)
{
    h->server = rpc_server_close(h->server);
}

void harness_init(struct harness *h)
{
    memset(h, 0, sizeof(*h));
    (void)snprintf(h->folder, sizeof(h->folder), "/tmp/dilos-rpc-XXXXXX");
    CHECK(mkdtemp(h->folder) != NULL);
    (void)snprintf(h->address, sizeof(h->address), "unix:%s/s", h->folder);
    h->base = event_base_new();
    CHECK(h->base != NULL);
    harness_listen(h);
}

void harness_fini(struct harness *h)
{
    for (unsigned i = 0; i < h->held_count; i++) {
        release_held(h, i, 0);
    }
    harness_stop(h);
    event_base_free(h->base);
    (void)rmdir(h->folder);
}

struct rpc_client *harness_client(struct harness *h, Dilos__Role role, uint32_t retry_ms_max)
{
    struct rpc_client *client = NULL;
    struct rpc_identity identity = {role, "cli"};
    struct rpc_callbacks callbacks = {
        .on_open = on_client_open, .on_close = on_client_close, .context = h};
    unsigned opened = h->client_seen.open_count;
    int error = rpc_client_open(h->base, h->address, retry_ms_max, &identity, &callbacks, &client);
    CHECK(error == 0);
    if (retry_ms_max != 0) {
        CHECK(harness_until(h, &h->client_seen.open_count, opened + 1));
    }
    return client;
}

static void on_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct outcome *outcome = context;
    CHECK((reply == NULL) != (error == NULL));
    if (reply != NULL) {
        outcome->reply_count++;
        outcome->value = ((const Dilos__Status *)reply)->epoch;
    } else {
        outcome->error_count++;
        outcome->code = error->code;
        (void)snprintf(outcome->message, sizeof(outcome->message), "%s", error->message);
    }
}

int ask(struct rpc_connection *connection, uint16_t type, uint64_t value, uint32_t timeout_ms,
        struct outcome *outcome)
{
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    filter.after = value;
    return rpc_call(connection, type, &filter.base, STATUS_REPLY, timeout_ms, on_done, outcome);
}

void release_held(struct harness *h, unsigned index, uint64_t value)
{
    if (h->held[index] != NULL) {
        reply_status(h->held[index], value);
        h->held[index] = NULL;
    }
}

int raw_connect(struct harness *h)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", h->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
    return fd;
}

void raw_send(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t put = send(fd, at, bytes, MSG_NOSIGNAL);
        CHECK(put > 0);
        at += put;
        bytes -= (size_t)put;
    }
}

void raw_send_frame(int fd, uint16_t type, uint16_t flags, uint64_t id,
                    const ProtobufCMessage *body)
{
    static uint8_t data[FRAME_HEADER_BYTES + 65536];
    size_t length = body == NULL ? 0 : protobuf_c_message_get_packed_size(body);
    CHECK(length <= sizeof(data) - FRAME_HEADER_BYTES);
    struct frame_header header = {
        .type = type, .flags = flags, .length = (uint32_t)length, .request_id = id};
    frame_encode(&header, data);
    if (body != NULL) {
        (void)protobuf_c_message_pack(body, data + FRAME_HEADER_BYTES);
    }
    raw_send(fd, data, FRAME_HEADER_BYTES + length);
}

void raw_hello(int fd, Dilos__Role role, const char *name, uint32_t version_min,
               uint32_t version_max)
{
    Dilos__Hello hello = DILOS__HELLO__INIT;
    hello.role = role;
    hello.name = (char *)(uintptr_t)name;
    hello.version_min = version_min;
    hello.version_max = version_max;
    raw_send_frame(fd, DILOS__MESSAGE_TYPE__MESSAGE_HELLO, 0, 1, &hello.base);
}

/* Exactly `bytes`, while the loop runs; false at the end of the stream. */
static bool receive(struct harness *h, int fd, void *to, size_t bytes)
{
    uint8_t *at = to;
    for (int i = 0; i < WAIT_STEPS_MAX && bytes > 0; i++) {
        ssize_t got = recv(fd, at, bytes, MSG_DONTWAIT);
        if (got > 0) {
            at += got;
            bytes -= (size_t)got;
        } else if (got == 0 || errno != EAGAIN) {
            return false;
        } else {
            step(h);
        }
    }
    CHECK(bytes == 0);
    return true;
}

int raw_receive(struct harness *h, int fd, struct frame_header *ret, uint8_t *body)
{
    uint8_t data[FRAME_HEADER_BYTES];
    if (!receive(h, fd, data, sizeof(data))) {
        return -1;
    }
    CHECK(frame_decode(data, ret) == 0);
    CHECK(ret->length <= 4096);
    return receive(h, fd, body, ret->length) ? (int)ret->length : -1;
}

bool raw_receives_error(struct harness *h, int fd, Dilos__ErrorCode code)
{
    uint8_t body[4096];
    struct frame_header header;
    int length = raw_receive(h, fd, &header, body);
    if (length < 0 || header.flags != (FRAME_REPLY | FRAME_ERROR)) {
        return false;
    }
    Dilos__Error *error = dilos__error__unpack(NULL, (size_t)length, body);
    bool same = error != NULL && error->code == code && error->message[0] != '\0';
    if (error != NULL) {
        dilos__error__free_unpacked(error, NULL);
    }
    return same;
}

bool raw_receives_end(struct harness *h, int fd)
{
    uint8_t byte;
    return !receive(h, fd, &byte, 1);
}
