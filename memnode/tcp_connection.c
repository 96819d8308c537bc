/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies are served by sendmsg straight from slab memory, writes are received straight into it,
 * after the whole request header was validated. Neither holds a pointer across calls that
 * tcp_connection_revoke() does not know about.
 */
#include "memnode/tcp_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"

#define SEND_IOVECS 64u
#define ROUNDS_MAX  64u /* of one connection, before others get their turn */

static void ready(struct worker_source *source, uint32_t events);
static bool look(struct worker_source *source);

int tcp_connection_open(struct worker *worker, const struct export_context *context, int fd,
                        struct tcp_group *group, struct tcp_connection **ret)
{
    struct tcp_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    connection->source.ready = ready;
    connection->source.look = look;
    list_init(&connection->node);
    connection->worker = worker;
    connection->context = context;
    connection->group = group;
    connection->fd = fd;
    connection->events = EPOLLIN;
    connection->opened_ns = sys_monotonic_ns();
    int error = worker_add(worker, fd, connection->events, &connection->source);
    if (error != 0) {
        (void)close(fd);
        free(connection);
        return error;
    }
    export_count(&context->counters->connections, 1);
    export_count(&context->counters->connections_open, 1);
    list_append(&group->connections, &connection->node);
    *ret = connection;
    return 0;
}

void tcp_connection_shut(struct tcp_connection *connection, atomic_uint_fast64_t *reason)
{
    if (connection->fd < 0) {
        return;
    }
    if (reason != NULL) {
        export_count(reason, 1);
    }
    atomic_fetch_sub_explicit(&connection->context->counters->connections_open, 1,
                              memory_order_relaxed);
    worker_remove(connection->worker, connection->fd);
    (void)close(connection->fd);
    connection->fd = -1;
    connection->group->closed = true;
}

void tcp_connection_free(struct tcp_connection *connection)
{
    CHECK(connection->fd < 0);
    list_remove(&connection->node);
    bindings_fini(&connection->bindings);
    free(connection->bounce);
    free(connection);
}

static struct tcp_reply *reply_at(struct tcp_connection *connection, uint32_t position)
{
    return &connection->replies[(connection->reply_head + position) % TCP_CONNECTION_REPLIES_MAX];
}

static void reply_queue(struct tcp_connection *connection, const struct pageop_reply *reply,
                        const uint8_t *data, uint32_t slab)
{
    CHECK(connection->reply_count < TCP_CONNECTION_REPLIES_MAX);
    struct tcp_reply *item = reply_at(connection, connection->reply_count++);
    pageop_reply_encode(reply, item->header);
    item->data = data;
    item->length = reply->length;
    item->slab = slab;
    if (reply->status != PAGEOP_OK) {
        export_count(&connection->context->counters->refused, 1);
    }
}

static void replies_sent(struct tcp_connection *connection, size_t bytes)
{
    connection->head_sent += bytes;
    while (connection->reply_count != 0) {
        size_t whole = PAGEOP_REPLY_BYTES + reply_at(connection, 0)->length;
        if (connection->head_sent < whole) {
            return;
        }
        connection->head_sent -= whole;
        connection->reply_head = (connection->reply_head + 1) % TCP_CONNECTION_REPLIES_MAX;
        connection->reply_count--;
        free(connection->bounce);
        connection->bounce = NULL;
    }
}

static uint32_t gather(struct tcp_connection *connection, struct iovec *to)
{
    uint32_t count = 0;
    size_t skip = connection->head_sent;
    for (uint32_t i = 0; i < connection->reply_count && count + 2 <= SEND_IOVECS; i++) {
        struct tcp_reply *item = reply_at(connection, i);
        if (skip < PAGEOP_REPLY_BYTES) {
            to[count++] = (struct iovec){item->header + skip, PAGEOP_REPLY_BYTES - skip};
            skip = PAGEOP_REPLY_BYTES;
        }
        skip -= PAGEOP_REPLY_BYTES;
        if (item->length != 0) {
            to[count++] =
                (struct iovec){(void *)(uintptr_t)(item->data + skip), item->length - skip};
        }
        skip = 0;
    }
    return count;
}

/* Sends what the socket takes. Errors: the connection is no more. */
static int flush(struct tcp_connection *connection)
{
    while (connection->reply_count != 0) {
        struct iovec iovecs[SEND_IOVECS];
        struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = gather(connection, iovecs)};
        ssize_t count = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EAGAIN) {
            return 0;
        }
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        replies_sent(connection, count > 0 ? (size_t)count : 0);
    }
    return 0;
}

/*
 * A client's new connection takes the slab over: what its earlier ones still carry is refused from
 * now on, a write in the middle of its data too. False: this is itself an earlier one.
 */
static bool fence(struct tcp_connection *connection, const struct pageop_attach *attach)
{
    struct tcp_fence *fence = &connection->group->fences[attach->slab_index];
    if (fence->generation != attach->generation) {
        *fence = (struct tcp_fence){.generation = attach->generation};
    }
    if (attach->incarnation < fence->incarnation) {
        return false;
    }
    if (attach->incarnation == fence->incarnation) {
        return true;
    }
    fence->incarnation = attach->incarnation;
    const struct export_context *context = connection->context;
    if (context->fence != NULL) {
        context->fence(context->fence_context, attach->slab_index, attach->generation,
                       attach->incarnation);
    }
    list_for_each (node, &connection->group->connections) {
        struct tcp_connection *other = list_entry(node, struct tcp_connection, node);
        if (other != connection && other->fd >= 0) {
            tcp_connection_revoke(other, attach->slab_index);
        }
    }
    return true;
}

static void report(const struct tcp_connection *connection, enum incident_kind kind, uint32_t slab)
{
    incidents_add_from(connection->context->incidents, kind, "tcp", connection->instance, slab,
                       connection->fd);
}

/* A request for a handle that stands for nothing (any more). */
static void report_unbound(const struct tcp_connection *connection, uint32_t handle)
{
    uint32_t slab = INCIDENTS_ANY_SLAB;
    bool was = bindings_was(&connection->bindings, handle, &slab);
    report(connection, was ? INCIDENT_OLD_KEY : INCIDENT_NOT_ATTACHED, slab);
}

static uint16_t attach(struct tcp_connection *connection, const struct pageop_request *request,
                       const struct pageop_attach *attach)
{
    const struct export_context *context = connection->context;
    bool read_only = false;
    export_count(&context->counters->attaches, 1);
    if (bindings_get(&connection->bindings, request->handle) != NULL) {
        return PAGEOP_DENIED;
    }
    if (!grants_check(context->grants, attach->slab_index, attach->generation, attach->key,
                      &read_only)) {
        incidents_attach(context->incidents, context->grants, "tcp", connection->instance,
                         connection->fd, attach->slab_index, attach->generation);
        return PAGEOP_DENIED;
    }
    if (!fence(connection, attach)) {
        return PAGEOP_DENIED;
    }
    struct binding *binding = bindings_make(&connection->bindings, request->handle);
    if (binding == NULL) {
        return PAGEOP_EXHAUSTED;
    }
    *binding = (struct binding){
        .state = BINDING_BOUND, .read_only = read_only, .slab = attach->slab_index};
    grants_holder(context->grants, attach->slab_index, connection->instance);
    return PAGEOP_OK;
}

/* Whether a transfer is allowed; then *ret_at is where it goes to or comes from. */
static uint16_t transfer_check(const struct tcp_connection *connection,
                               const struct pageop_request *request, uint8_t **ret_at,
                               uint32_t *ret_slab)
{
    const struct arena *arena = connection->context->arena;
    const struct binding *binding = bindings_get(&connection->bindings, request->handle);
    if (binding == NULL) {
        report_unbound(connection, request->handle);
        return PAGEOP_DENIED;
    }
    if (request->kind == PAGEOP_WRITE && binding->read_only) {
        report(connection, INCIDENT_READ_ONLY, binding->slab);
        return PAGEOP_DENIED;
    }
    uint64_t slab_bytes = arena_slab_bytes(arena);
    if (request->offset > slab_bytes || request->length > slab_bytes - request->offset) {
        report(connection, INCIDENT_BEYOND_END, binding->slab);
        return PAGEOP_RANGE;
    }
    *ret_at = arena_slab_base(arena, binding->slab) + request->offset;
    *ret_slab = binding->slab;
    return PAGEOP_OK;
}

static void start_transfer(struct tcp_connection *connection, const struct pageop_request *request,
                           struct pageop_reply *reply)
{
    uint8_t *at = NULL;
    uint32_t slab = 0;
    struct export_counters *counters = connection->context->counters;
    export_count(&counters->requests, 1);
    reply->status = transfer_check(connection, request, &at, &slab);
    if (request->kind == PAGEOP_READ) {
        reply->length = reply->status == PAGEOP_OK ? request->length : 0;
        export_count(&counters->bytes_read, reply->length);
        reply_queue(connection, reply, at, slab);
        return;
    }
    connection->write_left = request->length;
    connection->write_to = at;
    connection->write_slab = slab;
    connection->write_reply = *reply;
}

/* `bytes` of the arriving WRITE are in place, or dropped. */
static void write_arrived(struct tcp_connection *connection, uint32_t bytes)
{
    connection->write_left -= bytes;
    if (connection->write_to != NULL) {
        connection->write_to += bytes;
        export_count(&connection->context->counters->bytes_written, bytes);
    }
    if (connection->write_left == 0) {
        reply_queue(connection, &connection->write_reply, NULL, 0);
    }
}

/* The part of a WRITE's data that came along with headers. */
static void take_buffered_write(struct tcp_connection *connection)
{
    uint32_t bytes = MIN(connection->write_left, connection->input_end - connection->input_start);
    if (bytes == 0) {
        return;
    }
    if (connection->write_to != NULL) {
        memcpy(connection->write_to, connection->input + connection->input_start, bytes);
    }
    connection->input_start += bytes;
    write_arrived(connection, bytes);
}

/*
 * Handles one request if all of its header is there. Returns 1 if it was, 0 if more bytes are
 * needed. Errors: -EPROTO the client broke a rule.
 */
static int take_request(struct tcp_connection *connection)
{
    const uint8_t *data = connection->input + connection->input_start;
    uint32_t bytes = connection->input_end - connection->input_start;
    struct pageop_request request;
    struct pageop_attach body;
    if (bytes < PAGEOP_REQUEST_BYTES) {
        return 0;
    }
    if (pageop_request_decode(data, &request) != 0 || request.kind == PAGEOP_UNMAPPED) {
        return -EPROTO;
    }
    struct pageop_reply reply = {
        .kind = request.kind, .handle = request.handle, .token = request.token};
    if (request.kind == PAGEOP_ATTACH) {
        if (bytes < PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES) {
            return 0;
        }
        pageop_attach_decode(data + PAGEOP_REQUEST_BYTES, &body);
        connection->input_start += PAGEOP_ATTACH_BYTES;
        reply.status = attach(connection, &request, &body);
        reply_queue(connection, &reply, NULL, 0);
    } else if (request.kind == PAGEOP_DETACH) {
        struct binding *binding = bindings_get(&connection->bindings, request.handle);
        if (binding != NULL) {
            *binding = (struct binding){0};
        }
    } else {
        start_transfer(connection, &request, &reply);
    }
    connection->input_start += PAGEOP_REQUEST_BYTES;
    return 1;
}

static int take_hello(struct tcp_connection *connection)
{
    if (connection->input_end - connection->input_start < PAGEOP_HELLO_BYTES) {
        return 0;
    }
    uint8_t hello[PAGEOP_HELLO_BYTES];
    int error = pageop_hello_decode(connection->input + connection->input_start);
    pageop_hello_encode(hello);
    /* A fresh socket's buffer takes 16 bytes. Another version gets ours, to know why. */
    if (error != -EPROTO && send(connection->fd, hello, sizeof(hello),
                                 MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(hello)) {
        error = -EPROTO;
    }
    connection->input_start += PAGEOP_HELLO_BYTES;
    connection->greeted = true;
    return error;
}

/*
 * Works off the input buffer as far as possible. Returns 0 when more bytes are needed, 1 when more
 * room for replies is needed.
 */
static int take_input(struct tcp_connection *connection)
{
    if (!connection->greeted) {
        int error = take_hello(connection);
        if (error != 0 || !connection->greeted) {
            return error;
        }
    }
    while (connection->reply_count < TCP_CONNECTION_REPLIES_MAX) {
        if (connection->write_left != 0) {
            take_buffered_write(connection);
            if (connection->write_left != 0) {
                return 0;
            }
            continue; /* its reply may have taken the last room */
        }
        int taken = take_request(connection);
        if (taken != 1) {
            return taken;
        }
    }
    return 1;
}

static void compact_input(struct tcp_connection *connection)
{
    uint32_t bytes = connection->input_end - connection->input_start;
    memmove(connection->input, connection->input + connection->input_start, bytes);
    connection->input_start = 0;
    connection->input_end = bytes;
}

/* Reads the socket once. Returns bytes; 0 nothing there; errors: the connection is no more. */
static ssize_t receive(struct tcp_connection *connection)
{
    struct iovec iovecs[2];
    uint32_t count = 0;
    uint32_t write_bytes = connection->write_left;
    if (write_bytes != 0 && connection->write_to == NULL) {
        write_bytes = MIN(write_bytes, TCP_CONNECTION_DISCARD_BYTES);
    }
    if (write_bytes != 0) {
        uint8_t *to =
            connection->write_to != NULL ? connection->write_to : connection->group->discard;
        iovecs[count++] = (struct iovec){to, write_bytes};
    }
    compact_input(connection);
    if (write_bytes == connection->write_left) {
        iovecs[count++] = (struct iovec){connection->input + connection->input_end,
                                         TCP_CONNECTION_INPUT_BYTES - connection->input_end};
    }
    struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = count};
    ssize_t bytes = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (bytes < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    if (bytes == 0) {
        return -ECONNRESET;
    }
    /* Less than there was room for: the socket is empty, or epoll says so again. */
    connection->drained = (size_t)bytes < sys_iovec_bytes(iovecs, count);
    uint32_t of_write = MIN((uint32_t)bytes, write_bytes);
    connection->input_end += (uint32_t)bytes - of_write;
    if (of_write != 0) {
        write_arrived(connection, of_write);
    }
    return bytes;
}

/* `again`: there is work left that no byte from the client announces. */
static void set_events(struct tcp_connection *connection, bool again)
{
    uint32_t events = connection->reply_count != 0 || again ? EPOLLOUT : 0;
    events |= connection->reply_count < TCP_CONNECTION_REPLIES_MAX ? EPOLLIN : 0;
    if (events == connection->events) {
        return;
    }
    if (worker_modify(connection->worker, connection->fd, events, &connection->source) != 0) {
        tcp_connection_shut(connection, &connection->context->counters->closed_limit);
        return;
    }
    connection->events = events;
}

enum round {
    ROUND_AGAIN, /* there may be more to do at once */
    ROUND_WAIT,  /* for the socket */
    ROUND_SHUT,  /* the connection is no more */
};

static enum round do_round(struct tcp_connection *connection)
{
    struct export_counters *counters = connection->context->counters;
    bool greeted = connection->greeted;
    int taken = take_input(connection);
    if (taken < 0) {
        tcp_connection_shut(connection,
                            greeted ? &counters->closed_protocol : &counters->closed_hello);
        return ROUND_SHUT;
    }
    if (flush(connection) != 0) {
        tcp_connection_shut(connection, NULL);
        return ROUND_SHUT;
    }
    if (connection->reply_count == TCP_CONNECTION_REPLIES_MAX) {
        return ROUND_WAIT;
    }
    if (taken == 1) {
        return ROUND_AGAIN;
    }
    if (connection->drained) {
        connection->drained = false;
        return ROUND_WAIT;
    }
    ssize_t bytes = receive(connection);
    if (bytes < 0) {
        tcp_connection_shut(connection, NULL);
        return ROUND_SHUT;
    }
    return bytes == 0 ? ROUND_WAIT : ROUND_AGAIN;
}

static void ready(struct worker_source *source, uint32_t events)
{
    struct tcp_connection *connection = container_of(source, struct tcp_connection, source);
    enum round round = connection->fd < 0 ? ROUND_SHUT : ROUND_AGAIN;
    (void)events;
    for (unsigned i = 0; i < ROUNDS_MAX && round == ROUND_AGAIN; i++) {
        round = do_round(connection);
    }
    if (round != ROUND_SHUT) {
        set_events(connection, round == ROUND_AGAIN);
    }
}

/* One that waits for room in the socket is epoll's business. */
static bool look(struct worker_source *source)
{
    struct tcp_connection *connection = container_of(source, struct tcp_connection, source);
    if (connection->fd < 0 || connection->events != EPOLLIN) {
        return false;
    }
    enum round round = do_round(connection);
    if (round == ROUND_AGAIN) {
        ready(source, EPOLLIN);
    } else if (round == ROUND_WAIT) {
        set_events(connection, false);
    }
    return round != ROUND_WAIT;
}

/*
 * A reply that has been begun must be finished, or the stream is out of step: it goes on from a
 * copy. One that has not been begun becomes a refusal.
 */
static int revoke_reply(struct tcp_connection *connection, uint32_t position)
{
    struct tcp_reply *item = reply_at(connection, position);
    if (position == 0 && connection->head_sent != 0) {
        uint8_t *copy = malloc(item->length);
        if (copy == NULL) {
            return -ENOMEM;
        }
        memcpy(copy, item->data, item->length);
        CHECK(connection->bounce == NULL);
        connection->bounce = copy;
        item->data = copy;
        return 0;
    }
    struct pageop_reply reply;
    CHECK(pageop_reply_decode(item->header, &reply) == 0);
    reply.status = PAGEOP_DENIED;
    reply.length = 0;
    pageop_reply_encode(&reply, item->header);
    item->length = 0;
    item->data = NULL;
    export_count(&connection->context->counters->refused, 1);
    return 0;
}

void tcp_connection_revoke(struct tcp_connection *connection, uint32_t slab)
{
    for (uint32_t i = 0; i < connection->bindings.count; i++) {
        struct binding *binding = &connection->bindings.items[i];
        if (binding->state != BINDING_FREE && binding->slab == slab) {
            *binding = (struct binding){.revoked = true, .slab = slab};
        }
    }
    if (connection->write_left != 0 && connection->write_to != NULL &&
        connection->write_slab == slab) {
        connection->write_to = NULL;
        connection->write_reply.status = PAGEOP_DENIED;
    }
    for (uint32_t i = 0; i < connection->reply_count; i++) {
        struct tcp_reply *item = reply_at(connection, i);
        if (item->length == 0 || item->slab != slab || item->data == connection->bounce) {
            continue;
        }
        if (revoke_reply(connection, i) != 0) {
            tcp_connection_shut(connection, &connection->context->counters->closed_limit);
            return;
        }
    }
}
