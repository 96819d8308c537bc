/* SPDX-License-Identifier: Apache-2.0 */
/* Prefetchers: what each costs and saves, by counts, for readers of several kinds. */
#include "tests/tap.h"

#include <errno.h>

#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/far/prefetch.h"
#include "computenode/unikernel/host/host.h"

#define RW    (MM_READ | MM_WRITE)
#define PAGES 8192u

static uint64_t base;

/* Eight times the local memory, every page written and most of them remote. */
static void start(const char *prefetch)
{
    struct host_config config = {
        .seed = 7, .frame_count = 1024, .far = true, .delay_max = 4, .prefetch = prefetch};
    host_start(&config);
    EXPECT_EQ(mm_map(mm_current(), 0, PAGES * PAGE_BYTES, RW, 0, NULL, 0, &base), 0);
    for (uint64_t i = 0; i < PAGES; i++) {
        EXPECT_EQ(host_store(base + i * PAGE_BYTES, true, i + 1), 0);
    }
}

static void check(uint64_t page)
{
    uint64_t value = 0;
    EXPECT_EQ(host_load(base + page * PAGE_BYTES, true, &value), 0);
    EXPECT_EQ(value, page + 1);
}

static void end(void)
{
    pager_quiesce();
    pager_verify();
    EXPECT_EQ(host_violations(), 0);
    host_stop();
}

/* Far faults of a reader that goes from `first` by `stride`, `count` pages. */
static uint64_t faults_of(uint64_t first, int64_t stride, uint64_t count)
{
    uint64_t before = host_stats()->faults_remote;
    for (uint64_t i = 0; i < count; i++) {
        check((first + i * (uint64_t)stride) % PAGES);
    }
    return host_stats()->faults_remote - before;
}

static void test_none(void)
{
    start("none");
    EXPECT(faults_of(0, 1, 4000) > 3900);
    EXPECT_EQ(host_stats()->prefetch_issued, 0);
    end();
}

static void test_sequential(void)
{
    static const char *const names[] = {"readahead", "trend"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        start(names[i]);
        EXPECT(faults_of(0, 1, 6000) < 120); /* one in fifty */
        EXPECT(host_stats()->prefetch_wasted < 300);
        end();
    }
}

/*
 * A window costs one fault, at its marker, also when its pages come only then; and another where
 * one of its requests comes later than that.
 */
static void test_few_faults_for_each_window(void)
{
    start("readahead");
    uint64_t before = host_faults();
    uint64_t remote = faults_of(0, 1, 6000);
    EXPECT(host_faults() - before - remote < 6000 / PREFETCH_WINDOW_MAX * 5 / 2);
    end();
}

static void test_strides(void)
{
    static const int64_t strides[] = {-1, 7, -5};
    for (size_t i = 0; i < ARRAY_LEN(strides); i++) {
        uint64_t first = PAGES * 100ull + (strides[i] < 0 ? 6000 : 0);
        start("trend");
        EXPECT(faults_of(first, strides[i], 1100) < 110); /* one in ten */
        end();
        start("readahead");
        EXPECT(faults_of(first, strides[i], 1100) > 900); /* not its business */
        end();
    }
}

/* Two readers in one thread, a page each in turn. */
static void test_interleaved(void)
{
    start("readahead");
    uint64_t before = host_stats()->faults_remote;
    for (uint64_t i = 0; i < 3000; i++) {
        check(i);
        check(4096 + i);
    }
    EXPECT(host_stats()->faults_remote - before < 300); /* of 6000 */
    end();
}

/* Nothing to be foreseen: hardly anything is read in vain. */
static void test_random(void)
{
    static const char *const names[] = {"readahead", "trend"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        start(names[i]);
        uint64_t before = host_stats()->prefetch_issued;
        for (uint64_t n = 0; n < 10000; n++) {
            check(host_random_below(PAGES));
        }
        EXPECT(host_stats()->prefetch_issued - before < 300);
        end();
    }
}

/* Two neighbours and away: each looks like a beginning and never is one. */
static void test_deceived(void)
{
    start("readahead");
    uint64_t before = host_stats()->prefetch_issued;
    for (uint64_t n = 0; n < 5000; n++) {
        uint64_t page = host_random_below(PAGES / 8) * 8;
        check(page);
        check(page + 1);
    }
    EXPECT(host_stats()->prefetch_issued - before < 5000 / 16 * 4);
    EXPECT(host_stats()->prefetch_issued - before > 0); /* it tries again now and then */
    EXPECT(faults_of(0, 1, 4000) < 400);                /* and is there when it pays again */
    end();
}

static void test_changed_while_running(void)
{
    start("none");
    EXPECT(faults_of(0, 1, 2000) > 1900);
    EXPECT_EQ(pager_prefetcher_set("readahead", 9), 0);
    EXPECT(faults_of(2000, 1, 2000) < 100);
    EXPECT_EQ(pager_prefetcher_set("read", 4), -EINVAL);
    EXPECT_EQ(pager_prefetcher_set("trend", 5), 0);
    EXPECT(faults_of(4000, 3, 1000) < 100);
    EXPECT_EQ(pager_prefetcher_set("none", 4), 0);
    EXPECT(faults_of(0, 1, 1000) > 900);
    end();
}

int main(void)
{
    TAP_RUN(test_none);
    TAP_RUN(test_sequential);
    TAP_RUN(test_few_faults_for_each_window);
    TAP_RUN(test_strides);
    TAP_RUN(test_interleaved);
    TAP_RUN(test_random);
    TAP_RUN(test_deceived);
    TAP_RUN(test_changed_while_running);
    return tap_done();
}
