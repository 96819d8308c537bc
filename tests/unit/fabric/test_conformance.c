/* SPDX-License-Identifier: Apache-2.0 */
/* What every fabric has to do, whichever it is: run once with each as argument. */
#include <errno.h>
#include <stdlib.h>

#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

static const char *fabric;

static void fill(uint8_t *data, size_t bytes, uint64_t *seed)
{
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)harness_random(seed);
    }
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Cuts `data` into segments of random sizes; returns how many. */
static uint32_t scatter(uint8_t *data, uint32_t bytes, struct iovec *segments, uint64_t *seed)
{
    uint32_t count = 0;
    while (bytes != 0) {
        uint32_t part = 1 + (uint32_t)(harness_random(seed) % bytes);
        if (count == FABRIC_SEGMENTS_MAX - 1) {
            part = bytes;
        }
        segments[count++] = (struct iovec){.iov_base = data, .iov_len = part};
        data += part;
        bytes -= part;
    }
    return count;
}

static void test_name_and_counters(void)
{
    struct harness h;
    struct fabric_counters counters;
    uint32_t slab;
    uint8_t data[100] = {1};
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_STR(fabric_name(peer), harness_fabric(&h));
    EXPECT_EQ(harness_transfer(peer, true, slab, 0, data, 100), 0);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, data, 60), 0);
    fabric_counters(peer, &counters);
    EXPECT_EQ(counters.bytes_written, 100);
    EXPECT_EQ(counters.bytes_read, 60);
    EXPECT_EQ(counters.requests, 2);
    EXPECT_EQ(counters.errors, 0);
    fabric_close(peer);
    harness_close(&h);
}

/* Random requests, one at a time, against a plain array. */
static void test_model(void)
{
    static uint8_t model[SLAB_BYTES];
    static uint8_t data[FABRIC_REQUEST_BYTES_MAX];
    struct harness h;
    uint32_t slab;
    uint64_t seed = 1;
    memset(model, 0, sizeof(model));
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 1, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    for (unsigned round = 0; round < 400 && tap_case_ok; round++) {
        struct iovec segments[FABRIC_SEGMENTS_MAX];
        struct fabric_done done;
        uint64_t offset = harness_random(&seed) % SLAB_BYTES;
        uint64_t bytes_max = harness_random(&seed) % 8 == 0 ? SLAB_BYTES - offset : 5000;
        uint32_t bytes =
            1 + (uint32_t)(harness_random(&seed) % MIN(bytes_max, SLAB_BYTES - offset));
        bool write = harness_random(&seed) % 2 == 0;
        if (write) {
            fill(data, bytes, &seed);
            memcpy(model + offset, data, bytes);
        } else {
            memset(data, 0xee, bytes);
        }
        uint32_t count = scatter(data, bytes, segments, &seed);
        EXPECT_EQ(write ? fabric_write(peer, slab, offset, segments, count, round)
                        : fabric_read(peer, slab, offset, segments, count, round),
                  0);
        EXPECT_EQ(harness_wait(peer, &done, 1), 1);
        EXPECT_EQ(done.status, 0);
        EXPECT_EQ(done.token, round);
        EXPECT(memcmp(data, model + offset, bytes) == 0);
    }
    fabric_close(peer);
    harness_close(&h);
}

#define PIPE_PAGES 256u

/* As many as it takes, each page to its own place; then all are read back. Tokens are pages. */
static void pipeline(struct fabric_peer *peer, uint32_t slab, bool write, uint8_t *pages)
{
    uint32_t seen[PIPE_PAGES] = {0};
    uint32_t posted = 0;
    uint32_t completed = 0;
    while (completed < PIPE_PAGES && tap_case_ok) {
        int error = 0;
        while (posted < PIPE_PAGES && error == 0) {
            const struct iovec segment = {pages + posted * PAGE_BYTES, PAGE_BYTES};
            uint64_t offset = (PIPE_PAGES - 1 - posted) * PAGE_BYTES;
            error = write ? fabric_write(peer, slab, offset, &segment, 1, posted)
                          : fabric_read(peer, slab, offset, &segment, 1, posted);
            posted += error == 0 ? 1 : 0;
        }
        EXPECT(error == 0 || error == -EAGAIN);
        struct fabric_done done;
        EXPECT_EQ(harness_wait(peer, &done, 1), 1);
        EXPECT_EQ(done.status, 0);
        EXPECT(done.token < PIPE_PAGES);
        seen[done.token % PIPE_PAGES]++;
        completed++;
    }
    for (uint32_t i = 0; i < PIPE_PAGES; i++) {
        EXPECT_EQ(seen[i], 1);
    }
}

static void test_many_in_flight(void)
{
    struct harness h;
    uint32_t slab;
    uint64_t seed = 2;
    uint8_t *pages = malloc(PIPE_PAGES * PAGE_BYTES);
    uint8_t *back = calloc(PIPE_PAGES, PAGE_BYTES);
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 2, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    fill(pages, PIPE_PAGES * PAGE_BYTES, &seed);
    pipeline(peer, slab, true, pages);
    pipeline(peer, slab, false, back);
    EXPECT(memcmp(pages, back, PIPE_PAGES * PAGE_BYTES) == 0);
    fabric_close(peer);
    harness_close(&h);
    free(pages);
    free(back);
}

static void test_illegal_requests(void)
{
    static uint8_t big[FABRIC_REQUEST_BYTES_MAX + 1];
    struct harness h;
    struct iovec many[FABRIC_SEGMENTS_MAX + 1];
    uint8_t byte = 1;
    uint32_t slab;
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_EQ(harness_transfer(peer, true, slab, SLAB_BYTES - 1, &byte, 1), 0);
    EXPECT_EQ(harness_transfer(peer, true, slab, SLAB_BYTES, &byte, 1), -EINVAL);
    EXPECT_EQ(harness_transfer(peer, false, slab, SLAB_BYTES - 1, big, 2), -EINVAL);
    EXPECT_EQ(harness_transfer(peer, false, slab, UINT64_MAX, &byte, 1), -EINVAL);
    EXPECT_EQ(harness_transfer(peer, false, slab, UINT64_MAX - 10, big, 100), -EINVAL);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, big, sizeof(big)), -EINVAL);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, big, 0), -EINVAL);
    EXPECT_EQ(harness_transfer(peer, false, slab + 1, 0, big, 1), -EINVAL);
    for (uint32_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = (struct iovec){.iov_base = &byte, .iov_len = 1};
    }
    EXPECT_EQ(fabric_read(peer, slab, 0, many, FABRIC_SEGMENTS_MAX + 1, 0), -EINVAL);
    EXPECT(fabric_alive(peer));
    fabric_close(peer);
    harness_close(&h);
}

static void test_wrong_credentials(void)
{
    struct harness h;
    uint32_t slab;
    uint8_t byte;
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    struct fabric_grant other = harness_grant(&h, 1, false);
    struct fabric_grant bad = grant;
    bad.key[15] ^= 1;
    EXPECT_EQ(harness_attach(peer, &bad, &slab), -EACCES);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, &byte, 1), -EACCES);
    fabric_detach(peer, slab);
    bad = grant;
    bad.generation--;
    EXPECT_EQ(harness_attach(peer, &bad, &slab), -EACCES);
    bad = grant;
    memcpy(bad.key, other.key, sizeof(bad.key));
    EXPECT_EQ(harness_attach(peer, &bad, &slab), -EACCES);
    bad = grant;
    bad.slab_index = SLAB_COUNT;
    EXPECT_EQ(harness_attach(peer, &bad, &slab), -EACCES);
    bad = (struct fabric_grant){.slab_index = 2, .slab_bytes = SLAB_BYTES};
    EXPECT_EQ(harness_attach(peer, &bad, &slab), -EACCES);
    /* None of that harms who has the right one. */
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, &byte, 1), 0);
    fabric_close(peer);
    harness_close(&h);
}

static void test_read_only(void)
{
    struct harness h;
    uint32_t slab;
    uint8_t byte = 1;
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, true);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    EXPECT_EQ(harness_transfer(peer, true, slab, 0, &byte, 1), -EACCES);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, &byte, 1), 0);
    EXPECT_EQ(byte, 0);
    fabric_close(peer);
    harness_close(&h);
}

static void test_detach_frees_the_index(void)
{
    struct harness h;
    uint32_t slab;
    uint8_t byte = 9;
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grants[] = {harness_grant(&h, 0, false), harness_grant(&h, 1, false)};
    for (unsigned round = 0; round < 300 && tap_case_ok; round++) {
        EXPECT_EQ(harness_attach(peer, &grants[round % 2], &slab), 0);
        EXPECT(slab < 4);
        EXPECT_EQ(harness_transfer(peer, true, slab, round, &byte, 1), 0);
        fabric_detach(peer, slab);
    }
    fabric_close(peer);
    harness_close(&h);
}

/* After a revoke nothing succeeds, and the next tenant sees zeros and its own data only. */
static void test_revoke(void)
{
    static uint8_t data[SLAB_BYTES];
    struct harness h;
    uint32_t slab;
    uint32_t next_slab;
    uint64_t seed = 3;
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_peer *next = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    fill(data, sizeof(data), &seed);
    EXPECT_EQ(harness_transfer(peer, true, slab, 0, data, sizeof(data)), 0);
    /* An shm client answers the notice in fabric_poll, which nobody calls here: see silent. */
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    EXPECT_EQ(harness_revoke(&h, &grant), 0);
    EXPECT_EQ(harness_attach(next, &grant, &next_slab), -EACCES);
    struct fabric_grant fresh = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(next, &fresh, &next_slab), 0);
    EXPECT_EQ(harness_transfer(next, false, next_slab, 0, data, sizeof(data)), 0);
    EXPECT(is_zero(data, sizeof(data)));
    memset(data, 0x5a, 100);
    (void)harness_transfer(peer, true, slab, 0, data, 100);
    EXPECT_EQ(harness_transfer(next, false, next_slab, 0, data, 100), 0);
    EXPECT(is_zero(data, 100));
    /* A busy client looks for news within a bounded number of polls. */
    int status = 0;
    for (unsigned i = 0; i < 100 && status == 0; i++) {
        status = harness_transfer(peer, false, slab, 0, data, 100);
    }
    EXPECT(status == -EACCES || status == -ENOTCONN);
    fabric_close(peer);
    fabric_close(next);
    harness_close(&h);
}

/* The end of the node: what was posted completes exactly once, later posts are refused. */
static void test_death_completes_everything_once(void)
{
    static uint8_t data[64 * 4096];
    struct harness h;
    struct fabric_done done[64];
    uint32_t slab;
    uint32_t seen[64] = {0};
    uint32_t posted = 0;
    harness_open(&h, fabric);
    struct fabric_peer *peer = harness_connect(&h);
    struct fabric_grant grant = harness_grant(&h, 0, false);
    EXPECT_EQ(harness_attach(peer, &grant, &slab), 0);
    for (; posted < 64; posted++) {
        const struct iovec segment = {data + posted * 4096u, 4096};
        int error = posted % 2 == 0 ? fabric_read(peer, slab, 0, &segment, 1, posted)
                                    : fabric_write(peer, slab, 0, &segment, 1, posted);
        EXPECT_EQ(error, 0);
    }
    harness_close(&h);
    EXPECT_EQ(harness_wait(peer, done, 64), 64);
    for (uint32_t i = 0; i < 64; i++) {
        EXPECT(done[i].token < 64);
        EXPECT(done[i].status == 0 || done[i].status == -ENOTCONN);
        seen[done[i].token % 64]++;
    }
    for (uint32_t i = 0; i < 64; i++) {
        EXPECT_EQ(seen[i], 1);
    }
    EXPECT(harness_wait_death(peer));
    EXPECT_EQ(fabric_poll(peer, done, 64), 0);
    EXPECT_EQ(harness_transfer(peer, false, slab, 0, data, 1), -ENOTCONN);
    EXPECT_EQ(fabric_attach(peer, &grant, 1, &slab), -ENOTCONN);
    fabric_close(peer);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        printf("Bail out! usage: %s shm|tcp|verbs|verbs-regions\n", argv[0]);
        return 1;
    }
    fabric = argv[1];
    TAP_RUN(test_name_and_counters);
    TAP_RUN(test_model);
    TAP_RUN(test_many_in_flight);
    TAP_RUN(test_illegal_requests);
    TAP_RUN(test_wrong_credentials);
    TAP_RUN(test_read_only);
    TAP_RUN(test_detach_frees_the_index);
    TAP_RUN(test_revoke);
    TAP_RUN(test_death_completes_everything_once);
    return tap_done();
}
