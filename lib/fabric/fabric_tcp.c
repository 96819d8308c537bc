/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs over TCP (lib/wire/pageop.h). Two connections, called lanes: one carries reads, the other
 * writes, so that a demand read never waits behind a megabyte of write-back. Requests are
 * pipelined; each occupies a slot, and the token on the wire names slot and use, so that a late or
 * made-up reply is noticed. Data moves straight between the socket and the caller's segments.
 *
 * Several replies are received by one call, by guessing that they come in the order of the requests
 * and that all succeed: then each header and each page is where it belongs. Where a reply proves
 * the guess wrong, what came behind it is taken out again and goes through the slow way, header by
 * header (the stash). Guessed places are segments of reads in flight, which nobody looks at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/fabric/connect.h"
#include "lib/fabric/provider.h"
#include "lib/fabric/tcp_stash.h"
#include "lib/sys/sys.h"

#define SLOTS           256u
#define SEND_IOVECS     64u
#define RECEIVE_IOVECS  128u
#define GUESSES_MAX     64u
#define GUESS_BYTES_MAX (1u << 20) /* the last one may go beyond */
#define NO_SLOT         UINT32_MAX

enum lane_name { LANE_READ, LANE_WRITE, LANES };

enum slot_state {
    SLOT_FREE,
    SLOT_QUEUED, /* waits for the socket, perhaps partly sent */
    SLOT_SENT,   /* waits for the reply */
    SLOT_FILLING /* the reply is here, its data is arriving in the segments */
};

struct slot {
    enum slot_state state;
    enum lane_name lane;
    uint8_t kind; /* enum pageop_kind */
    uint32_t sequence;
    uint32_t slab;
    uint32_t length; /* of the data, either way */
    uint64_t token;  /* the caller's */
    uint32_t segment_count;
    struct iovec segments[FABRIC_SEGMENTS_MAX];
    uint32_t header_bytes;
    uint8_t header[PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES];
};

struct lane {
    int fd;
    bool wants_output; /* as epoll knows it */
    uint32_t in_flight;
    /* Slots in the order of their requests, a ring: those that wait for a reply, then those to
     * send.
     */
    uint32_t ring[SLOTS];
    uint32_t ring_head;
    uint32_t sent_count;
    uint32_t queue_count;
    size_t head_sent; /* bytes of the first to send */
    /* The reply that is arriving. */
    uint32_t filling;
    uint32_t filled;
    uint32_t reply_bytes;
    uint8_t reply[PAGEOP_REPLY_BYTES];
    struct tcp_stash stash; /* what came but was put elsewhere by a wrong guess */
};

/* Where one receive puts what comes. */
struct input {
    struct iovec iovecs[RECEIVE_IOVECS];
    uint32_t count;
    uint32_t guess_count;
    /* Of the guessed replies but the first, whose header goes to lane->reply. */
    uint8_t headers[GUESSES_MAX][PAGEOP_REPLY_BYTES];
};

struct tcp_peer {
    struct fabric_peer peer;
    struct fabric_look look;
    int epoll_fd;
    struct lane lanes[LANES];
    struct slot slots[SLOTS];
    uint32_t free_slots[SLOTS];
    uint32_t free_count;
};

static struct tcp_peer *tcp_of(struct fabric_peer *peer)
{
    return container_of(peer, struct tcp_peer, peer);
}

static void die(struct tcp_peer *tcp)
{
    tcp->peer.dead = true;
    for (unsigned i = 0; i < LANES; i++) {
        if (tcp->lanes[i].fd >= 0) {
            (void)close(tcp->lanes[i].fd);
            tcp->lanes[i].fd = -1;
        }
        tcp_stash_clear(&tcp->lanes[i].stash);
    }
}

static struct slot *ring_slot(struct tcp_peer *tcp, const struct lane *lane, uint32_t position)
{
    return &tcp->slots[lane->ring[(lane->ring_head + position) % SLOTS]];
}

/* Takes one out, nearly always the first. */
static void ring_remove(struct lane *lane, uint32_t position)
{
    for (uint32_t i = position; i > 0; i--) {
        lane->ring[(lane->ring_head + i) % SLOTS] = lane->ring[(lane->ring_head + i - 1) % SLOTS];
    }
    lane->ring_head = (lane->ring_head + 1) % SLOTS;
}

/* It is answered: waits in the ring no more. */
static void ring_answered(struct tcp_peer *tcp, struct lane *lane, const struct slot *slot)
{
    uint32_t position = 0;
    while (ring_slot(tcp, lane, position) != slot) {
        position++;
        CHECK(position < lane->sent_count);
    }
    ring_remove(lane, position);
    lane->sent_count--;
}

/* A slot of `lane`, already in its queue. The caller has made sure that one is free. */
static struct slot *slot_queue(struct tcp_peer *tcp, enum lane_name name,
                               const struct pageop_request *request)
{
    CHECK(tcp->free_count != 0);
    struct lane *lane = &tcp->lanes[name];
    uint32_t index = tcp->free_slots[--tcp->free_count];
    struct slot *slot = &tcp->slots[index];
    struct pageop_request wire = *request;

    slot->state = SLOT_QUEUED;
    slot->lane = name;
    slot->kind = request->kind;
    slot->sequence++;
    slot->slab = request->handle;
    slot->length = 0;
    slot->segment_count = 0;
    slot->header_bytes = PAGEOP_REQUEST_BYTES;
    wire.token = (uint64_t)slot->sequence << 32 | index;
    pageop_request_encode(&wire, slot->header);

    lane->ring[(lane->ring_head + lane->sent_count + lane->queue_count) % SLOTS] = index;
    lane->queue_count++;
    lane->in_flight++;
    return slot;
}

static void slot_free(struct tcp_peer *tcp, struct slot *slot)
{
    CHECK(slot->state != SLOT_FREE);
    slot->state = SLOT_FREE;
    tcp->lanes[slot->lane].in_flight--;
    tcp->free_slots[tcp->free_count++] = (uint32_t)(slot - tcp->slots);
}

/* One lane has answered the attach of a slab; the last one completes it. */
static void attach_answered(struct tcp_peer *tcp, uint32_t slab, int status,
                            struct fabric_sink *sink)
{
    struct fabric_slabs_item *item = fabric_slabs_get(&tcp->peer.slabs, slab);
    CHECK(item != NULL);
    CHECK(item->attach_left != 0);
    if (item->attach_status == 0) {
        item->attach_status = status;
    }
    if (--item->attach_left == 0) {
        fabric_slabs_move(&tcp->peer.slabs, slab,
                          item->attach_status == 0 ? FABRIC_SLAB_READY : FABRIC_SLAB_REVOKED);
        fabric_sink_put(sink, item->attach_token, item->attach_status);
    }
}

static void slot_complete(struct tcp_peer *tcp, struct slot *slot, int status,
                          struct fabric_sink *sink)
{
    slot_free(tcp, slot);
    if (slot->kind == PAGEOP_ATTACH) {
        attach_answered(tcp, slot->slab, status, sink);
    } else if (slot->kind != PAGEOP_DETACH) {
        struct fabric_counters *counters = &tcp->peer.counters;
        counters->bytes_read += status == 0 && slot->kind == PAGEOP_READ ? slot->length : 0;
        counters->bytes_written += status == 0 && slot->kind == PAGEOP_WRITE ? slot->length : 0;
        fabric_sink_put(sink, slot->token, status);
    }
}

/* Everything that was in flight, as far as the sink has room; the rest on the next call. */
static void complete_dead(struct tcp_peer *tcp, struct fabric_sink *sink)
{
    for (uint32_t i = 0; i < SLOTS && !fabric_sink_full(sink); i++) {
        if (tcp->slots[i].state != SLOT_FREE) {
            slot_complete(tcp, &tcp->slots[i], -ENOTCONN, sink);
        }
    }
}

static size_t slot_wire_bytes(const struct slot *slot)
{
    return slot->header_bytes + (slot->kind == PAGEOP_WRITE ? slot->length : 0);
}

/* Appends the parts of `from` after `skip` bytes to `to`; returns the new count, at most `max`. */
static uint32_t append_rest(struct iovec *to, uint32_t count, uint32_t max,
                            const struct iovec *from, uint32_t from_count, size_t skip)
{
    for (uint32_t i = 0; i < from_count && count < max; i++) {
        if (skip >= from[i].iov_len) {
            skip -= from[i].iov_len;
            continue;
        }
        to[count++] = (struct iovec){.iov_base = (uint8_t *)from[i].iov_base + skip,
                                     .iov_len = from[i].iov_len - skip};
        skip = 0;
    }
    return count;
}

static uint32_t gather_output(struct tcp_peer *tcp, const struct lane *lane, struct iovec *to)
{
    uint32_t count = 0;
    size_t skip = lane->head_sent;
    for (uint32_t i = 0; i < lane->queue_count && count < SEND_IOVECS; i++) {
        struct slot *slot = ring_slot(tcp, lane, lane->sent_count + i);
        const struct iovec header = {.iov_base = slot->header, .iov_len = slot->header_bytes};
        count = append_rest(to, count, SEND_IOVECS, &header, 1, skip);
        if (slot->kind == PAGEOP_WRITE) {
            size_t data_skip = skip > slot->header_bytes ? skip - slot->header_bytes : 0;
            count =
                append_rest(to, count, SEND_IOVECS, slot->segments, slot->segment_count, data_skip);
        }
        skip = 0;
    }
    return count;
}

static void output_sent(struct tcp_peer *tcp, struct lane *lane, size_t bytes)
{
    lane->head_sent += bytes;
    while (lane->queue_count != 0) {
        struct slot *slot = ring_slot(tcp, lane, lane->sent_count);
        if (lane->head_sent < slot_wire_bytes(slot)) {
            return;
        }
        lane->head_sent -= slot_wire_bytes(slot);
        lane->queue_count--;
        slot->state = SLOT_SENT;
        if (slot->kind == PAGEOP_DETACH) {
            ring_remove(lane, lane->sent_count);
            slot_free(tcp, slot);
        } else {
            lane->sent_count++;
        }
    }
}

static void set_wants_output(struct tcp_peer *tcp, struct lane *lane, bool wants)
{
    if (lane->wants_output == wants) {
        return;
    }
    struct epoll_event event = {.events = wants ? EPOLLIN | EPOLLOUT : EPOLLIN};
    if (epoll_ctl(tcp->epoll_fd, EPOLL_CTL_MOD, lane->fd, &event) != 0) {
        die(tcp);
        return;
    }
    lane->wants_output = wants;
}

static void flush(struct tcp_peer *tcp, struct lane *lane)
{
    while (lane->queue_count != 0) {
        struct iovec iovecs[SEND_IOVECS];
        struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = gather_output(tcp, lane, iovecs)};
        ssize_t count = sendmsg(lane->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno != EAGAIN) {
            die(tcp);
            return;
        }
        if (count < 0) {
            break;
        }
        output_sent(tcp, lane, (size_t)count);
    }
    set_wants_output(tcp, lane, lane->queue_count != 0);
}

static int status_to_errno(uint16_t status)
{
    switch (status) {
    case PAGEOP_OK:
        return 0;
    case PAGEOP_DENIED:
        return -EACCES;
    default:
        return -EIO;
    }
}

/* The slot that a reply on `lane` answers; NULL if there is none: the node is out of its mind. */
static struct slot *slot_of_reply(struct tcp_peer *tcp, const struct lane *lane,
                                  const struct pageop_reply *reply)
{
    uint32_t index = (uint32_t)reply->token;
    if (index >= SLOTS) {
        return NULL;
    }
    struct slot *slot = &tcp->slots[index];
    if (slot->state != SLOT_SENT || slot->sequence != reply->token >> 32 ||
        &tcp->lanes[slot->lane] != lane || slot->kind != reply->kind ||
        slot->slab != reply->handle) {
        return NULL;
    }
    if (reply->length != 0 && reply->length != slot->length) {
        return NULL;
    }
    return slot;
}

/* A whole reply header is there; *ret_slot is whose. */
static int reply_arrived(struct tcp_peer *tcp, struct lane *lane, struct fabric_sink *sink,
                         uint32_t *ret_slot)
{
    struct pageop_reply reply;
    int error = pageop_reply_decode(lane->reply, &reply);
    struct slot *slot = error == 0 ? slot_of_reply(tcp, lane, &reply) : NULL;
    if (slot == NULL) {
        return -EPROTO;
    }
    lane->reply_bytes = 0;
    *ret_slot = (uint32_t)reply.token;
    ring_answered(tcp, lane, slot);
    if (reply.length != 0) {
        slot->state = SLOT_FILLING;
        lane->filling = (uint32_t)reply.token;
        lane->filled = 0;
    } else {
        slot_complete(tcp, slot, status_to_errno(reply.status), sink);
    }
    return 0;
}

/*
 * The rest of the reply that is arriving, then up to `guesses` whole ones; with none, one header.
 * Nothing is asked for that could complete more than `room` requests.
 */
static void gather_input(struct tcp_peer *tcp, struct lane *lane, uint32_t guesses, uint32_t room,
                         struct input *to)
{
    uint32_t bytes = 0;
    to->count = 0;
    to->guess_count = 0;
    if (lane->filling != NO_SLOT) {
        const struct slot *slot = &tcp->slots[lane->filling];
        to->count = append_rest(to->iovecs, 0, FABRIC_SEGMENTS_MAX, slot->segments,
                                slot->segment_count, lane->filled);
        room--;
    }
    guesses = MIN(MIN(guesses, room), lane->sent_count);
    while (to->guess_count < guesses && bytes < GUESS_BYTES_MAX &&
           to->count + 1 + FABRIC_SEGMENTS_MAX <= RECEIVE_IOVECS) {
        const struct slot *slot = ring_slot(tcp, lane, to->guess_count);
        bool first = to->guess_count == 0;
        uint32_t there = first ? lane->reply_bytes : 0;
        uint8_t *header = first ? lane->reply : to->headers[to->guess_count];
        to->iovecs[to->count++] =
            (struct iovec){.iov_base = header + there, .iov_len = PAGEOP_REPLY_BYTES - there};
        if (slot->kind == PAGEOP_READ) {
            memcpy(&to->iovecs[to->count], slot->segments,
                   slot->segment_count * sizeof(struct iovec));
            to->count += slot->segment_count;
            bytes += slot->length;
        }
        to->guess_count++;
    }
    if (to->guess_count == 0 && room > 0) {
        to->iovecs[to->count++] = (struct iovec){.iov_base = lane->reply + lane->reply_bytes,
                                                 .iov_len = PAGEOP_REPLY_BYTES - lane->reply_bytes};
    }
}

/* Up to `bytes` more of the reply that is filling; returns how many of them are its own. */
static size_t data_arrived(struct tcp_peer *tcp, struct lane *lane, size_t bytes,
                           struct fabric_sink *sink)
{
    struct slot *slot = &tcp->slots[lane->filling];
    size_t taken = MIN(bytes, (size_t)(slot->length - lane->filled));
    lane->filled += (uint32_t)taken;
    if (lane->filled == slot->length) {
        lane->filling = NO_SLOT;
        slot_complete(tcp, slot, 0, sink);
    }
    return taken;
}

/* The input's header number `number` as far as it came; returns its bytes. */
static size_t header_arrived(struct lane *lane, const struct input *input, uint32_t number,
                             size_t bytes)
{
    size_t part = MIN(bytes, (size_t)(PAGEOP_REPLY_BYTES - lane->reply_bytes));
    if (number != 0) {
        memcpy(lane->reply, input->headers[number], part);
    }
    lane->reply_bytes += (uint32_t)part;
    return part;
}

/* `bytes` came and lie where gather_input() wanted them. */
static int input_arrived(struct tcp_peer *tcp, struct lane *lane, const struct input *input,
                         size_t bytes, struct fabric_sink *sink)
{
    size_t done = lane->filling != NO_SLOT ? data_arrived(tcp, lane, bytes, sink) : 0;
    for (uint32_t number = 0; done < bytes; number++) {
        bool guessed = number < input->guess_count;
        const struct slot *expected = guessed ? ring_slot(tcp, lane, 0) : NULL;
        done += header_arrived(lane, input, number, bytes - done);
        if (lane->reply_bytes < PAGEOP_REPLY_BYTES) {
            return 0;
        }
        uint32_t index;
        if (reply_arrived(tcp, lane, sink, &index) != 0) {
            return -EPROTO;
        }
        bool has_data = lane->filling != NO_SLOT;
        if (expected != &tcp->slots[index] || has_data != (expected->kind == PAGEOP_READ)) {
            return tcp_stash_put(&lane->stash, input->iovecs, done, bytes - done);
        }
        done += has_data ? data_arrived(tcp, lane, bytes - done, sink) : 0;
    }
    return 0;
}

/* Once from stash or socket. Returns whether there may be more; the peer may be dead then. */
static bool receive_once(struct tcp_peer *tcp, struct lane *lane, struct fabric_sink *sink)
{
    struct input input;
    bool from_stash = !tcp_stash_is_empty(&lane->stash);
    gather_input(tcp, lane, from_stash ? 0 : GUESSES_MAX, sink->max - sink->count, &input);
    ssize_t count;
    if (from_stash) {
        count = (ssize_t)tcp_stash_take(&lane->stash, input.iovecs, input.count);
    } else {
        struct msghdr message = {.msg_iov = input.iovecs, .msg_iovlen = input.count};
        count = recvmsg(lane->fd, &message, MSG_DONTWAIT);
    }
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
        return errno == EINTR;
    }
    if (count <= 0 || input_arrived(tcp, lane, &input, (size_t)count, sink) != 0) {
        die(tcp);
        return false;
    }
    /* Less than was asked for: the socket is empty, or the next poll sees the end. */
    return !tcp_stash_is_empty(&lane->stash) ||
           (size_t)count == sys_iovec_bytes(input.iovecs, input.count);
}

/* Takes what there is, until the sink is full. */
static void receive(struct tcp_peer *tcp, struct lane *lane, struct fabric_sink *sink)
{
    while (!fabric_sink_full(sink) && receive_once(tcp, lane, sink)) {
        if (lane->in_flight == 0 && sink->count != 0 && tcp_stash_is_empty(&lane->stash)) {
            return; /* nothing may come but the end, which the next poll sees */
        }
    }
}

/* Tells the node about slabs that were given up, as far as slots are free. */
static void send_detaches(struct tcp_peer *tcp)
{
    struct fabric_slabs *slabs = &tcp->peer.slabs;
    while (!list_empty(&slabs->detaching) && tcp->free_count >= LANES) {
        struct fabric_slabs_item *item =
            list_entry(list_first(&slabs->detaching), struct fabric_slabs_item, node);
        const struct pageop_request request = {.kind = PAGEOP_DETACH, .handle = item->index};
        for (unsigned i = 0; i < LANES; i++) {
            (void)slot_queue(tcp, i, &request);
        }
        fabric_slabs_move(slabs, item->index, FABRIC_SLAB_FREE);
    }
}

static void tcp_poll(struct fabric_peer *peer, struct fabric_sink *sink)
{
    struct tcp_peer *tcp = tcp_of(peer);
    if (!peer->dead) {
        send_detaches(tcp);
    }
    /* An idle peer is still looked at, to notice its death. */
    bool look = tcp->free_count == SLOTS && fabric_look_due(&tcp->look);
    for (unsigned i = 0; i < LANES && !peer->dead; i++) {
        flush(tcp, &tcp->lanes[i]);
    }
    for (unsigned i = 0; i < LANES && !peer->dead; i++) {
        if (look || tcp->lanes[i].in_flight != 0) {
            receive(tcp, &tcp->lanes[i], sink);
        }
    }
    if (peer->dead) {
        complete_dead(tcp, sink);
    }
}

static int tcp_post(struct fabric_peer *peer, const struct fabric_request *request)
{
    struct tcp_peer *tcp = tcp_of(peer);
    if (tcp->free_count == 0) {
        return -EAGAIN;
    }
    const struct pageop_request wire = {.kind = request->write ? PAGEOP_WRITE : PAGEOP_READ,
                                        .handle = request->slab,
                                        .offset = request->offset,
                                        .length = request->length};
    struct slot *slot = slot_queue(tcp, request->write ? LANE_WRITE : LANE_READ, &wire);
    slot->token = request->token;
    slot->length = request->length;
    slot->segment_count = request->segment_count;
    memcpy(slot->segments, request->segments, request->segment_count * sizeof(struct iovec));
    return 0;
}

static int tcp_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t slab)
{
    struct tcp_peer *tcp = tcp_of(peer);
    if (tcp->free_count < LANES) {
        return -EAGAIN;
    }
    const struct pageop_request wire = {
        .kind = PAGEOP_ATTACH, .handle = slab, .length = PAGEOP_ATTACH_BYTES};
    struct pageop_attach attach = {.slab_index = grant->slab_index,
                                   .incarnation = grant->incarnation,
                                   .generation = grant->generation};
    memcpy(attach.key, grant->key, sizeof(attach.key));
    fabric_slabs_get(&peer->slabs, slab)->attach_left = LANES;
    for (unsigned i = 0; i < LANES; i++) {
        struct slot *slot = slot_queue(tcp, i, &wire);
        pageop_attach_encode(&attach, slot->header + PAGEOP_REQUEST_BYTES);
        slot->header_bytes += PAGEOP_ATTACH_BYTES;
    }
    return 0;
}

/* The slab is on the list that send_detaches() works off. */
static void tcp_detach(struct fabric_peer *peer, uint32_t slab)
{
    if (peer->dead) {
        fabric_slabs_move(&peer->slabs, slab, FABRIC_SLAB_FREE);
    }
}

static int tcp_poll_fd(const struct fabric_peer *peer)
{
    return container_of(peer, const struct tcp_peer, peer)->epoll_fd;
}

static void tcp_arm(struct fabric_peer *peer)
{
    fabric_look_arm(&tcp_of(peer)->look);
}

static void tcp_close(struct fabric_peer *peer)
{
    struct tcp_peer *tcp = tcp_of(peer);
    die(tcp);
    if (tcp->epoll_fd >= 0) {
        (void)close(tcp->epoll_fd);
    }
    fabric_peer_fini(peer);
    free(tcp);
}

static const struct fabric_provider tcp_provider = {
    .name = "tcp",
    .close = tcp_close,
    .attach = tcp_attach,
    .detach = tcp_detach,
    .post = tcp_post,
    .poll = tcp_poll,
    .poll_fd = tcp_poll_fd,
    .arm = tcp_arm,
};

static struct tcp_peer *tcp_new(void)
{
    struct tcp_peer *tcp = calloc(1, sizeof(*tcp));
    if (tcp == NULL) {
        return NULL;
    }
    fabric_peer_init(&tcp->peer, &tcp_provider);
    for (uint32_t i = 0; i < SLOTS; i++) {
        tcp->free_slots[tcp->free_count++] = SLOTS - 1 - i;
    }
    for (unsigned i = 0; i < LANES; i++) {
        tcp->lanes[i].fd = -1;
        tcp->lanes[i].filling = NO_SLOT;
    }
    tcp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return tcp;
}

static int tcp_connect_lane(struct tcp_peer *tcp, struct lane *lane,
                            const struct fabric_address *address, uint64_t deadline_ns,
                            char *ret_reason)
{
    int error = fabric_connect_hello(SOCK_STREAM, (const struct sockaddr *)&address->storage,
                                     address->length, deadline_ns, &lane->fd, ret_reason);
    if (error != 0) {
        return error;
    }
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(tcp->epoll_fd, EPOLL_CTL_ADD, lane->fd, &event) != 0) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "epoll: %s", strerror(errno));
        return -EHOSTUNREACH;
    }
    return 0;
}

int fabric_tcp_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                       struct fabric_peer **ret, char *ret_reason)
{
    struct fabric_address address;
    if (fabric_address_parse(endpoint->tcp_address, &address) != 0) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "\"%.64s\" is not ADDRESS:PORT",
                       endpoint->tcp_address);
        return -EHOSTUNREACH;
    }
    struct tcp_peer *tcp = tcp_new();
    if (tcp == NULL) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "out of memory");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < LANES; i++) {
        int error = tcp_connect_lane(tcp, &tcp->lanes[i], &address, deadline_ns, ret_reason);
        if (error != 0) {
            tcp_close(&tcp->peer);
            return error;
        }
    }
    *ret = &tcp->peer;
    return 0;
}
