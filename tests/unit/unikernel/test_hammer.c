/* SPDX-License-Identifier: Apache-2.0 */
/* far/ under random use; and proof that the hammer sees errors that are planted in the machine. */
#include "tests/tap.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/unikernel/hammer.h"

#define SEEDS 4

static const struct hammer plain = {
    .host = {.frame_count = 256, .far = true, .delay_max = 12},
    .page_count = 1024,
    .op_count = 20000,
};

/* Nothing wrong, and the paths that this one is about were taken. */
static struct hammer_result run_seed(struct hammer h, uint64_t seed)
{
    struct hammer_result r;
    h.host.seed = seed;
    hammer_run(&h, &r);
    EXPECT_EQ(r.wrong, 0);
    EXPECT_EQ(r.violations, 0);
    EXPECT(r.loads > h.op_count);
    return r;
}

static void test_eviction(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct hammer_result r = run_seed(plain, seed);
        EXPECT(r.stats.faults_remote > 1000);
        EXPECT(r.stats.far_pages_written > 1000);
        EXPECT(r.stats.reclaim_evicted_clean > 1000);
        EXPECT_EQ(r.far_pages_left, 0);
    }
}

static void test_mappings(void)
{
    struct hammer h = plain;
    h.map_ops_per_1000 = 100;
    for (uint64_t seed = 10; seed < 10 + SEEDS; seed++) {
        struct hammer_result r = run_seed(h, seed);
        EXPECT(r.stats.faults_file > 100);
        EXPECT(r.stats.faults_cow > 10);
        EXPECT(r.stats.reclaim_evicted_file > 10);
        EXPECT(r.stats.far_pages_discarded > 200);
        EXPECT_EQ(r.far_pages_left, 0);
    }
}

static void test_one_queue(void)
{
    struct hammer h = plain;
    h.map_ops_per_1000 = 50;
    h.host.one_queue = true;
    h.host.delay_max = 40;
    for (uint64_t seed = 20; seed < 20 + SEEDS; seed++) {
        EXPECT_EQ(run_seed(h, seed).far_pages_left, 0);
    }
}

static void test_readahead(void)
{
    struct hammer h = plain;
    h.map_ops_per_1000 = 50;
    h.host.prefetch = "readahead";
    for (uint64_t seed = 30; seed < 30 + SEEDS; seed++) {
        struct hammer_result r = run_seed(h, seed);
        EXPECT(r.stats.prefetch_issued > 40);
        EXPECT(r.stats.prefetch_used > 10);
        EXPECT(r.stats.faults_wait > 10);
    }
}

static void test_failing_device(void)
{
    struct hammer h = plain;
    h.map_ops_per_1000 = 50;
    h.errors = true;
    h.no_remap = true; /* a failed mremap stops the program; the model goes on */
    h.host.read_fail_per_1000 = 50;
    h.host.write_fail_per_1000 = 200;
    h.host.discard_fail_per_1000 = 200;
    for (uint64_t seed = 40; seed < 40 + SEEDS; seed++) {
        struct hammer_result r = run_seed(h, seed);
        EXPECT(r.failures > 10);
        EXPECT(r.stats.far_errors > 100);
    }
}

static void test_full_device(void)
{
    struct hammer h = plain;
    h.errors = true;
    h.no_remap = true;
    h.host.far_page_limit = 400;
    for (uint64_t seed = 50; seed < 50 + SEEDS; seed++) {
        struct hammer_result r = run_seed(h, seed);
        EXPECT(r.failures > 0);
        EXPECT_EQ(r.far_pages_left, 0);
    }
}

static void test_few_frames(void)
{
    struct hammer h = plain;
    h.host.frame_count = 48;
    h.page_count = 512;
    h.op_count = 5000;
    for (uint64_t seed = 60; seed < 60 + SEEDS; seed++) {
        EXPECT_EQ(run_seed(h, seed).far_pages_left, 0);
    }
}

static void test_enough_memory(void)
{
    struct hammer h = plain;
    h.host.frame_count = 2048;
    h.host.far = false;
    h.map_ops_per_1000 = 50;
    struct hammer_result r = run_seed(h, 70);
    EXPECT_EQ(r.stats.far_pages_written, 0);
}

/* In a child: a CHECK that ends the process is as good as a wrong byte. */
static bool is_caught_by(uint64_t seed, unsigned bugs, uint32_t map_ops_per_1000)
{
    struct hammer h = plain;
    h.map_ops_per_1000 = map_ops_per_1000;
    h.host.seed = seed;
    h.host.bugs = bugs;
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct hammer_result r;
        (void)freopen("/dev/null", "w", stdout);
        (void)freopen("/dev/null", "w", stderr);
        hammer_run(&h, &r);
        _exit(r.wrong > 0 || r.violations > 0 ? 1 : 0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

static bool is_caught(unsigned bugs, uint32_t map_ops_per_1000)
{
    for (uint64_t seed = 99; seed < 103; seed++) {
        if (is_caught_by(seed, bugs, map_ops_per_1000)) {
            return true;
        }
    }
    return false;
}

static void test_planted_bugs_are_caught(void)
{
    EXPECT(!is_caught(0, 100)); /* else the others prove nothing */
    EXPECT(is_caught(HOST_BUG_NO_FLUSH, 0));
    EXPECT(is_caught(HOST_BUG_LOSE_DIRTY, 0));
    EXPECT(is_caught(HOST_BUG_LOSE_ACCESSED, 0));
    EXPECT(is_caught(HOST_BUG_DROP_WRITES, 0));
    EXPECT(is_caught(HOST_BUG_LATE_DISCARD, 100));
}

int main(void)
{
    TAP_RUN(test_eviction);
    TAP_RUN(test_mappings);
    TAP_RUN(test_one_queue);
    TAP_RUN(test_readahead);
    TAP_RUN(test_failing_device);
    TAP_RUN(test_full_device);
    TAP_RUN(test_few_frames);
    TAP_RUN(test_enough_memory);
    TAP_RUN(test_planted_bugs_are_caught);
    return tap_done();
}
