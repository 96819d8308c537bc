/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fabric's client side (tcp, shm) against a memory node that breaks the rules. The input is a
 * script of what the client posts and what the node says. Promises that must hold: each post and
 * attach completes exactly once, the dead peer's too; a read completes well only if the node sent
 * all of it; nothing is written to a segment after its completion (it is freed then, so that the
 * sanitizer sees it); no descriptor is left open.
 *
 * lib/fabric/connect.c is replaced: each connection is one end of a socket pair.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/connect.h"
#include "lib/fabric/provider.h"
#include "lib/wire/pageop.h"
#include "tests/fuzz/input.h"

#define LANES           2u
#define SLAB_BYTES      65536u
#define SLABS_MAX       8u
#define POSTS_MAX       64u
#define OPERATIONS_MAX  128u
#define CLOSE_POLLS_MAX 10000u
#define ATTACH_TOKEN    1000u
#define WIRE_BYTES      65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    int fds[LANES]; /* the node's ends */
    unsigned count;
} wire;

int fabric_connect_hello(int type, const struct sockaddr *address, socklen_t address_length,
                         uint64_t deadline_ns, int *ret_fd, char *ret_reason)
{
    int fds[2];
    CHECK(wire.count < LANES);
    CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    wire.fds[wire.count++] = fds[1];
    *ret_fd = fds[0];
    return 0;
}

struct post {
    bool pending;
    uint8_t *data;
    uint32_t bytes;
};

struct fuzz {
    struct fabric_peer *peer;
    bool shm;
    int slab_fd, sealed_fd;
    struct post posts[POSTS_MAX];
    struct {
        bool taken;
        bool attaching;
        bool usable;
        uint32_t in_flight;
        uint32_t handle;
    } slabs[SLABS_MAX];
    uint32_t slab_of_post[POSTS_MAX];
    /* What the client asked for last on each lane. */
    struct pageop_request requests[LANES];
};

/* ---- the client ---- */

static void attach(struct fuzz *fuzz, uint32_t i)
{
    const struct fabric_grant grant = {.slab_index = i, .generation = 1, .slab_bytes = SLAB_BYTES};
    if (fuzz->slabs[i].taken ||
        fabric_attach(fuzz->peer, &grant, ATTACH_TOKEN + i, &fuzz->slabs[i].handle) != 0) {
        return;
    }
    fuzz->slabs[i].taken = true;
    fuzz->slabs[i].attaching = true;
}

static void detach(struct fuzz *fuzz, uint32_t i)
{
    if (fuzz->slabs[i].taken && !fuzz->slabs[i].attaching && fuzz->slabs[i].in_flight == 0) {
        fabric_detach(fuzz->peer, fuzz->slabs[i].handle);
        fuzz->slabs[i].taken = false;
        fuzz->slabs[i].usable = false;
    }
}

static void post(struct fuzz *fuzz, struct input *input, bool write)
{
    uint32_t i = input_u8(input) % SLABS_MAX;
    uint32_t offset = input_u16(input);
    uint32_t bytes = input_u16(input) % 8192;
    uint32_t token = 0;
    while (token < POSTS_MAX && fuzz->posts[token].pending) {
        token++;
    }
    if (!fuzz->slabs[i].taken || token == POSTS_MAX) {
        return;
    }
    struct post *post = &fuzz->posts[token];
    *post = (struct post){.data = malloc(bytes + 1), .bytes = bytes};
    CHECK(post->data != NULL);
    const struct iovec segments[2] = {{post->data, bytes / 3},
                                      {post->data + bytes / 3, bytes - bytes / 3}};
    int error = write ? fabric_write(fuzz->peer, fuzz->slabs[i].handle, offset, segments, 2, token)
                      : fabric_read(fuzz->peer, fuzz->slabs[i].handle, offset, segments, 2, token);
    CHECK(error == 0 || error == -EAGAIN || error == -EINVAL || error == -ENOTCONN);
    CHECK(error != 0 || offset + bytes <= SLAB_BYTES);
    if (error != 0) {
        free(post->data);
        return;
    }
    post->pending = true;
    fuzz->slab_of_post[token] = i;
    fuzz->slabs[i].in_flight++;
}

static void completed(struct fuzz *fuzz, const struct fabric_done *done)
{
    if (done->token >= ATTACH_TOKEN) {
        uint64_t i = done->token - ATTACH_TOKEN;
        CHECK(i < SLABS_MAX);
        CHECK(fuzz->slabs[i].attaching);
        fuzz->slabs[i].attaching = false;
        fuzz->slabs[i].usable = done->status == 0;
        return;
    }
    CHECK(done->token < POSTS_MAX);
    struct post *post = &fuzz->posts[done->token];
    CHECK(post->pending);
    CHECK(done->status != 0 || fuzz->slabs[fuzz->slab_of_post[done->token]].usable);
    post->pending = false;
    free(post->data);
    fuzz->slabs[fuzz->slab_of_post[done->token]].in_flight--;
}

static uint32_t client_poll(struct fuzz *fuzz, uint32_t max)
{
    struct fabric_done done[8];
    uint32_t count = fabric_poll(fuzz->peer, done, MIN(max, ARRAY_LEN(done)));
    for (uint32_t i = 0; i < count; i++) {
        completed(fuzz, &done[i]);
    }
    return count;
}

/* ---- the node ---- */

static void node_send(struct fuzz *fuzz, unsigned lane, const void *data, size_t bytes,
                      unsigned fd_count, int fd)
{
    union {
        struct cmsghdr align;
        char data[CMSG_SPACE(4 * sizeof(int))];
    } control = {.data = {0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        for (unsigned i = 0; i < fd_count; i++) {
            memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(int));
        }
    }
    (void)!sendmsg(wire.fds[lane], &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The next request of a lane, and the data or key behind it. */
static void node_receive(struct fuzz *fuzz, unsigned lane)
{
    static uint8_t rest[WIRE_BYTES];
    uint8_t data[PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES];
    size_t bytes = fuzz->shm ? sizeof(data) : PAGEOP_REQUEST_BYTES;
    if (recv(wire.fds[lane], data, bytes, MSG_DONTWAIT) < (ssize_t)PAGEOP_REQUEST_BYTES) {
        return;
    }
    /* What a client sends obeys the rules. */
    CHECK(pageop_request_decode(data, &fuzz->requests[lane]) == 0);
    const struct pageop_request *request = &fuzz->requests[lane];
    if (!fuzz->shm && (request->kind == PAGEOP_WRITE || request->kind == PAGEOP_ATTACH)) {
        (void)!recv(wire.fds[lane], rest, MIN(request->length, WIRE_BYTES), MSG_DONTWAIT);
    }
}

/* A reply to the last request of a lane, right but for what the script changes. */
static void node_reply(struct fuzz *fuzz, unsigned lane, struct input *input)
{
    static const uint8_t content[8192];
    uint8_t data[PAGEOP_REPLY_BYTES];
    uint32_t change = input_u8(input);
    const struct pageop_request *request = &fuzz->requests[lane];
    struct pageop_reply reply = {
        .kind = request->kind, .handle = request->handle, .token = request->token};
    reply.length = request->kind == PAGEOP_READ ? request->length : 0;
    switch (change & 7) {
    case 1:
        reply.status = (uint16_t)input_u8(input);
        reply.length = 0;
        break;
    case 2:
        reply.length = input_u16(input);
        break;
    case 3:
        reply.kind = (uint8_t)input_u8(input);
        break;
    case 4:
        reply.handle = input_u8(input);
        break;
    case 5:
        reply.token ^= input_u64(input);
        break;
    default:
        break;
    }
    pageop_reply_encode(&reply, data);
    int fd = (change & 0x40) != 0 ? fuzz->slab_fd : fuzz->sealed_fd;
    node_send(fuzz, lane, data, sizeof(data), fuzz->shm ? change >> 3 & 3 : 0, fd);
    if (!fuzz->shm && reply.length != 0) {
        node_send(fuzz, lane, content, MIN(reply.length, sizeof(content)), 0, -1);
    }
}

static void operate(struct fuzz *fuzz, struct input *input)
{
    const uint8_t *raw;
    uint32_t operation = input_u8(input);
    unsigned lane = fuzz->shm ? 0 : operation >> 7;
    switch (operation & 7) {
    case 0:
        attach(fuzz, operation >> 3 & 7);
        break;
    case 1:
        post(fuzz, input, false);
        break;
    case 2:
        post(fuzz, input, true);
        break;
    case 3:
        (void)client_poll(fuzz, operation >> 3 & 7);
        break;
    case 4:
        node_receive(fuzz, lane);
        node_reply(fuzz, lane, input);
        break;
    case 5: {
        size_t bytes = input_take(input, input_u8(input), &raw);
        node_send(fuzz, lane, raw, bytes, 0, -1);
        break;
    }
    case 6:
        detach(fuzz, operation >> 3 & 7);
        break;
    default:
        (void)shutdown(wire.fds[lane], SHUT_RDWR);
        break;
    }
}

static void fuzz_open(struct fuzz *fuzz)
{
    char reason[FABRIC_REASON_BYTES];
    const struct fabric_endpoint endpoint = {
        .node = "fuzz", .tcp_address = "127.0.0.1:1", .shm_path = "/fuzz"};
    wire.count = 0;
    if (fuzz->shm) {
        CHECK(fabric_shm_connect(&endpoint, 0, &fuzz->peer, reason) == 0);
        fuzz->slab_fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        fuzz->sealed_fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        CHECK(ftruncate(fuzz->slab_fd, SLAB_BYTES) == 0);
        CHECK(ftruncate(fuzz->sealed_fd, SLAB_BYTES) == 0);
        CHECK(fcntl(fuzz->sealed_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    } else {
        CHECK(fabric_tcp_connect(&endpoint, 0, &fuzz->peer, reason) == 0);
    }
}

static void fuzz_close(struct fuzz *fuzz)
{
    for (unsigned i = 0; i < wire.count; i++) {
        (void)close(wire.fds[i]);
    }
    /* As before a sleep: such a poll looks at its sockets, others may leave it to the next. */
    uint32_t polls = 0;
    do {
        fabric_arm(fuzz->peer);
        CHECK(++polls < CLOSE_POLLS_MAX);
    } while (client_poll(fuzz, 8) > 0 || fabric_alive(fuzz->peer));
    for (uint32_t i = 0; i < POSTS_MAX; i++) {
        CHECK(!fuzz->posts[i].pending);
    }
    for (uint32_t i = 0; i < SLABS_MAX; i++) {
        CHECK(!fuzz->slabs[i].attaching);
        detach(fuzz, i);
    }
    fuzz->peer = fabric_close(fuzz->peer);
    if (fuzz->shm) {
        (void)close(fuzz->slab_fd);
        (void)close(fuzz->sealed_fd);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct fuzz fuzz = {.shm = (input_u8(&input) & 1) != 0};
    uint64_t open = input_descriptors();
    fuzz_open(&fuzz);
    for (unsigned i = 0; i < OPERATIONS_MAX && input.size > 0; i++) {
        operate(&fuzz, &input);
    }
    fuzz_close(&fuzz);
    CHECK(input_descriptors() == open);
    return 0;
}
