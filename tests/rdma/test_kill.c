/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory node is killed at random points while a client writes and reads over RDMA: what the
 * client reads is what it wrote, or an error; it never hangs, and a node that starts again on the
 * same devices works.
 *
 * usage: test-rdma-kill [ROUNDS [SEED]]
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

#define ROUNDS_DEFAULT 50u
#define LIFE_US_MAX    200000u
#define NS_PER_MS      1000000ull

static uint32_t rounds;
static uint64_t seed;
static uint8_t written[SLAB_BYTES]; /* as far as acknowledged */
static uint8_t page[PAGE_BYTES];

/* What the child says: how to reach its node, and a grant. */
struct offer {
    char addresses[128];
    struct fabric_grant grant;
};

/* A node of its own until it is killed. */
static void node_main(int fd)
{
    struct harness h;
    struct offer offer = {0};
    harness_open(&h, "verbs");
    offer.grant = harness_grant(&h, 0, false);
    (void)snprintf(offer.addresses, sizeof(offer.addresses), "%s", node_verbs_addresses(h.node));
    CHECK(write(fd, &offer, sizeof(offer)) == (ssize_t)sizeof(offer));
    for (;;) {
        (void)pause();
    }
}

static pid_t node_start(struct offer *ret)
{
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    (void)fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)close(pipes[0]);
        node_main(pipes[1]);
    }
    (void)close(pipes[1]);
    CHECK(read(pipes[0], ret, sizeof(*ret)) == (ssize_t)sizeof(*ret));
    (void)close(pipes[0]);
    return pid;
}

static struct fabric_peer *connect_to(const struct offer *offer)
{
    char reason[128];
    struct fabric_peer *peer = NULL;
    const struct fabric_endpoint endpoint = {.node = "test", .verbs_address = offer->addresses};
    const struct fabric_choice choice = {.only = "verbs"};
    EXPECT_EQ(fabric_connect(&endpoint, &choice, WAIT_MS, &peer, reason), 0);
    return peer;
}

/* 0, or why not: an error of the fabric, or -ETIMEDOUT: it hangs. */
static int transfer(struct fabric_peer *peer, bool write, uint32_t slab, uint64_t offset)
{
    struct fabric_done done;
    const struct iovec segment = {page, sizeof(page)};
    uint64_t deadline_ns = sys_monotonic_ns() + 3 * WAIT_MS * NS_PER_MS;
    int error = write ? fabric_write(peer, slab, offset, &segment, 1, 1)
                      : fabric_read(peer, slab, offset, &segment, 1, 1);
    while (error == 0 && fabric_poll(peer, &done, 1) == 0) {
        error = sys_monotonic_ns() > deadline_ns ? -ETIMEDOUT : 0;
    }
    return error != 0 ? error : done.status;
}

/* Random pages are written and read back. Returns the error that ends it; counts what was right. */
static int use(struct fabric_peer *peer, uint32_t slab, uint64_t *checked)
{
    int error = 0;
    while (error == 0 && tap_case_ok) {
        uint64_t offset = harness_random(&seed) % (SLAB_BYTES / PAGE_BYTES) * PAGE_BYTES;
        memset(page, (int)harness_random(&seed), sizeof(page));
        error = transfer(peer, true, slab, offset);
        if (error == 0) {
            memcpy(written + offset, page, sizeof(page));
        }
        offset = harness_random(&seed) % (SLAB_BYTES / PAGE_BYTES) * PAGE_BYTES;
        if (error == 0) {
            memset(page, 0xee, sizeof(page));
            error = transfer(peer, false, slab, offset);
        }
        if (error == 0) {
            EXPECT(memcmp(page, written + offset, sizeof(page)) == 0);
            (*checked)++;
        }
    }
    return error;
}

/* Kills `pid` after a while, from another process, so that the client goes on meanwhile. */
static pid_t killer_start(pid_t pid, useconds_t after_us)
{
    pid_t killer = fork();
    CHECK(killer >= 0);
    if (killer == 0) {
        (void)usleep(after_us);
        (void)kill(pid, SIGKILL);
        _exit(0);
    }
    return killer;
}

static void test_killed_nodes(void)
{
    uint64_t checked = 0;
    for (uint32_t round = 0; round < rounds && tap_case_ok; round++) {
        struct offer offer;
        uint32_t slab;
        pid_t node = node_start(&offer);
        struct fabric_peer *peer = connect_to(&offer);
        memset(written, 0, sizeof(written));
        if (peer != NULL && tap_case_ok) {
            EXPECT_EQ(harness_attach(peer, &offer.grant, &slab), 0);
            pid_t killer = killer_start(node, (useconds_t)(harness_random(&seed) % LIFE_US_MAX));
            int error = use(peer, slab, &checked);
            /* EACCES: the kernel may end a dead node's windows before its queue pairs. */
            if (error != -EIO && error != -ENOTCONN && error != -EACCES) {
                EXPECT_EQ(error, -ENOTCONN);
            }
            EXPECT_EQ(waitpid(killer, NULL, 0), killer);
        }
        fabric_close(peer);
        (void)kill(node, SIGKILL);
        EXPECT_EQ(waitpid(node, NULL, 0), node);
    }
    printf("# %u nodes killed, %llu pages read back and right\n", rounds,
           (unsigned long long)checked);
    EXPECT(checked > rounds);
}

int main(int argc, char **argv)
{
    rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : ROUNDS_DEFAULT;
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 21;
    TAP_RUN(test_killed_nodes);
    return tap_done();
}
