/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the shm export that goes without a word and keeps its mapping. */
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/wire/pageop.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

static int connect_raw(const struct harness *h)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint8_t hello[PAGEOP_HELLO_BYTES];
    memcpy(address.sun_path, h->socket, strlen(h->socket));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    pageop_hello_encode(hello);
    CHECK(send(fd, hello, sizeof(hello), 0) == (ssize_t)sizeof(hello));
    CHECK(recv(fd, hello, sizeof(hello), 0) == (ssize_t)sizeof(hello));
    return fd;
}

/* Attaches and maps the slab that the reply brings. */
static uint8_t *attach(int fd, const struct fabric_grant *grant)
{
    uint8_t data[PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES];
    union {
        struct cmsghdr align;
        char data[CMSG_SPACE(sizeof(int))];
    } control;
    const struct pageop_request request = {.kind = PAGEOP_ATTACH, .length = PAGEOP_ATTACH_BYTES};
    struct pageop_attach body = {.slab_index = grant->slab_index, .generation = grant->generation};
    memcpy(body.key, grant->key, sizeof(body.key));
    pageop_request_encode(&request, data);
    pageop_attach_encode(&body, data + PAGEOP_REQUEST_BYTES);
    CHECK(send(fd, data, sizeof(data), 0) == (ssize_t)sizeof(data));
    struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    CHECK(recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == (ssize_t)PAGEOP_REPLY_BYTES);
    CHECK(CMSG_FIRSTHDR(&message) != NULL);
    int slab_fd;
    memcpy(&slab_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(slab_fd));
    uint8_t *base = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, slab_fd, 0);
    CHECK(base != MAP_FAILED);
    (void)close(slab_fd);
    return base;
}

static void wait_until_closed(const struct harness *h)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (export_counter(&node_counters(h->node)->connections_open) == 0) {
            return;
        }
        (void)poll(NULL, 0, 10);
    }
    EXPECT(false);
}

/*
 * Its instance may still run on that mapping: what it reads there must stay what it wrote, not turn
 * into zeros, and never meet what the next tenant has.
 */
static void test_gone_without_a_word(void)
{
    struct harness h;
    harness_open(&h, "shm");
    struct fabric_grant grant = harness_grant(&h, 0, false);
    int fd = connect_raw(&h);
    uint8_t *mine = attach(fd, &grant);
    memset(mine, 0x5a, SLAB_BYTES);
    (void)close(fd);
    wait_until_closed(&h);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    EXPECT_EQ(mine[0], 0x5a);
    EXPECT_EQ(mine[SLAB_BYTES - 1], 0x5a);
    grant = harness_grant(&h, 0, false);
    fd = connect_raw(&h);
    uint8_t *next = attach(fd, &grant);
    EXPECT_EQ(next[0], 0);
    EXPECT_EQ(next[SLAB_BYTES - 1], 0);
    mine[1] = 0x66;
    next[2] = 0x77;
    EXPECT_EQ(next[1], 0);
    EXPECT_EQ(mine[2], 0x5a);
    CHECK(munmap(mine, SLAB_BYTES) == 0);
    CHECK(munmap(next, SLAB_BYTES) == 0);
    (void)close(fd);
    harness_close(&h);
}

int main(void)
{
    TAP_RUN(test_gone_without_a_word);
    return tap_done();
}
