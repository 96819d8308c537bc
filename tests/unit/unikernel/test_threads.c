/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far/ with several processors, each a thread of this process: programs that share their memory,
 * while mappings change. A model says what each page must hold; every load is compared with it.
 * Whoever reads or writes a page in the model holds the page's lock, as a correct program would;
 * eviction, prefetch, advice and changes of rights go on regardless of it.
 */
#include "tests/tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/host/host.h"
#include "lib/base/check.h"

#define BASE      0x7f0000000000ull
#define PAGES_MAX 2048
#define SPAN_MAX  24
#define WORDS     4
#define STRIDE    (PAGE_BYTES / WORDS)
#define RW        (MM_READ | MM_WRITE)
#define TRIES_MAX 50

struct page {
    atomic_bool locked;
    bool mapped;
    uint64_t seed; /* of its contents; 0: zeros */
};

struct load {
    struct host_config host;
    uint32_t page_count;
    uint32_t op_count; /* of each processor */
    uint32_t map_ops_per_1000;
    bool errors;
};

static struct {
    const struct load *load;
    struct page pages[PAGES_MAX];
    _Atomic uint64_t version;
    _Atomic uint64_t wrong;
    _Atomic uint64_t loads;
    _Atomic uint64_t failures;
} t;

static uint64_t repeats; /* of the last run's device */

static uint64_t mix(uint64_t seed, uint64_t word)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15ull + word * 0xbf58476d1ce4e5b9ull;
    return seed == 0 ? 0 : z ^ z >> 29;
}

static uint64_t va_of(uint32_t page)
{
    return BASE + page * PAGE_BYTES;
}

static void wrong(const char *what, uint64_t va, uint64_t got, uint64_t expected)
{
    if (atomic_fetch_add(&t.wrong, 1) < 3) {
        printf("# %s at 0x%llx: got 0x%llx, expected 0x%llx\n", what, (unsigned long long)va,
               (unsigned long long)got, (unsigned long long)expected);
    }
}

static void expect(const char *what, uint64_t va, int64_t got, int64_t expected)
{
    if (got != expected) {
        wrong(what, va, (uint64_t)got, (uint64_t)expected);
    }
}

static void page_lock(uint32_t page)
{
    while (atomic_exchange(&t.pages[page].locked, true)) {
        host_relax();
    }
}

static void page_unlock(uint32_t page)
{
    atomic_store(&t.pages[page].locked, false);
}

/* In ascending order, and before the kernel lock. */
static void span_lock(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        page_lock(first + i);
    }
}

static void span_unlock(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        page_unlock(first + i);
    }
}

static bool try_again(int r, uint32_t tries)
{
    bool again = t.load->errors && r == -EIO && tries < TRIES_MAX;
    atomic_fetch_add(&t.failures, again);
    return again;
}

static void check_page(uint32_t page)
{
    uint64_t seed = t.pages[page].seed;
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t value = 0;
        uint64_t va = va_of(page) + i * STRIDE;
        int r = host_load(va, host_random_below(4) != 0, &value);
        for (uint32_t tries = 0; r < 0 && try_again(r, tries); tries++) {
            r = host_load(va, true, &value);
        }
        atomic_fetch_add(&t.loads, 1);
        expect("load", va, r, 0);
        if (r == 0 && value != mix(seed, i)) {
            wrong("contents", va, value, mix(seed, i));
        }
    }
}

static void fill_page(uint32_t page)
{
    uint64_t seed = atomic_fetch_add(&t.version, 1) + 1;
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t va = va_of(page) + i * STRIDE;
        int r = host_store(va, host_random_below(4) != 0, mix(seed, i));
        for (uint32_t tries = 0; r < 0 && try_again(r, tries); tries++) {
            r = host_store(va, true, mix(seed, i));
        }
        expect("store", va, r, 0);
    }
    t.pages[page].seed = seed;
}

static void op_access(uint32_t page)
{
    uint64_t ignored;
    page_lock(page);
    if (!t.pages[page].mapped) {
        expect("load of nothing", va_of(page), host_load(va_of(page), true, &ignored), -EFAULT);
    } else if (host_random_below(3) == 0) {
        fill_page(page);
    } else {
        check_page(page);
    }
    page_unlock(page);
}

/* What the contents outlive: others go on using the pages meanwhile. */
static void op_keep(uint32_t first, uint32_t count)
{
    static const enum mm_advice advices[] = {MM_PAGEOUT, MM_COLD, MM_WILLNEED};
    uint64_t kind = host_random_below(4);
    kernel_lock();
    if (kind < 3) {
        int r = mm_advise(mm_current(), va_of(first), count * PAGE_BYTES, advices[kind]);
        expect("advise", va_of(first), r == -ENOMEM ? 0 : r, 0); /* a hole is fine */
    } else {
        unsigned protection = RW | (host_random_below(2) == 0 ? MM_EXEC : 0u);
        int r = mm_protect(mm_current(), va_of(first), count * PAGE_BYTES, protection);
        expect("protect", va_of(first), r == -ENOMEM ? 0 : r, 0);
    }
    kernel_unlock();
}

static void span_set(uint32_t first, uint32_t count, bool mapped)
{
    for (uint32_t i = first; i < first + count; i++) {
        t.pages[i].mapped = mapped;
        t.pages[i].seed = 0;
    }
}

static void map_span(uint32_t first, uint32_t count)
{
    uint64_t va = 0;
    int r = mm_map(mm_current(), va_of(first), count * PAGE_BYTES, RW, MM_FIXED, NULL, 0, &va);
    expect("map", va_of(first), r, 0);
}

static bool all_mapped(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (!t.pages[i].mapped) {
            return false;
        }
    }
    return true;
}

/* Nobody may use the pages meanwhile but for reading ahead, evicting, writing. */
static void op_change(uint32_t first, uint32_t count)
{
    span_lock(first, count);
    kernel_lock();
    switch (host_random_below(4)) {
    case 0:
        map_span(first, count);
        span_set(first, count, true);
        break;
    case 1:
        expect("unmap", va_of(first), mm_unmap(mm_current(), va_of(first), count * PAGE_BYTES), 0);
        span_set(first, count, false);
        break;
    case 2:
        if (all_mapped(first, count)) {
            int r = mm_advise(mm_current(), va_of(first), count * PAGE_BYTES, MM_DONTNEED);
            expect("dontneed", va_of(first), r, 0);
            span_set(first, count, true);
        }
        break;
    default:
        if (all_mapped(first, count)) {
            uint64_t bytes = count * PAGE_BYTES;
            uint64_t value;
            expect("none", 0, mm_protect(mm_current(), va_of(first), bytes, 0), 0);
            expect("load of PROT_NONE", va_of(first), host_load(va_of(first), true, &value),
                   -EFAULT);
            expect("again", 0, mm_protect(mm_current(), va_of(first), bytes, RW), 0);
        }
        break;
    }
    kernel_unlock();
    span_unlock(first, count);
}

static void op_remap(uint32_t a, uint32_t b, uint32_t count)
{
    uint32_t low = MIN(a, b), high = MAX(a, b);
    if (low + count > high || t.load->errors) {
        return;
    }
    span_lock(low, count);
    span_lock(high, count);
    kernel_lock();
    bool one = all_mapped(a, count);
    if (one) { /* one mapping with the same rights */
        int r = mm_protect(mm_current(), va_of(a), count * PAGE_BYTES, RW);
        expect("protect", va_of(a), r, 0);
        uint64_t va = 0;
        uint64_t bytes = count * PAGE_BYTES;
        r = mm_remap(mm_current(), va_of(a), bytes, bytes, true, va_of(b), &va);
        expect("remap", va_of(a), r, 0);
        for (uint32_t i = 0; i < count; i++) {
            t.pages[b + i].mapped = true;
            t.pages[b + i].seed = t.pages[a + i].seed;
        }
        span_set(a, count, false);
    }
    kernel_unlock();
    span_unlock(low, count);
    span_unlock(high, count);
}

static void op_pin(uint32_t page)
{
    struct mm_piece pieces[2];
    uint32_t count = 0;
    uint64_t bytes;
    kernel_lock();
    int r = mm_pin(mm_current(), va_of(page) + 64, 5000, false, pieces, 2, &count, &bytes);
    kernel_unlock();
    if (r == 0) {
        host_relax();
        kernel_lock();
        mm_unpin(mm_current(), pieces, count);
        kernel_unlock();
    }
}

/* The instance gets less memory, or more. Refused where too much is pinned or the kernel's. */
static void op_resize(void)
{
    uint64_t now = 0;
    uint64_t count = t.load->host.frame_count;
    kernel_lock();
    int r = pager_resize((count / 2 + host_random_below(count / 2)) * PAGE_BYTES, &now);
    kernel_unlock();
    expect("resize", 0, r == -ERANGE ? 0 : r, 0);
}

static void step(uint32_t op)
{
    uint32_t hot = t.load->page_count / 8;
    if (host_random_below(1000) >= t.load->map_ops_per_1000) {
        uint32_t page =
            host_random_below(4) == 0
                ? (uint32_t)host_random_below(t.load->page_count)
                : (op / 500 * hot + (uint32_t)host_random_below(hot)) % t.load->page_count;
        uint32_t run = host_random_below(16) == 0 ? 24 : 1;
        for (uint32_t i = page; i < page + run && i < t.load->page_count; i++) {
            op_access(i);
        }
        return;
    }
    uint32_t first = (uint32_t)host_random_below(t.load->page_count - SPAN_MAX);
    uint32_t count = 1 + (uint32_t)host_random_below(SPAN_MAX - 1);
    switch (host_random_below(8)) {
    case 0:
    case 1:
    case 2:
        op_keep(first, count);
        break;
    case 3:
        op_remap(first, (uint32_t)host_random_below(t.load->page_count - SPAN_MAX), count);
        break;
    case 4:
        op_pin(first);
        break;
    case 5:
        if (host_random_below(8) == 0) {
            op_resize();
        }
        (void)pager_idle();
        break;
    default:
        op_change(first, count);
        break;
    }
}

static void *processor(void *context)
{
    host_cpu_enter((uint32_t)(uintptr_t)context);
    for (uint32_t op = 0; op < t.load->op_count; op++) {
        step(op);
    }
    host_cpu_leave();
    return NULL;
}

static void run_processors(uint32_t count)
{
    pthread_t threads[CPU_COUNT_MAX];
    host_cpu_leave();
    for (uint32_t i = 0; i < count; i++) {
        CHECK(pthread_create(&threads[i], NULL, processor, (void *)(uintptr_t)i) == 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    host_cpu_enter(0);
}

static struct gueststats run(const struct load *load)
{
    memset(&t, 0, sizeof(t));
    t.load = load;
    host_start(&load->host);
    map_span(0, load->page_count);
    span_set(0, load->page_count, true);
    run_processors(load->host.cpu_count);
    for (uint32_t i = 0; i < load->page_count; i++) {
        op_access(i);
    }
    pager_quiesce();
    pager_verify();
    expect("unmap", 0, mm_unmap(mm_current(), BASE, load->page_count * PAGE_BYTES), 0);
    pager_quiesce();
    pager_verify();
    struct gueststats stats = *host_stats();
    expect("pages", 0, (int64_t)(stats.pages_local + stats.pages_remote), 0);
    atomic_fetch_add(&t.wrong, host_violations());
    repeats = host_repeats();
    if (!load->errors) {
        expect("far pages left", 0, (int64_t)host_far_pages(), 0);
    }
    host_stop();
    return stats;
}

static const struct load plain = {
    .host = {.seed = 1, .frame_count = 512, .cpu_count = 4, .far = true, .delay_max = 12},
    .page_count = 1536,
    .op_count = 4000,
};

static uint64_t timed_count(const uint64_t *buckets)
{
    uint64_t count = 0;
    for (int i = 0; i < GUESTSTATS_BUCKETS; i++) {
        count += buckets[i];
    }
    return count;
}

static void test_accesses(void)
{
    struct gueststats s = run(&plain);
    uint64_t timed = timed_count(s.fault_remote_ns);
    EXPECT(timed > s.faults_remote / (2ull * GUESTSTATS_SAMPLE));
    EXPECT(timed <= s.faults_remote);
    EXPECT_EQ(timed_count(s.stage_entry_ns), timed);
    EXPECT_EQ(timed_count(s.stage_claim_ns), timed);
    EXPECT_EQ(timed_count(s.stage_queue_ns), timed);
    EXPECT_EQ(timed_count(s.stage_device_ns), timed);
    EXPECT_EQ(timed_count(s.stage_publish_ns), timed);
    EXPECT_EQ(atomic_load(&t.wrong), 0);
    EXPECT(s.faults_remote > 1000);
    EXPECT(s.far_pages_written > 1000);
    EXPECT_EQ(s.far_errors, 0);
}

static void test_mappings(void)
{
    struct load l = plain;
    l.map_ops_per_1000 = 100;
    for (uint64_t seed = 10; seed < 13; seed++) {
        l.host.seed = seed;
        struct gueststats s = run(&l);
        EXPECT_EQ(atomic_load(&t.wrong), 0);
        EXPECT(s.far_pages_discarded > 100);
    }
}

static void test_prefetchers(void)
{
    static const char *const names[] = {"readahead", "trend"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct load l = plain;
        l.map_ops_per_1000 = 50;
        l.host.prefetch = names[i];
        l.host.seed = 20 + i;
        struct gueststats s = run(&l);
        EXPECT_EQ(atomic_load(&t.wrong), 0);
        EXPECT(s.prefetch_issued > 100);
    }
}

static void test_few_queues(void)
{
    struct load l = plain;
    l.map_ops_per_1000 = 50;
    l.host.one_queue = true;
    (void)run(&l);
    EXPECT_EQ(atomic_load(&t.wrong), 0);
}

static void test_few_frames(void)
{
    struct load l = plain;
    l.map_ops_per_1000 = 50;
    l.host.frame_count = 128;
    l.page_count = 512;
    l.op_count = 1500;
    (void)run(&l);
    EXPECT_EQ(atomic_load(&t.wrong), 0);
}

static void test_failing_device(void)
{
    struct load l = plain;
    l.map_ops_per_1000 = 50;
    l.errors = true;
    l.host.read_fail_per_1000 = 50;
    l.host.write_fail_per_1000 = 100;
    l.host.discard_fail_per_1000 = 200;
    struct gueststats s = run(&l);
    EXPECT_EQ(atomic_load(&t.wrong), 0);
    EXPECT(s.far_errors > 100);
    EXPECT(atomic_load(&t.failures) > 10);
}

/* Repeated completions, at once or much later, have no effect and are counted; so with failures. */
static void test_repeating_device(void)
{
    for (uint64_t seed = 60; seed < 64; seed++) {
        struct load l = plain;
        l.map_ops_per_1000 = 50;
        l.host.seed = seed;
        l.host.repeat_per_1000 = 30;
        l.host.one_queue = seed % 2 == 0;
        l.host.prefetch = seed < 62 ? "trend" : NULL;
        l.errors = seed == 63;
        l.host.read_fail_per_1000 = l.errors ? 50 : 0;
        l.host.write_fail_per_1000 = l.errors ? 100 : 0;
        struct gueststats s = run(&l);
        EXPECT_EQ(atomic_load(&t.wrong), 0);
        EXPECT(s.far_repeats > 500);
        EXPECT_EQ(s.far_repeats, repeats);
    }
}

/* In a child: a CHECK that ends the process, or a hang, is as good as a wrong byte. */
static bool is_caught_by(uint64_t seed, unsigned bugs)
{
    struct load l = plain;
    l.map_ops_per_1000 = 50;
    l.host.seed = seed;
    l.host.bugs = bugs;
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(60);
        (void)freopen("/dev/null", "w", stdout);
        (void)freopen("/dev/null", "w", stderr);
        (void)run(&l);
        _exit(atomic_load(&t.wrong) > 0 ? 1 : 0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

static bool is_caught(unsigned bugs)
{
    for (uint64_t seed = 50; seed < 54; seed++) {
        if (is_caught_by(seed, bugs)) {
            return true;
        }
    }
    return false;
}

static void test_planted_bugs_are_caught(void)
{
    EXPECT(!is_caught_by(50, 0)); /* else the others prove nothing */
    EXPECT(is_caught(HOST_BUG_LOCAL_FLUSH));
    EXPECT(is_caught(HOST_BUG_NO_FLUSH));
    EXPECT(is_caught(HOST_BUG_LOSE_DIRTY));
    EXPECT(is_caught(HOST_BUG_DROP_WRITES));
}

/* By hand: test-far-threads FIRST COUNT runs so many seeds, with every kind of trouble in turn. */
static int soak(uint64_t first, uint64_t count)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct load l = plain;
        l.host.seed = seed;
        l.host.cpu_count = 2 + (uint32_t)(seed % 5);
        l.host.frame_count = 128 << seed % 3;
        l.host.one_queue = seed % 7 == 0;
        l.host.prefetch = seed % 2 == 0 ? "trend" : "readahead";
        l.map_ops_per_1000 = 20 + (uint32_t)(seed % 4) * 60;
        l.errors = seed % 6 == 0;
        l.host.read_fail_per_1000 = l.errors ? 30 : 0;
        l.host.write_fail_per_1000 = l.errors ? 100 : 0;
        l.host.repeat_per_1000 = seed % 3 == 0 ? 20 : 0;
        (void)run(&l);
        if (atomic_load(&t.wrong) != 0) {
            printf("# seed %llu\n", (unsigned long long)seed);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        return soak(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
    }
    TAP_RUN(test_accesses);
    TAP_RUN(test_mappings);
    TAP_RUN(test_prefetchers);
    TAP_RUN(test_few_queues);
    TAP_RUN(test_few_frames);
    TAP_RUN(test_failing_device);
    TAP_RUN(test_repeating_device);
    TAP_RUN(test_planted_bugs_are_caught);
    return tap_done();
}
