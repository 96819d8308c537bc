/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/selftest.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/check.h"

/* Each test is NOINLINE, so that backtraces name it. */

#define HEAP_BLOCKS 400
#define HEAP_ROUNDS 8000u

static NOINLINE void test_panic(void)
{
    panic("selftest asked for it");
}

static NOINLINE void test_check(void)
{
    volatile int one = 1;
    CHECK(one == 2);
}

static NOINLINE void test_null(void)
{
    volatile uint8_t *nowhere = (volatile uint8_t *)(uintptr_t)UINT64_C(0xffffd80000000000);
    *nowhere = 1;
}

static uint64_t overflow(volatile uint64_t *above)
{
    volatile uint64_t here[64];
    here[0] = above != NULL ? above[0] + 1 : 0;
    return here[0] == UINT64_MAX ? 0 : overflow(here) + here[0];
}

static NOINLINE void test_stack(void)
{
    klog(CTL_LEVEL_INFO, "%llu", (unsigned long long)overflow(NULL));
}

/* Blocks of many sizes, each filled with a byte of its own and checked before it is freed. */
static NOINLINE void test_heap(void)
{
    static uint8_t *blocks[HEAP_BLOCKS];
    static uint32_t sizes[HEAP_BLOCKS];
    uint32_t seed = 1;
    for (uint32_t i = 0; i < HEAP_ROUNDS; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t at = (seed >> 8) % HEAP_BLOCKS;
        uint8_t *block = blocks[at];
        for (uint32_t k = 0; block != NULL && k < sizes[at]; k++) {
            CHECK(block[k] == (uint8_t)at);
        }
        kfree(block);
        sizes[at] = (seed >> 16) % ((seed >> 12) % 16 == 0 ? 40000 : 600);
        blocks[at] = kmalloc(sizes[at]);
        CHECK(blocks[at] != NULL);
        CHECK((uintptr_t)blocks[at] % 16 == 0);
        memset(blocks[at], (int)at, sizes[at]);
    }
    for (uint32_t i = 0; i < HEAP_BLOCKS; i++) {
        kfree(blocks[i]);
    }
    machine_exit(CTL_EXITED, 0, "heap ok");
}

static NOINLINE void test_random(void)
{
    uint8_t bytes[16];
    char line[33];
    random_fill(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)ksnprintf(line + 2 * i, 3, "%02x", bytes[i]);
    }
    machine_exit(CTL_EXITED, 0, line);
}

static NOINLINE void test_sleep(void)
{
    uint64_t deadline_ns = clock_ns() + 50000000;
    int r = thread_wait(deadline_ns, THREAD_WAIT_OUTSIDE);
    CHECK(r == -ETIMEDOUT);
    CHECK(clock_ns() >= deadline_ns);
    machine_exit(CTL_EXITED, 0, "sleep ok");
}

static struct {
    struct thread *main;
    uint32_t done;
    uint32_t seen; /* processors */
    bool wrong;
} cpus;

/* On one processor: looks where it is, in between waits and makes all others forget. */
static void on_processor(void *argument)
{
    uint32_t wanted = (uint32_t)(uintptr_t)argument;
    kernel_lock();
    for (int i = 0; i < 100; i++) {
        int r = thread_wait(clock_ns() + 100000, THREAD_WAIT_OUTSIDE);
        cpus.wrong = cpus.wrong || cpu_index() != wanted || r != -ETIMEDOUT;
        tlb_flush_all();
    }
    cpus.seen |= 1u << cpu_index();
    cpus.done++;
    thread_wake(cpus.main);
    kernel_unlock();
}

static NOINLINE void test_cpus(void)
{
    char reason[48];
    uint32_t count = cpu_count();
    cpus.main = thread_current();
    for (uint32_t i = 0; i < 2 * count; i++) {
        struct thread *t;
        int r = thread_create(on_processor, (void *)(uintptr_t)(i % count), NULL, &t);
        CHECK(r == 0);
        thread_affinity_set(t, (uint16_t)(1u << i % count));
        thread_start(t);
    }
    while (cpus.done < 2 * count) {
        int r = thread_wait(THREAD_NEVER, THREAD_WAIT_OUTSIDE);
        CHECK(r == 0);
    }
    CHECK(!cpus.wrong);
    (void)ksnprintf(reason, sizeof(reason), "cpus=%u seen=0x%x", count, cpus.seen);
    machine_exit(CTL_EXITED, 0, reason);
}

static struct {
    _Atomic uint32_t turning;
    _Atomic bool stop;
} turns;

/* One of two on a processor that wait for something and let each other run meanwhile. */
static void take_turns(void *argument)
{
    atomic_fetch_add(&turns.turning, 1);
    while (!atomic_load(&turns.stop)) {
        if (!thread_yield()) {
            cpu_relax();
        }
    }
    on_processor(argument);
}

/* They must answer all the same who wants their processor to forget translations. */
static NOINLINE void test_turns(void)
{
    CHECK(cpu_count() > 1);
    cpus.main = thread_current();
    for (uint32_t i = 0; i < 2; i++) {
        struct thread *t;
        int r = thread_create(take_turns, (void *)(uintptr_t)1, NULL, &t);
        CHECK(r == 0);
        thread_affinity_set(t, 1u << 1);
        thread_start(t);
    }
    while (atomic_load(&turns.turning) < 2) {
        cpu_relax();
    }
    tlb_flush_all();
    atomic_store(&turns.stop, true);
    while (cpus.done < 2) {
        int r = thread_wait(THREAD_NEVER, THREAD_WAIT_OUTSIDE);
        CHECK(r == 0);
    }
    machine_exit(CTL_EXITED, 0, cpus.wrong ? "turns wrong" : "turns ok");
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"panic", test_panic}, {"check", test_check}, {"null", test_null},
    {"stack", test_stack}, {"heap", test_heap},   {"random", test_random},
    {"sleep", test_sleep}, {"cpus", test_cpus},   {"turns", test_turns},
};

void selftest(const char *cmdline)
{
    const char *word = strstr(cmdline, "selftest=");
    if (word == NULL) {
        return;
    }
    word += strlen("selftest=");
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        size_t length = strlen(tests[i].name);
        if (strncmp(word, tests[i].name, length) == 0 &&
            (word[length] == ' ' || word[length] == '\0')) {
            tests[i].run();
        }
    }
    machine_exit(CTL_REFUSED, 1, "command line: no such selftest");
}
