/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs over RDMA: one reliable queue pair to each memory node, one-sided reads and writes straight
 * between the caller's memory and the slab. A TCP connection to the node (lib/wire/verbsop.h) sets
 * the queue pair up, opens and closes slabs on it, and brings word of slabs that are taken back;
 * its end means that the node is dead.
 *
 * A queue pair that breaks is replaced by a new one over that connection: its slabs are attached
 * again and what was in flight is posted again. A write that was acknowledged is in the slab, one
 * that was not still has its data in the caller's memory, so none is lost.
 */
#include "lib/fabric/fabric_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/fabric/connect.h"
#include "lib/fabric/verbs_peer.h"
#include "lib/sys/sys.h"

#define NS_PER_MS 1000000ull
/* The control connection is looked at on every so many polls, and the device on every so many
 * looks: each is a system call. */
#define LOOK_POLLS    512u
#define DEVICE_LOOKS  16u
#define CQ_ENTRIES    1024
#define KEEP_IDLE_S   5
#define KEEP_COUNT    3
#define ADDRESSES_MAX 8u
#define GROW_COUNT    64u

static struct verbs_peer *verbs_of(struct fabric_peer *peer)
{
    return container_of(peer, struct verbs_peer, peer);
}

/* ---- the queue pair */

/* Afterwards the device touches no memory for it, and no completion of it is left. */
static void queue_destroy(struct verbs_peer *verbs)
{
    struct ibv_wc completions[32];
    if (verbs->queue != NULL) {
        (void)ibv_destroy_qp(verbs->queue);
        verbs->queue = NULL;
        while (ibv_poll_cq(verbs->cq, 32, completions) > 0) {
        }
    }
    verbs->queue_state = VERBS_QUEUE_NONE;
    for (uint32_t i = 0; i < verbs->slab_count; i++) {
        verbs->slabs[i].bound = false;
    }
}

static int queue_create(struct verbs_peer *verbs)
{
    const struct ibv_device_attr *device = &verbs->domain->port.device;
    struct ibv_qp_init_attr attributes = {
        .send_cq = verbs->cq,
        .recv_cq = verbs->cq,
        .cap = {.max_send_wr = (uint32_t)MIN(VERBS_SEND_COUNT, (uint32_t)device->max_qp_wr),
                .max_recv_wr = 1,
                .max_send_sge = (uint32_t)MIN(VERBS_SEGMENTS_MAX, (uint32_t)device->max_sge),
                .max_recv_sge = 1,
                .max_inline_data = VERBS_INLINE_BYTES},
        .qp_type = IBV_QPT_RC,
    };
    verbs->queue = ibv_create_qp(verbs->domain->pd, &attributes);
    if (verbs->queue == NULL) {
        attributes.cap.max_inline_data = 0;
        verbs->queue = ibv_create_qp(verbs->domain->pd, &attributes);
    }
    if (verbs->queue == NULL) {
        return -ENOMEM;
    }
    verbs->send_max = attributes.cap.max_send_wr;
    verbs->segments_max = MIN(VERBS_SEGMENTS_MAX, attributes.cap.max_send_sge);
    verbs->inline_bytes = MIN(VERBS_INLINE_BYTES, attributes.cap.max_inline_data);
    verbs_queue_describe(&verbs->domain->port, verbs->queue, &verbs->local);
    return 0;
}

/* ---- the control connection */

static void die(struct verbs_peer *verbs)
{
    queue_destroy(verbs);
    verbs->peer.dead = true;
    (void)shutdown(verbs->fd, SHUT_RDWR);
    verbs_fail_all(verbs, -ENOTCONN);
}

/* Errors: -EAGAIN no room in the socket; -ENOTCONN. */
static int send_message(struct verbs_peer *verbs, const struct verbsop_message *message)
{
    uint8_t data[VERBSOP_BYTES];
    verbsop_encode(message, true, data);
    ssize_t count = send(verbs->fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count == (ssize_t)sizeof(data)) {
        return 0;
    }
    /* A part of a message would leave the stream out of step. */
    return count < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -ENOTCONN;
}

static int queue_ask(struct verbs_peer *verbs)
{
    int error = queue_create(verbs);
    if (error != 0) {
        return error;
    }
    const struct verbsop_message message = {.kind = VERBSOP_QUEUE, .queue = verbs->local};
    verbs->queue_state = VERBS_QUEUE_ASKED;
    verbs->rebuild_deadline_ns = sys_monotonic_ns() + VERBS_REBUILD_MS * NS_PER_MS;
    return send_message(verbs, &message);
}

static bool port_is_active(const struct verbs_peer *verbs)
{
    const struct verbs_port *port = &verbs->domain->port;
    struct ibv_port_attr attributes;
    return !atomic_load(&verbs->domain->lost) &&
           ibv_query_port(port->context, port->number, &attributes) == 0 &&
           attributes.state == IBV_PORT_ACTIVE;
}

/* The queue pair is broken: another one, with the same slabs and the same requests. */
static void rebuild(struct verbs_peer *verbs)
{
    queue_destroy(verbs);
    bool hopeful = verbs_requeue(verbs);
    verbs->answers_left = 0;
    for (uint32_t i = 0; i < verbs->slab_count; i++) {
        verbs->slabs[i].asked = false;
    }
    if (!hopeful || !port_is_active(verbs) || queue_ask(verbs) != 0) {
        die(verbs);
    }
}

static int attach_send(struct verbs_peer *verbs, uint32_t index)
{
    struct verbs_slab *slab = &verbs->slabs[index];
    struct verbsop_message message = {.kind = VERBSOP_ATTACH,
                                      .handle = index,
                                      .sequence = verbs->sequence + 1,
                                      .attach = {.slab_index = slab->grant.slab_index,
                                                 .incarnation = slab->grant.incarnation,
                                                 .generation = slab->grant.generation}};
    verbsop_prove(slab->grant.key, &verbs->nonces, &message, message.attach.proof);
    int error = send_message(verbs, &message);
    if (error == 0) {
        slab->sequence = ++verbs->sequence;
        slab->asked = true;
        verbs->answers_left++;
    }
    return error;
}

/* Asks for whatever has not been asked for on this queue pair. */
static void attach_missing(struct verbs_peer *verbs)
{
    for (uint32_t i = 0; i < verbs->slab_count; i++) {
        const struct fabric_slabs_item *item = fabric_slabs_get(&verbs->peer.slabs, i);
        bool wanted = item != NULL &&
                      (item->state == FABRIC_SLAB_ATTACHING || item->state == FABRIC_SLAB_READY);
        if (!wanted || verbs->slabs[i].asked) {
            continue;
        }
        int error = attach_send(verbs, i);
        if (error == -EAGAIN) {
            return;
        }
        if (error != 0) {
            die(verbs);
            return;
        }
    }
    if (verbs->answers_left == 0) {
        verbs->queue_state = VERBS_QUEUE_CONNECTED;
        verbs_fail_revoked(verbs);
    }
}

static int queue_answered(struct verbs_peer *verbs, const struct verbsop_message *message)
{
    if (verbs->queue_state != VERBS_QUEUE_ASKED) {
        return -EPROTO;
    }
    if (message->status != VERBSOP_OK) {
        return message->status == VERBSOP_MISMATCH ? -EADDRNOTAVAIL : -ENOSPC;
    }
    memcpy(verbs->nonces.client, verbs->local.nonce, VERBSOP_NONCE_BYTES);
    memcpy(verbs->nonces.node, message->queue.nonce, VERBSOP_NONCE_BYTES);
    int error =
        verbs_queue_connect(&verbs->domain->port, verbs->queue, &verbs->local, &message->queue, 0);
    verbs->queue_state = error == 0 ? VERBS_QUEUE_OPENING : verbs->queue_state;
    return error;
}

static void attach_complete(struct verbs_peer *verbs, struct fabric_slabs_item *item, int status,
                            struct fabric_sink *sink)
{
    fabric_slabs_move(&verbs->peer.slabs, item->index,
                      status == 0 ? FABRIC_SLAB_READY : FABRIC_SLAB_REVOKED);
    fabric_sink_put(sink, item->attach_token, status);
}

static int status_of(uint8_t status)
{
    if (status == VERBSOP_OK) {
        return 0;
    }
    return status == VERBSOP_DENIED ? -EACCES : -EIO;
}

static int attach_answered(struct verbs_peer *verbs, const struct verbsop_message *message,
                           struct fabric_sink *sink)
{
    if (message->handle >= verbs->slab_count) {
        return -EPROTO;
    }
    struct verbs_slab *slab = &verbs->slabs[message->handle];
    if (!slab->asked || slab->sequence != message->sequence) {
        return 0; /* of the queue pair before this one */
    }
    if (verbs->answers_left == 0) {
        return -EPROTO;
    }
    verbs->answers_left--;
    struct fabric_slabs_item *item = fabric_slabs_get(&verbs->peer.slabs, message->handle);
    int status = status_of(message->status);
    if (status == 0) {
        struct verbsop_window window;
        verbsop_unseal(slab->grant.key, &verbs->nonces, message, &window);
        slab->remote_key = window.remote_key;
        slab->address = window.address;
        slab->writable = window.writable;
        slab->bound = true;
    }
    if (item != NULL && item->state == FABRIC_SLAB_ATTACHING) {
        attach_complete(verbs, item, status, sink);
    } else if (item != NULL && item->state == FABRIC_SLAB_READY && status != 0) {
        fabric_slabs_move(&verbs->peer.slabs, item->index, FABRIC_SLAB_REVOKED);
    }
    return 0;
}

static int revoke_arrived(struct verbs_peer *verbs, const struct verbsop_message *message)
{
    if (message->handle >= verbs->slab_count) {
        return -EPROTO;
    }
    struct verbs_slab *slab = &verbs->slabs[message->handle];
    const struct fabric_slabs_item *item = fabric_slabs_get(&verbs->peer.slabs, message->handle);
    if (item != NULL && item->state == FABRIC_SLAB_READY && slab->sequence == message->sequence) {
        slab->bound = false;
        fabric_slabs_move(&verbs->peer.slabs, item->index, FABRIC_SLAB_REVOKED);
        verbs_fail_revoked(verbs);
    }
    return 0;
}

static int message_arrived(struct verbs_peer *verbs, const struct verbsop_message *message,
                           struct fabric_sink *sink)
{
    switch (message->kind) {
    case VERBSOP_QUEUE:
        return queue_answered(verbs, message);
    case VERBSOP_ATTACH:
        return attach_answered(verbs, message, sink);
    default:
        return revoke_arrived(verbs, message);
    }
}

/* Takes what is there. Errors: -ECONNRESET, -EPROTO, and those of the answer to QUEUE. */
static int receive(struct verbs_peer *verbs, struct fabric_sink *sink)
{
    while (!fabric_sink_full(sink)) {
        ssize_t count = recv(verbs->fd, verbs->input + verbs->input_bytes,
                             VERBSOP_BYTES - verbs->input_bytes, MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return 0;
        }
        if (count <= 0) {
            return -ECONNRESET;
        }
        verbs->input_bytes += (uint32_t)count;
        if (verbs->input_bytes < VERBSOP_BYTES) {
            continue;
        }
        struct verbsop_message message;
        verbs->input_bytes = 0;
        int error = verbsop_decode(verbs->input, false, &message);
        if (error == 0) {
            error = message_arrived(verbs, &message, sink);
        }
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static void complete_dead(struct verbs_peer *verbs, struct fabric_sink *sink)
{
    for (uint32_t i = 0; i < verbs->peer.slabs.count && !fabric_sink_full(sink); i++) {
        struct fabric_slabs_item *item = fabric_slabs_get(&verbs->peer.slabs, i);
        if (item != NULL && item->state == FABRIC_SLAB_ATTACHING) {
            attach_complete(verbs, item, -ENOTCONN, sink);
        }
    }
}

static void send_detaches(struct verbs_peer *verbs)
{
    struct fabric_slabs *slabs = &verbs->peer.slabs;
    while (!list_empty(&slabs->detaching)) {
        struct fabric_slabs_item *item =
            list_entry(list_first(&slabs->detaching), struct fabric_slabs_item, node);
        struct verbs_slab *slab = &verbs->slabs[item->index];
        const struct verbsop_message message = {
            .kind = VERBSOP_DETACH, .handle = item->index, .sequence = slab->sequence};
        int error = verbs->peer.dead || !slab->asked ? 0 : send_message(verbs, &message);
        if (error == -EAGAIN) {
            return;
        }
        memset(slab, 0, sizeof(*slab));
        fabric_slabs_move(slabs, item->index, FABRIC_SLAB_FREE);
        if (error != 0) {
            die(verbs);
        }
    }
}

/* ---- the provider */

static int grow_slabs(struct verbs_peer *verbs, uint32_t slab)
{
    if (slab < verbs->slab_count) {
        return 0;
    }
    uint32_t count = (uint32_t)ALIGN_UP(slab + 1, GROW_COUNT);
    struct verbs_slab *slabs = calloc(count, sizeof(*slabs));
    if (slabs == NULL) {
        return -ENOMEM;
    }
    memcpy(slabs, verbs->slabs, verbs->slab_count * sizeof(*slabs));
    if (verbs->slabs != NULL) {
        explicit_bzero(verbs->slabs, verbs->slab_count * sizeof(*slabs));
    }
    free(verbs->slabs);
    verbs->slabs = slabs;
    verbs->slab_count = count;
    return 0;
}

static int verbs_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t slab)
{
    struct verbs_peer *verbs = verbs_of(peer);
    int error = grow_slabs(verbs, slab);
    if (error != 0) {
        return error;
    }
    verbs->slabs[slab] = (struct verbs_slab){.grant = *grant};
    if (verbs->queue_state == VERBS_QUEUE_CONNECTED) {
        error = attach_send(verbs, slab);
        if (error == -ENOTCONN) {
            die(verbs);
        }
    }
    if (error != 0) {
        explicit_bzero(&verbs->slabs[slab], sizeof(verbs->slabs[slab]));
    }
    return error;
}

static void verbs_detach(struct fabric_peer *peer, uint32_t slab)
{
    struct verbs_peer *verbs = verbs_of(peer);
    verbs->slabs[slab].bound = false;
    send_detaches(verbs);
}

static void look(struct verbs_peer *verbs, struct fabric_sink *sink)
{
    verbs->polls = 0;
    verbs->look = false;
    if (verbs->looks++ % DEVICE_LOOKS == 0) {
        verbs_domain_look(verbs->domain);
    }
    if (atomic_load(&verbs->domain->lost) || receive(verbs, sink) != 0) {
        die(verbs);
        return;
    }
    send_detaches(verbs);
    if (verbs->queue_state == VERBS_QUEUE_OPENING) {
        attach_missing(verbs);
    }
    bool rebuilding = !verbs->peer.dead && verbs->queue_state != VERBS_QUEUE_CONNECTED;
    if (rebuilding && sys_monotonic_ns() > verbs->rebuild_deadline_ns) {
        die(verbs);
    }
}

static void verbs_poll(struct fabric_peer *peer, struct fabric_sink *sink)
{
    struct verbs_peer *verbs = verbs_of(peer);
    bool connected = verbs->queue_state == VERBS_QUEUE_CONNECTED;
    if (connected && (verbs_flush(verbs) != 0 || verbs_reap(verbs) != 0)) {
        rebuild(verbs);
    }
    if (!peer->dead &&
        (verbs->look || !connected || verbs->answers_left != 0 || ++verbs->polls == LOOK_POLLS)) {
        look(verbs, sink);
    }
    if (peer->dead) {
        send_detaches(verbs);
        complete_dead(verbs, sink);
    }
    verbs_emit(verbs, sink);
}

static int verbs_poll_fd(const struct fabric_peer *peer)
{
    return container_of(peer, const struct verbs_peer, peer)->epoll_fd;
}

/* An event that waits unread keeps the descriptor readable, so a poll costs no look for it. */
static void verbs_arm(struct fabric_peer *peer)
{
    struct verbs_peer *verbs = verbs_of(peer);
    struct ibv_cq *cq;
    void *context;
    verbs->look = true;
    if (peer->dead) {
        return;
    }
    while (verbs->armed && ibv_get_cq_event(verbs->channel, &cq, &context) == 0) {
        ibv_ack_cq_events(cq, 1);
        verbs->armed = false;
    }
    if (!verbs->armed) {
        verbs->armed = ibv_req_notify_cq(verbs->cq, 0) == 0;
    }
}

static int verbs_register(struct fabric_peer *peer, void *base, uint64_t bytes)
{
    struct verbs_peer *verbs = verbs_of(peer);
    if (verbs->region_count == VERBS_REGIONS_MAX) {
        return -ENOMEM;
    }
    int error =
        verbs_domain_register(verbs->domain, base, bytes, &verbs->regions[verbs->region_count]);
    verbs->region_count += error == 0 ? 1 : 0;
    return error;
}

static void verbs_unregister_all(struct fabric_peer *peer)
{
    struct verbs_peer *verbs = verbs_of(peer);
    CHECK(verbs->posted.count == 0);
    while (verbs->region_count != 0) {
        verbs_domain_release(verbs->domain, verbs->regions[--verbs->region_count]);
    }
}

static void verbs_close(struct fabric_peer *peer)
{
    struct verbs_peer *verbs = verbs_of(peer);
    if (verbs->queue != NULL) {
        queue_destroy(verbs);
    }
    while (verbs->region_count != 0) {
        verbs_domain_release(verbs->domain, verbs->regions[--verbs->region_count]);
    }
    verbs_slots_close(verbs);
    if (verbs->cq != NULL) {
        (void)ibv_destroy_cq(verbs->cq);
    }
    if (verbs->channel != NULL) {
        (void)ibv_destroy_comp_channel(verbs->channel);
    }
    verbs->domain = verbs_domain_close(verbs->domain);
    sys_close(&verbs->epoll_fd);
    sys_close(&verbs->fd);
    if (verbs->slabs != NULL) {
        explicit_bzero(verbs->slabs, verbs->slab_count * sizeof(*verbs->slabs));
    }
    free(verbs->slabs);
    fabric_peer_fini(peer);
    free(verbs);
}

static const struct fabric_provider verbs_provider = {
    .name = "verbs",
    .close = verbs_close,
    .register_memory = verbs_register,
    .unregister_all = verbs_unregister_all,
    .attach = verbs_attach,
    .detach = verbs_detach,
    .post = verbs_post,
    .poll = verbs_poll,
    .poll_fd = verbs_poll_fd,
    .arm = verbs_arm,
};

/* ---- connecting */

/* A host that is gone without a word is noticed without traffic too. */
static void keep_alive(int fd)
{
    const int one = 1;
    const int idle = KEEP_IDLE_S;
    const int count = KEEP_COUNT;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static int watch(const struct verbs_peer *verbs, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(verbs->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_parts(struct verbs_peer *verbs, char *ret_reason)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (getsockname(verbs->fd, (struct sockaddr *)&address, &length) != 0) {
        return -errno;
    }
    int error = verbs_domain_open((const struct sockaddr *)&address, &verbs->domain, ret_reason);
    if (error != 0) {
        return error;
    }
    (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "%.48s: no completion queue can be made",
                   verbs->domain->port.name);
    verbs->channel = ibv_create_comp_channel(verbs->domain->port.context);
    if (verbs->channel == NULL) {
        return -ENOMEM;
    }
    int flags = fcntl(verbs->channel->fd, F_GETFL);
    verbs->cq = ibv_create_cq(verbs->domain->port.context, CQ_ENTRIES, NULL, verbs->channel, 0);
    verbs->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (verbs->cq == NULL || verbs->epoll_fd < 0 ||
        fcntl(verbs->channel->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        watch(verbs, verbs->channel->fd) != 0 || watch(verbs, verbs->fd) != 0) {
        return -ENOMEM;
    }
    error = verbs_slots_open(verbs);
    if (error != 0) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES,
                       "%.32s: memory can't be registered; raise the locked-memory limit "
                       "(LimitMEMLOCK=infinity)",
                       verbs->domain->port.name);
    }
    return error;
}

static const char *explain(int error)
{
    switch (error) {
    case -EADDRNOTAVAIL:
        return "its RDMA port has no GID of our type: use RoCE v2, or InfiniBand, on both sides";
    case -ENOSPC:
        return "its RDMA device has no queue pair left";
    case -EINVAL:
        return "the two RDMA ports can't talk to each other: another link layer or GID type";
    case -EPROTO:
        return "it answers with garbage";
    case -ECONNRESET:
        return "it closed the connection";
    case -ETIMEDOUT:
        return "no answer in time";
    default:
        return strerror(-error);
    }
}

static int wait_for_queue(struct verbs_peer *verbs, uint64_t deadline_ns)
{
    struct fabric_done unused;
    struct fabric_sink sink = {.done = &unused, .max = 1};
    int error = queue_ask(verbs);
    while (error == 0 && verbs->queue_state == VERBS_QUEUE_ASKED) {
        uint64_t now_ns = sys_monotonic_ns();
        if (now_ns > deadline_ns) {
            return -ETIMEDOUT;
        }
        struct pollfd item = {.fd = verbs->fd, .events = POLLIN};
        (void)poll(&item, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);
        error = receive(verbs, &sink);
    }
    if (error == 0) {
        verbs->queue_state = VERBS_QUEUE_CONNECTED;
    }
    return error;
}

static int connect_one(const char *text, uint64_t deadline_ns, struct fabric_peer **ret,
                       char *ret_reason)
{
    struct fabric_address address;
    if (fabric_address_parse(text, &address) != 0) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "\"%.64s\" is not ADDRESS:PORT", text);
        return -EHOSTUNREACH;
    }
    struct verbs_peer *verbs = calloc(1, sizeof(*verbs));
    if (verbs == NULL) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "out of memory");
        return -ENOMEM;
    }
    fabric_peer_init(&verbs->peer, &verbs_provider);
    verbs->fd = -1;
    verbs->epoll_fd = -1;
    int error = fabric_connect_hello(SOCK_STREAM, (const struct sockaddr *)&address.storage,
                                     address.length, deadline_ns, &verbs->fd, ret_reason);
    if (error != 0) {
        verbs->fd = -1;
        verbs_close(&verbs->peer);
        return error;
    }
    keep_alive(verbs->fd);
    error = open_parts(verbs, ret_reason);
    if (error == 0) {
        error = wait_for_queue(verbs, deadline_ns);
        if (error != 0) {
            (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "%s", explain(error));
        }
    }
    if (error != 0) {
        verbs_close(&verbs->peer);
        return error == -ETIMEDOUT ? -ETIMEDOUT : -EHOSTUNREACH;
    }
    *ret = &verbs->peer;
    return 0;
}

/* A node with several ports offers several addresses; each peer begins with another. */
int fabric_verbs_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                         struct fabric_peer **ret, char *ret_reason)
{
    char names[FABRIC_VERBS_NAMES_BYTES];
    char text[ADDRESSES_MAX * FABRIC_ADDRESS_BYTES];
    char *addresses[ADDRESSES_MAX];
    char *rest = text;
    uint32_t count = 0;
    uint32_t first;
    int error = -EHOSTUNREACH;
    if (fabric_verbs_devices(names, sizeof(names)) == 0) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "no RDMA device here");
        return -EHOSTUNREACH;
    }
    (void)snprintf(text, sizeof(text), "%s", endpoint->verbs_address);
    while (count < ADDRESSES_MAX && rest != NULL) {
        addresses[count++] = strsep(&rest, ",");
    }
    sys_random(&first, sizeof(first));
    for (uint32_t i = 0; i < count && error != 0; i++) {
        uint64_t until_ns = fabric_connect_share(deadline_ns, count - i);
        error = connect_one(addresses[(first + i) % count], until_ns, ret, ret_reason);
    }
    return error;
}
