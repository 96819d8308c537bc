/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many system calls the fabrics make, and that guessing where replies go never misplaces a
 * byte: a memory node of the test's own answers in any order, refuses some, and sends in pieces.
 */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/provider.h"
#include "lib/sys/sys.h"
#include "lib/wire/pageop.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

#define READS        8u
#define READ_BYTES   4096u
#define ROUNDS       300u
#define IDLE_POLLS   20000u
#define REPLY_STRIDE (PAGEOP_REPLY_BYTES + READ_BYTES)

static uint32_t receives;
static int last_fd;
static pthread_t client_thread;

/* In place of the library's: counts what the client's thread asks for. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    if (pthread_equal(pthread_self(), client_thread)) {
        receives++;
        last_fd = fd;
    }
    return syscall(SYS_recvmsg, fd, message, flags);
}

/* ---- a memory node that answers as it likes */

struct odd_node {
    int listen_fd;
    int fds[2];
    char address[64];
    pthread_t thread;
    bool odd;   /* any order, refusals, pieces; else in order and by one send, after a `go` */
    sem_t go;   /* the client's */
    sem_t sent; /* the node's */
    uint64_t seed;
    uint32_t refused; /* bits by request, of the last round */
};

static bool take(int fd, void *data, size_t bytes)
{
    return recv(fd, data, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static void put(struct odd_node *node, int fd, const uint8_t *data, size_t bytes)
{
    while (bytes != 0) {
        size_t part = node->odd ? 1 + harness_random(&node->seed) % bytes : bytes;
        CHECK(send(fd, data, part, MSG_NOSIGNAL) == (ssize_t)part);
        data += part;
        bytes -= part;
    }
}

static uint8_t content(uint64_t offset, uint32_t index)
{
    return (uint8_t)(offset / READ_BYTES * 37 + index * 11 + 1);
}

static size_t make_reply(struct odd_node *node, const struct pageop_request *request, uint8_t *to)
{
    bool refuse = node->odd && harness_random(&node->seed) % 8 == 0;
    struct pageop_reply reply = {
        .kind = request->kind, .handle = request->handle, .token = request->token};
    reply.status = refuse ? PAGEOP_DENIED : PAGEOP_OK;
    reply.length = refuse ? 0 : request->length;
    node->refused |= refuse ? 1u << request->offset / READ_BYTES : 0;
    pageop_reply_encode(&reply, to);
    for (uint32_t i = 0; i < reply.length; i++) {
        to[PAGEOP_REPLY_BYTES + i] = content(request->offset, i);
    }
    return PAGEOP_REPLY_BYTES + reply.length;
}

static void answer_reads(struct odd_node *node, struct pageop_request *requests)
{
    static uint8_t stream[READS * REPLY_STRIDE];
    size_t bytes = 0;
    for (uint32_t left = READS; left > 0; left--) {
        uint32_t i = node->odd ? (uint32_t)(harness_random(&node->seed) % left) : 0;
        bytes += make_reply(node, &requests[i], stream + bytes);
        memmove(&requests[i], &requests[i + 1], (left - 1 - i) * sizeof(*requests));
    }
    while (!node->odd && sem_wait(&node->go) != 0) {
    }
    put(node, node->fds[0], stream, bytes);
    CHECK(sem_post(&node->sent) == 0);
}

static bool serve_attach(int fd, const struct pageop_request *request)
{
    uint8_t data[PAGEOP_ATTACH_BYTES];
    const struct pageop_reply reply = {
        .kind = PAGEOP_ATTACH, .handle = request->handle, .token = request->token};
    if (!take(fd, data, sizeof(data))) {
        return false;
    }
    pageop_reply_encode(&reply, data);
    return send(fd, data, PAGEOP_REPLY_BYTES, MSG_NOSIGNAL) == PAGEOP_REPLY_BYTES;
}

static bool take_request(int fd, struct pageop_request *ret)
{
    uint8_t data[PAGEOP_REQUEST_BYTES];
    return take(fd, data, sizeof(data)) && pageop_request_decode(data, ret) == 0;
}

static void greet(struct odd_node *node, unsigned lane)
{
    uint8_t hello[PAGEOP_HELLO_BYTES];
    node->fds[lane] = accept(node->listen_fd, NULL, NULL);
    CHECK(take(node->fds[lane], hello, sizeof(hello)));
    CHECK(send(node->fds[lane], hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello));
}

/* One attach on either lane, then rounds of reads on the first, until the client is gone. */
static void *node_main(void *argument)
{
    struct odd_node *node = argument;
    struct pageop_request requests[READS];
    uint32_t count = 0;
    greet(node, 0);
    greet(node, 1);
    for (unsigned lane = 0; lane < 2; lane++) {
        CHECK(take_request(node->fds[lane], &requests[0]));
        CHECK(serve_attach(node->fds[lane], &requests[0]));
    }
    while (take_request(node->fds[0], &requests[count])) {
        if (++count == READS) {
            count = 0;
            answer_reads(node, requests);
        }
    }
    (void)close(node->fds[0]);
    (void)close(node->fds[1]);
    return NULL;
}

static struct fabric_peer *node_start(struct odd_node *node, bool odd, uint32_t *ret_slab)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    *node = (struct odd_node){.odd = odd, .seed = 7};
    node->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(node->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(node->listen_fd, 2) == 0);
    CHECK(getsockname(node->listen_fd, (struct sockaddr *)&address, &length) == 0);
    (void)snprintf(node->address, sizeof(node->address), "127.0.0.1:%u", ntohs(address.sin_port));
    CHECK(sem_init(&node->sent, 0, 0) == 0 && sem_init(&node->go, 0, 0) == 0);
    CHECK(pthread_create(&node->thread, NULL, node_main, node) == 0);

    const struct fabric_endpoint endpoint = {.node = "odd", .tcp_address = node->address};
    const struct fabric_choice choice = {.only = "tcp"};
    const struct fabric_grant grant = {.generation = 1, .slab_bytes = READS * READ_BYTES};
    struct fabric_peer *peer;
    char reason[FABRIC_REASON_BYTES];
    CHECK(fabric_connect(&endpoint, &choice, WAIT_MS, &peer, reason) == 0);
    CHECK(harness_attach(peer, &grant, ret_slab) == 0);
    return peer;
}

static void node_end(struct odd_node *node, struct fabric_peer *peer)
{
    (void)fabric_close(peer);
    CHECK(pthread_join(node->thread, NULL) == 0);
    (void)close(node->listen_fd);
    CHECK(sem_destroy(&node->sent) == 0 && sem_destroy(&node->go) == 0);
}

/* Page i of the slab into its place in `pages`, in two segments. */
static void post_reads(struct fabric_peer *peer, uint32_t slab, uint8_t *pages)
{
    memset(pages, 0, READS * READ_BYTES);
    for (uint32_t i = 0; i < READS; i++) {
        uint8_t *to = pages + i * READ_BYTES;
        const struct iovec segments[2] = {{to, 100 + i}, {to + 100 + i, READ_BYTES - 100 - i}};
        CHECK(fabric_read(peer, slab, i * READ_BYTES, segments, 2, i) == 0);
    }
}

static bool is_content(const uint8_t *page, uint32_t number)
{
    for (uint32_t i = 0; i < READ_BYTES; i++) {
        if (page[i] != content((uint64_t)number * READ_BYTES, i)) {
            return false;
        }
    }
    return true;
}

/* Until a socket has so much to read. */
static bool wait_for_bytes(int fd, int bytes)
{
    uint64_t begin_ns = sys_monotonic_ns();
    int there = 0;
    while (there < bytes && sys_monotonic_ns() - begin_ns < WAIT_MS * 1000000ull) {
        CHECK(ioctl(fd, FIONREAD, &there) == 0);
    }
    return there == bytes;
}

/* ---- tests */

static void test_replies_that_are_there_take_one_receive(void)
{
    static uint8_t pages[READS * READ_BYTES];
    struct odd_node node;
    struct fabric_done done[2 * READS];
    uint32_t slab;
    struct fabric_peer *peer = node_start(&node, false, &slab);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        post_reads(peer, slab, pages);
        EXPECT_EQ(fabric_poll(peer, done, 2 * READS), 0); /* sends */
        CHECK(sem_post(&node.go) == 0);
        EXPECT(wait_for_bytes(last_fd, READS * REPLY_STRIDE));
        receives = 0;
        EXPECT_EQ(fabric_poll(peer, done, 2 * READS), READS);
        EXPECT_EQ(receives, 1);
        for (uint32_t i = 0; i < READS; i++) {
            EXPECT_EQ(done[i].status, 0);
            EXPECT(is_content(pages + done[i].token * READ_BYTES, (uint32_t)done[i].token));
        }
    }
    node_end(&node, peer);
}

static void test_any_order_refusals_and_pieces(void)
{
    static uint8_t pages[READS * READ_BYTES];
    struct odd_node node;
    struct fabric_done done[READS];
    uint32_t refusals = 0;
    uint32_t slab;
    struct fabric_peer *peer = node_start(&node, true, &slab);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t seen = 0;
        node.refused = 0;
        post_reads(peer, slab, pages);
        EXPECT_EQ(harness_wait(peer, done, READS), READS);
        while (sem_wait(&node.sent) != 0) {
        }
        for (uint32_t i = 0; i < READS; i++) {
            uint32_t number = (uint32_t)done[i].token;
            bool refused = (node.refused >> number & 1) != 0;
            seen |= 1u << number;
            refusals += refused ? 1 : 0;
            EXPECT_EQ(done[i].status, refused ? -EACCES : 0);
            EXPECT(refused || is_content(pages + number * READ_BYTES, number));
        }
        EXPECT_EQ(seen, (1u << READS) - 1);
    }
    EXPECT(refusals > 0);
    node_end(&node, peer);
}

/* Polls without pause look now and then, those around a sleep always. */
static void idle_looks(const char *fabric, uint32_t sockets)
{
    struct harness h;
    struct fabric_done done;
    harness_open(&h, fabric);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    struct fabric_peer *peer = harness_connect(&h);
    uint32_t slab;
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    uint64_t begin_ns = sys_monotonic_ns();
    receives = 0;
    for (uint32_t i = 0; i < IDLE_POLLS; i++) {
        EXPECT_EQ(fabric_poll(peer, &done, 1), 0);
    }
    uint64_t looks_max = (sys_monotonic_ns() - begin_ns) / FABRIC_LOOK_NS + 2;
    EXPECT(receives > 0);
    EXPECT(receives <= looks_max * sockets);
    receives = 0;
    fabric_arm(peer);
    EXPECT_EQ(fabric_poll(peer, &done, 1), 0);
    EXPECT_EQ(receives, sockets);
    EXPECT_EQ(fabric_poll(peer, &done, 1), 0);
    EXPECT_EQ(receives, 2 * sockets);
    (void)fabric_close(peer);
    harness_close(&h);
}

static void test_idle_shm(void)
{
    idle_looks("shm", 1);
}

static void test_idle_tcp(void)
{
    idle_looks("tcp", 2);
}

int main(void)
{
    client_thread = pthread_self();
    TAP_RUN(test_replies_that_are_there_take_one_receive);
    TAP_RUN(test_any_order_refusals_and_pieces);
    TAP_RUN(test_idle_shm);
    TAP_RUN(test_idle_tcp);
    return tap_done();
}
