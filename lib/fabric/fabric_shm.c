/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs of a memory node on the same host: the node passes each granted slab's memory as a file
 * descriptor over its unix socket, it is mapped here, and a request is a memcpy that is done when
 * the post returns; only its completion waits for the poll. The connection stays open for revokes,
 * and its end means that the node is dead.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "lib/base/check.h"
#include "lib/fabric/connect.h"
#include "lib/fabric/provider.h"

#define DONE_MAX 512u /* completed requests that were not polled yet */
/* Of polls that find completions so many pass, without a look at the clock, between two looks at
 * the socket. */
#define BUSY_POLLS 32u
#define CPUID_ERMS (1u << 9) /* leaf 7: rep movsb is fast */

struct shm_peer {
    struct fabric_peer peer;
    int fd;
    uint32_t busy_polls;
    bool string_moves;
    struct fabric_look look;
    uint32_t done_head;
    uint32_t done_count;
    uint64_t done[DONE_MAX];
};

static struct shm_peer *shm_of(struct fabric_peer *peer)
{
    return container_of(peer, struct shm_peer, peer);
}

static void unmap(struct fabric_slabs_item *item)
{
    if (item->base != NULL) {
        CHECK(munmap(item->base, item->bytes) == 0);
        item->base = NULL;
    }
}

/* The descriptor stays open until the close: the owner may still have it in an epoll. */
static void die(struct shm_peer *shm)
{
    shm->peer.dead = true;
    (void)shutdown(shm->fd, SHUT_RDWR);
}

static int send_request(struct shm_peer *shm, uint8_t kind, uint32_t handle)
{
    uint8_t data[PAGEOP_REQUEST_BYTES];
    const struct pageop_request request = {.kind = kind, .handle = handle};
    pageop_request_encode(&request, data);
    ssize_t count = send(shm->fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT);
    return count == (ssize_t)sizeof(data) ? 0 : -errno;
}

static int shm_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t slab)
{
    struct shm_peer *shm = shm_of(peer);
    uint8_t data[PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES];
    const struct pageop_request request = {
        .kind = PAGEOP_ATTACH, .handle = slab, .length = PAGEOP_ATTACH_BYTES};
    struct pageop_attach attach = {.slab_index = grant->slab_index,
                                   .incarnation = grant->incarnation,
                                   .generation = grant->generation};
    memcpy(attach.key, grant->key, sizeof(attach.key));
    pageop_request_encode(&request, data);
    pageop_attach_encode(&attach, data + PAGEOP_REQUEST_BYTES);
    if (send(shm->fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(data)) {
        fabric_slabs_get(&peer->slabs, slab)->attach_left = 1;
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return -EAGAIN;
    }
    die(shm);
    return -ENOTCONN;
}

static void attach_complete(struct shm_peer *shm, struct fabric_slabs_item *item, int status,
                            struct fabric_sink *sink)
{
    item->attach_left = 0;
    fabric_slabs_move(&shm->peer.slabs, item->index,
                      status == 0 ? FABRIC_SLAB_READY : FABRIC_SLAB_REVOKED);
    fabric_sink_put(sink, item->attach_token, status);
}

/*
 * Maps what the node passed. A file that is too small, or could still shrink, would kill us with
 * SIGBUS later, so it is refused. A read-only grant comes as a read-only descriptor.
 */
static int map_slab(struct fabric_slabs_item *item, int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || (uint64_t)status.st_size < item->bytes) {
        return -EIO;
    }
    if ((fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) == 0) {
        return -EIO;
    }
    bool writable = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, item->bytes, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return -EIO;
    }
    item->base = base;
    item->writable = writable;
    return 0;
}

static int attach_arrived(struct shm_peer *shm, const struct pageop_reply *reply, int fd,
                          struct fabric_sink *sink)
{
    struct fabric_slabs_item *item = fabric_slabs_get(&shm->peer.slabs, reply->handle);
    if (item == NULL || item->state != FABRIC_SLAB_ATTACHING) {
        return -EPROTO;
    }
    int status = reply->status == PAGEOP_OK ? map_slab(item, fd) : -EIO;
    attach_complete(shm, item, reply->status == PAGEOP_DENIED ? -EACCES : status, sink);
    return 0;
}

/*
 * Unmaps and says so. In any state but READY the revoke means a binding of this handle that was
 * given up before: its DETACH is the answer.
 */
static int revoke_arrived(struct shm_peer *shm, const struct pageop_reply *reply)
{
    struct fabric_slabs_item *item = fabric_slabs_get(&shm->peer.slabs, reply->handle);
    if (item == NULL || item->state != FABRIC_SLAB_READY) {
        return 0;
    }
    unmap(item);
    fabric_slabs_move(&shm->peer.slabs, item->index, FABRIC_SLAB_REVOKED);
    /* A full socket buffer: the node is not reading; it will give up on us in the end. */
    int error = send_request(shm, PAGEOP_UNMAPPED, reply->handle);
    return error == -EAGAIN ? 0 : error;
}

/*
 * The descriptor that came along, or -1 if there is not exactly one. The control buffer's padding
 * has room for a second one, which would stay open for ever.
 */
static int take_descriptor(struct msghdr *message)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        return -1;
    }
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int fd = -1;
    for (size_t i = 0; i < count; i++) {
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        if (count != 1) {
            (void)close(fd);
        }
    }
    return count == 1 ? fd : -1;
}

/* One message, with the descriptor that came along or -1. Returns as recvmsg, or -errno. */
static ssize_t receive_message(int socket_fd, uint8_t *data, size_t bytes, int *ret_fd)
{
    union {
        struct cmsghdr align;
        char data[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iovec = {.iov_base = data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &iovec,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t count = recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *ret_fd = -1;
    if (count < 0) {
        return -errno;
    }
    *ret_fd = take_descriptor(&message);
    return count;
}

static int message_arrived(struct shm_peer *shm, const uint8_t *data, size_t bytes, int fd,
                           struct fabric_sink *sink)
{
    struct pageop_reply reply;
    if (bytes != PAGEOP_REPLY_BYTES || pageop_reply_decode(data, &reply) != 0) {
        return -EPROTO;
    }
    switch (reply.kind) {
    case PAGEOP_ATTACH:
        return attach_arrived(shm, &reply, fd, sink);
    case PAGEOP_REVOKE:
        return revoke_arrived(shm, &reply);
    default:
        return -EPROTO;
    }
}

static void receive(struct shm_peer *shm, struct fabric_sink *sink)
{
    while (!fabric_sink_full(sink) && !shm->peer.dead) {
        uint8_t data[PAGEOP_REPLY_BYTES + 1];
        int fd;
        ssize_t count = receive_message(shm->fd, data, sizeof(data), &fd);
        if (count == -EAGAIN) {
            return;
        }
        if (count == -EINTR) {
            continue;
        }
        if (count <= 0 || message_arrived(shm, data, (size_t)count, fd, sink) != 0) {
            die(shm);
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
}

static void complete_dead(struct shm_peer *shm, struct fabric_sink *sink)
{
    for (uint32_t i = 0; i < shm->peer.slabs.count && !fabric_sink_full(sink); i++) {
        struct fabric_slabs_item *item = fabric_slabs_get(&shm->peer.slabs, i);
        if (item != NULL && item->state == FABRIC_SLAB_ATTACHING) {
            attach_complete(shm, item, -ENOTCONN, sink);
        }
    }
}

static void send_detaches(struct shm_peer *shm)
{
    struct fabric_slabs *slabs = &shm->peer.slabs;
    while (!list_empty(&slabs->detaching)) {
        struct fabric_slabs_item *item =
            list_entry(list_first(&slabs->detaching), struct fabric_slabs_item, node);
        int error = shm->peer.dead ? 0 : send_request(shm, PAGEOP_DETACH, item->index);
        if (error == -EAGAIN || error == -EINTR) {
            return;
        }
        fabric_slabs_move(slabs, item->index, FABRIC_SLAB_FREE);
        if (error != 0) {
            die(shm);
        }
    }
}

static void shm_detach(struct fabric_peer *peer, uint32_t slab)
{
    unmap(fabric_slabs_get(&peer->slabs, slab));
    send_detaches(shm_of(peer));
}

static void shm_arm(struct fabric_peer *peer)
{
    fabric_look_arm(&shm_of(peer)->look);
}

static bool must_look(struct shm_peer *shm)
{
    if (shm->done_count == 0 || shm->look.due != 0) {
        return fabric_look_due(&shm->look);
    }
    shm->busy_polls = (shm->busy_polls + 1) % BUSY_POLLS;
    return shm->busy_polls == 0;
}

static void shm_poll(struct fabric_peer *peer, struct fabric_sink *sink)
{
    struct shm_peer *shm = shm_of(peer);
    /* First, or a caller that takes few completions at a time would never hear of a revoke. */
    if (must_look(shm)) {
        receive(shm, sink);
        send_detaches(shm);
    }
    while (shm->done_count != 0 && !fabric_sink_full(sink)) {
        fabric_sink_put(sink, shm->done[shm->done_head], 0);
        shm->done_head = (shm->done_head + 1) % DONE_MAX;
        shm->done_count--;
    }
    if (peer->dead) {
        complete_dead(shm, sink);
    }
}

/*
 * Where a page goes to lies in another processor's cache as a rule. A string move takes it from
 * there sooner than the C library's loop, which moves strings only above 8 KiB on some processors.
 */
static bool moves_strings_fast(void)
{
#if defined(__x86_64__)
    unsigned a;
    unsigned b = 0;
    unsigned c;
    unsigned d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & CPUID_ERMS) != 0;
#else
    return false;
#endif
}

static void move(const struct shm_peer *shm, void *to, const void *from, size_t bytes)
{
#if defined(__x86_64__)
    if (shm->string_moves && bytes >= PAGE_BYTES) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
        return;
    }
#endif
    memcpy(to, from, bytes);
}

static void copy(const struct shm_peer *shm, const struct fabric_slabs_item *item,
                 const struct fabric_request *request)
{
    uint8_t *at = item->base + request->offset;
    for (uint32_t i = 0; i < request->segment_count; i++) {
        const struct iovec *segment = &request->segments[i];
        if (request->write) {
            move(shm, at, segment->iov_base, segment->iov_len);
        } else {
            move(shm, segment->iov_base, at, segment->iov_len);
        }
        at += segment->iov_len;
    }
}

static int shm_post(struct fabric_peer *peer, const struct fabric_request *request)
{
    struct shm_peer *shm = shm_of(peer);
    const struct fabric_slabs_item *item = fabric_slabs_get(&peer->slabs, request->slab);
    if (request->write && !item->writable) {
        return fabric_post_denied(peer, request->token);
    }
    if (shm->done_count == DONE_MAX) {
        return -EAGAIN;
    }
    copy(shm, item, request);
    peer->counters.bytes_read += request->write ? 0 : request->length;
    peer->counters.bytes_written += request->write ? request->length : 0;
    shm->done[(shm->done_head + shm->done_count) % DONE_MAX] = request->token;
    shm->done_count++;
    return 0;
}

static int shm_poll_fd(const struct fabric_peer *peer)
{
    return container_of(peer, const struct shm_peer, peer)->fd;
}

static void shm_close(struct fabric_peer *peer)
{
    struct shm_peer *shm = shm_of(peer);
    for (uint32_t i = 0; i < peer->slabs.count; i++) {
        unmap(peer->slabs.items[i]);
    }
    if (shm->fd >= 0) {
        (void)close(shm->fd);
    }
    fabric_peer_fini(peer);
    free(shm);
}

static const struct fabric_provider shm_provider = {
    .name = "shm",
    .close = shm_close,
    .attach = shm_attach,
    .detach = shm_detach,
    .post = shm_post,
    .poll = shm_poll,
    .poll_fd = shm_poll_fd,
    .arm = shm_arm,
};

int fabric_shm_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                       struct fabric_peer **ret, char *ret_reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(endpoint->shm_path) >= sizeof(address.sun_path)) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "the socket's path is too long");
        return -EHOSTUNREACH;
    }
    memcpy(address.sun_path, endpoint->shm_path, strlen(endpoint->shm_path));
    struct shm_peer *shm = calloc(1, sizeof(*shm));
    if (shm == NULL) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "out of memory");
        return -ENOMEM;
    }
    fabric_peer_init(&shm->peer, &shm_provider);
    shm->string_moves = moves_strings_fast();
    int error = fabric_connect_hello(SOCK_SEQPACKET, (const struct sockaddr *)&address,
                                     sizeof(address), deadline_ns, &shm->fd, ret_reason);
    if (error != 0) {
        shm->fd = -1;
        shm_close(&shm->peer);
        return error;
    }
    *ret = &shm->peer;
    return 0;
}
