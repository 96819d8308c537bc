/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/vhost_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/wire/vhost_user.h"

#define PROTOCOL_FEATURES                                                                          \
    (VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_CONFIG)

/* One message, with what came beside it. Descriptors that a handler keeps are set to -1. */
struct message {
    struct vhost_user_header header;
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    int fds[VHOST_USER_FDS_MAX];
    uint32_t fd_count;
};

static int fail(struct vhost_session *session, int error, const char *reason)
{
    (void)snprintf(session->reason, sizeof(session->reason), "%s", reason);
    return error;
}

static void fd_replace(int *place, int fd)
{
    if (*place >= 0) {
        (void)close(*place);
    }
    *place = fd;
}

static void queue_reset(struct vhost_queue *queue)
{
    fd_replace(&queue->kick_fd, -1);
    fd_replace(&queue->call_fd, -1);
    *queue = (struct vhost_queue){.kick_fd = -1, .call_fd = -1};
}

void vhost_session_init(struct vhost_session *session, const struct vhost_session_ops *ops)
{
    CHECK(ops->queue_count <= VHOST_QUEUES_MAX);
    CHECK(ops->config_bytes <= VHOST_USER_CONFIG_BYTES_MAX);
    memset(session, 0, sizeof(*session));
    session->ops = ops;
    session->fd = -1;
    for (uint32_t i = 0; i < VHOST_QUEUES_MAX; i++) {
        session->queues[i].kick_fd = -1;
        session->queues[i].call_fd = -1;
    }
}

void vhost_session_fini(struct vhost_session *session)
{
    for (uint32_t i = 0; i < VHOST_QUEUES_MAX; i++) {
        queue_reset(&session->queues[i]);
    }
    guest_memory_unmap(&session->memory);
    fd_replace(&session->fd, -1);
}

void vhost_session_start(struct vhost_session *session, int fd)
{
    struct timeval limit = {.tv_sec = VHOST_RECEIVE_MS_MAX / 1000,
                            .tv_usec = VHOST_RECEIVE_MS_MAX % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    fd_replace(&session->fd, fd);
}

/* ---- transport ---- */

static int take_fds(struct message *message, struct msghdr *header)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL;
         control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        int fds[VHOST_USER_FDS_MAX];
        CHECK(count <= VHOST_USER_FDS_MAX); /* the control buffer holds no more */
        memcpy(fds, CMSG_DATA(control), count * sizeof(int));
        for (size_t i = 0; i < count; i++) {
            if (message->fd_count == VHOST_USER_FDS_MAX) {
                (void)close(fds[i]);
            } else {
                message->fds[message->fd_count++] = fds[i];
            }
        }
    }
    return (header->msg_flags & MSG_CTRUNC) != 0 ? -EPROTO : 0;
}

/* Reads exactly `bytes`. Returns 1, 0 at the end of the stream before the first byte. */
static int receive(struct message *message, int fd, uint8_t *to, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
        } control;
        struct iovec part = {.iov_base = to + done, .iov_len = bytes - done};
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        int r = take_fds(message, &header);
        if (r < 0) {
            return r;
        }
        if (n == 0) {
            return done == 0 ? 0 : -EPROTO;
        }
        done += (size_t)n;
    }
    return 1;
}

static int receive_message(struct vhost_session *session, struct message *message)
{
    uint8_t header[VHOST_USER_HEADER_BYTES];
    int r = receive(message, session->fd, header, sizeof(header));
    if (r == 0) {
        return fail(session, 0, "the VMM closed the device");
    }
    if (r < 0) {
        return fail(session, r, "a message's header could not be read");
    }
    r = vhost_user_header_decode(header, &message->header);
    if (r < 0) {
        return fail(session, -EPROTO, "a message's header is malformed");
    }
    if (message->header.length != 0) {
        r = receive(message, session->fd, message->body, message->header.length);
        if (r <= 0) {
            return fail(session, r == 0 ? -EPROTO : r, "a message's body could not be read");
        }
    }
    return 1;
}

static int reply(struct vhost_session *session, uint32_t request, const uint8_t *body,
                 size_t length)
{
    uint8_t data[VHOST_USER_HEADER_BYTES + VHOST_USER_BODY_BYTES_MAX];
    struct vhost_user_header header = {
        .request = request, .length = (uint32_t)length, .reply = true};
    vhost_user_header_encode(&header, data);
    memcpy(data + VHOST_USER_HEADER_BYTES, body, length);
    size_t total = VHOST_USER_HEADER_BYTES + length;
    size_t done = 0;
    while (done < total) {
        ssize_t n = send(session->fd, data + done, total - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(session, -errno, "a reply could not be sent");
        }
        done += (size_t)n;
    }
    return 0;
}

static int reply_u64(struct vhost_session *session, uint32_t request, uint64_t value)
{
    uint8_t body[sizeof(value)];
    return reply(session, request, body, vhost_user_u64_encode(value, body));
}

/* ---- messages; 0 done, 1 done and answered, negative: ends the session ---- */

static int malformed(struct vhost_session *session, const char *what)
{
    (void)snprintf(session->reason, sizeof(session->reason), "malformed message: %s", what);
    return -EPROTO;
}

static struct vhost_queue *queue_at(struct vhost_session *session, uint32_t index)
{
    return index < session->ops->queue_count ? &session->queues[index] : NULL;
}

static int on_get_features(struct vhost_session *session, struct message *message)
{
    uint64_t offered = session->ops->features | VHOST_USER_F_PROTOCOL_FEATURES;
    int r = reply_u64(session, message->header.request, offered);
    return r < 0 ? r : 1;
}

static int on_set_features(struct vhost_session *session, struct message *message)
{
    uint64_t features;
    uint64_t offered = session->ops->features | VHOST_USER_F_PROTOCOL_FEATURES;
    if (vhost_user_u64_decode(message->body, message->header.length, &features) < 0 ||
        (features & ~offered) != 0) {
        return malformed(session, "SET_FEATURES");
    }
    session->features = features;
    for (uint32_t i = 0; i < session->ops->queue_count; i++) {
        struct vring *ring = &session->queues[i].ring;
        ring->event_idx = (features & VIRTIO_F_EVENT_IDX) != 0;
        ring->indirect = (features & VIRTIO_F_INDIRECT_DESC) != 0;
    }
    return 0;
}

static int on_get_protocol_features(struct vhost_session *session, struct message *message)
{
    int r = reply_u64(session, message->header.request, PROTOCOL_FEATURES);
    return r < 0 ? r : 1;
}

static int on_set_protocol_features(struct vhost_session *session, struct message *message)
{
    uint64_t features;
    if (vhost_user_u64_decode(message->body, message->header.length, &features) < 0 ||
        (features & ~PROTOCOL_FEATURES) != 0) {
        return malformed(session, "SET_PROTOCOL_FEATURES");
    }
    session->protocol_features = features;
    return 0;
}

static int on_get_queue_num(struct vhost_session *session, struct message *message)
{
    int r = reply_u64(session, message->header.request, session->ops->queue_count);
    return r < 0 ? r : 1;
}

static int on_owner(struct vhost_session *session, struct message *message)
{
    return message->header.length == 0 ? 0 : malformed(session, "SET_OWNER");
}

/* Points every queue at its memory again. */
static int queues_attach(struct vhost_session *session)
{
    for (uint32_t i = 0; i < session->ops->queue_count; i++) {
        struct vhost_queue *queue = &session->queues[i];
        vring_detach(&queue->ring);
        if (queue->has_address && queue->ring.size != 0 &&
            vring_attach(&queue->ring, &session->memory, &queue->address) < 0) {
            return fail(session, -EPROTO, "a queue lies outside of guest memory");
        }
    }
    return 0;
}

static int on_set_mem_table(struct vhost_session *session, struct message *message)
{
    struct vhost_user_memory table;
    if (vhost_user_memory_decode(message->body, message->header.length, &table) < 0 ||
        table.region_count != message->fd_count) {
        return malformed(session, "SET_MEM_TABLE");
    }
    int r = session->ops->quiesce(session->ops->context);
    if (r < 0) {
        return fail(session, r, "requests did not end before guest memory changed");
    }
    session->ops->memory_going(session->ops->context);
    guest_memory_unmap(&session->memory);
    r = guest_memory_map(&session->memory, &table, message->fds);
    if (r < 0) {
        return fail(session, r, "guest memory can't be mapped");
    }
    /* Rings in use move with their memory; others wait for SET_VRING_ADDR. */
    for (uint32_t i = 0; i < session->ops->queue_count; i++) {
        struct vhost_queue *queue = &session->queues[i];
        queue->has_address = queue->has_address && queue->started;
    }
    r = queues_attach(session);
    return r < 0 ? r : session->ops->memory_changed(session->ops->context);
}

static int on_set_vring_num(struct vhost_session *session, struct message *message)
{
    struct vhost_user_vring_state state;
    if (vhost_user_vring_state_decode(message->body, message->header.length, &state) < 0) {
        return malformed(session, "SET_VRING_NUM");
    }
    struct vhost_queue *queue = queue_at(session, state.index);
    if (queue == NULL || queue->started || state.value > VRING_SIZE_MAX ||
        !IS_POWER_OF_TWO(state.value)) {
        return malformed(session, "SET_VRING_NUM");
    }
    queue->ring.size = (uint16_t)state.value;
    queue->has_address = false;
    vring_detach(&queue->ring);
    return 0;
}

static int on_set_vring_addr(struct vhost_session *session, struct message *message)
{
    struct vhost_user_vring_address address;
    if (vhost_user_vring_address_decode(message->body, message->header.length, &address) < 0) {
        return malformed(session, "SET_VRING_ADDR");
    }
    struct vhost_queue *queue = queue_at(session, address.index);
    if (queue == NULL || queue->started || queue->ring.size == 0 ||
        vring_attach(&queue->ring, &session->memory, &address) < 0) {
        return malformed(session, "SET_VRING_ADDR");
    }
    queue->address = address;
    queue->has_address = true;
    return 0;
}

static int on_set_vring_base(struct vhost_session *session, struct message *message)
{
    struct vhost_user_vring_state state;
    if (vhost_user_vring_state_decode(message->body, message->header.length, &state) < 0) {
        return malformed(session, "SET_VRING_BASE");
    }
    struct vhost_queue *queue = queue_at(session, state.index);
    if (queue == NULL || queue->started || state.value > UINT16_MAX) {
        return malformed(session, "SET_VRING_BASE");
    }
    queue->ring.available_next = (uint16_t)state.value;
    return 0;
}

static int on_get_vring_base(struct vhost_session *session, struct message *message)
{
    struct vhost_user_vring_state state;
    if (vhost_user_vring_state_decode(message->body, message->header.length, &state) < 0) {
        return malformed(session, "GET_VRING_BASE");
    }
    struct vhost_queue *queue = queue_at(session, state.index);
    if (queue == NULL) {
        return malformed(session, "GET_VRING_BASE");
    }
    int r = session->ops->quiesce(session->ops->context);
    if (r < 0) {
        return fail(session, r, "requests did not end before a queue was stopped");
    }
    queue->started = false;
    queue->has_address = false;
    vring_detach(&queue->ring);
    fd_replace(&queue->kick_fd, -1);
    state.value = queue->ring.available_next;
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    r = reply(session, message->header.request, body, vhost_user_vring_state_encode(&state, body));
    return r < 0 ? r : 1;
}

/* Takes the one descriptor of the message, or -1 if it says that there is none. */
static int vring_fd(struct vhost_session *session, struct message *message,
                    struct vhost_queue **ret_queue, int *ret_fd)
{
    struct vhost_user_vring_fd field;
    if (vhost_user_vring_fd_decode(message->body, message->header.length, &field) < 0) {
        return malformed(session, "descriptor of a queue");
    }
    *ret_queue = queue_at(session, field.index);
    if (*ret_queue == NULL || message->fd_count != (field.no_fd ? 0u : 1u)) {
        return malformed(session, "descriptor of a queue");
    }
    *ret_fd = field.no_fd ? -1 : message->fds[0];
    message->fds[0] = -1;
    return 0;
}

static int on_set_vring_kick(struct vhost_session *session, struct message *message)
{
    struct vhost_queue *queue;
    int fd;
    int r = vring_fd(session, message, &queue, &fd);
    if (r < 0) {
        return r;
    }
    fd_replace(&queue->kick_fd, fd);
    if (!queue->has_address) {
        return malformed(session, "SET_VRING_KICK before SET_VRING_ADDR");
    }
    /* Without protocol features nobody sends SET_VRING_ENABLE. */
    queue->enabled = queue->enabled || (session->features & VHOST_USER_F_PROTOCOL_FEATURES) == 0;
    queue->started = true;
    return 0;
}

static int on_set_vring_call(struct vhost_session *session, struct message *message)
{
    struct vhost_queue *queue;
    int fd;
    int r = vring_fd(session, message, &queue, &fd);
    if (r < 0) {
        return r;
    }
    fd_replace(&queue->call_fd, fd);
    return 0;
}

static int on_set_vring_err(struct vhost_session *session, struct message *message)
{
    struct vhost_queue *queue;
    int fd;
    int r = vring_fd(session, message, &queue, &fd);
    if (r == 0 && fd >= 0) {
        (void)close(fd); /* errors end the session, which the VMM sees */
    }
    return r;
}

static int on_set_vring_enable(struct vhost_session *session, struct message *message)
{
    struct vhost_user_vring_state state;
    if (vhost_user_vring_state_decode(message->body, message->header.length, &state) < 0 ||
        state.value > 1 || queue_at(session, state.index) == NULL) {
        return malformed(session, "SET_VRING_ENABLE");
    }
    session->queues[state.index].enabled = state.value == 1;
    return 0;
}

static int on_get_config(struct vhost_session *session, struct message *message)
{
    struct vhost_user_config config;
    if (vhost_user_config_decode(message->body, message->header.length, &config) < 0) {
        return malformed(session, "GET_CONFIG");
    }
    /* Newer front ends know more fields than there are here: those are zero. */
    uint8_t space[VHOST_USER_CONFIG_BYTES_MAX] = {0};
    memcpy(space, session->ops->config, session->ops->config_bytes);
    config.data = space + config.offset;
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    int r = reply(session, message->header.request, body, vhost_user_config_encode(&config, body));
    return r < 0 ? r : 1;
}

typedef int handler(struct vhost_session *session, struct message *message);

static handler *const handlers[] = {
    [VHOST_USER_GET_FEATURES] = on_get_features,
    [VHOST_USER_SET_FEATURES] = on_set_features,
    [VHOST_USER_SET_OWNER] = on_owner,
    [VHOST_USER_RESET_OWNER] = on_owner,
    [VHOST_USER_SET_MEM_TABLE] = on_set_mem_table,
    [VHOST_USER_SET_VRING_NUM] = on_set_vring_num,
    [VHOST_USER_SET_VRING_ADDR] = on_set_vring_addr,
    [VHOST_USER_SET_VRING_BASE] = on_set_vring_base,
    [VHOST_USER_GET_VRING_BASE] = on_get_vring_base,
    [VHOST_USER_SET_VRING_KICK] = on_set_vring_kick,
    [VHOST_USER_SET_VRING_CALL] = on_set_vring_call,
    [VHOST_USER_SET_VRING_ERR] = on_set_vring_err,
    [VHOST_USER_GET_PROTOCOL_FEATURES] = on_get_protocol_features,
    [VHOST_USER_SET_PROTOCOL_FEATURES] = on_set_protocol_features,
    [VHOST_USER_GET_QUEUE_NUM] = on_get_queue_num,
    [VHOST_USER_SET_VRING_ENABLE] = on_set_vring_enable,
    [VHOST_USER_GET_CONFIG] = on_get_config,
};

static int dispatch(struct vhost_session *session, struct message *message)
{
    uint32_t request = message->header.request;
    handler *handle = request < ARRAY_LEN(handlers) ? handlers[request] : NULL;
    bool wants_ack = message->header.need_reply &&
                     (session->protocol_features & VHOST_USER_PROTOCOL_F_REPLY_ACK) != 0;
    if (message->header.reply) {
        return malformed(session, "a reply to nothing");
    }
    if (handle == NULL && wants_ack) {
        return reply_u64(session, request, 1); /* not supported: the front end decides */
    }
    if (handle == NULL) {
        (void)snprintf(session->reason, sizeof(session->reason), "unsupported request %u", request);
        return -EPROTO;
    }
    int r = handle(session, message);
    if (r < 0 && wants_ack) {
        (void)reply_u64(session, request, 1); /* the reason is already told */
    }
    return r == 0 && wants_ack ? reply_u64(session, request, 0) : r;
}

int vhost_session_handle(struct vhost_session *session)
{
    CHECK(session->fd >= 0);
    struct message message;
    message.fd_count = 0;
    int r = receive_message(session, &message);
    if (r > 0) {
        r = dispatch(session, &message);
        r = r < 0 ? r : 1;
    }
    for (uint32_t i = 0; i < message.fd_count; i++) {
        if (message.fds[i] >= 0) {
            (void)close(message.fds[i]);
        }
    }
    return r;
}
