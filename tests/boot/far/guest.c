/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel without linux/: instead of a program, the pager is put to work on the real MMU and a
 * real virtio device. Memory is four times what is local; what each page holds is a function of
 * its number and version, and the versions are kept in pageable memory too (the kernel window).
 * Prints one line a phase, with counts; ends with status 0 if every byte was right.
 */
#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/check.h"

#define WORDS  8
#define STRIDE (PAGE_BYTES / WORDS)

static struct {
    uint64_t va;
    uint64_t page_count;
    uint32_t *version; /* in the kernel window */
    uint64_t random;
} t;

static uint64_t next_random(void)
{
    uint64_t z = t.random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    return z ^ z >> 31;
}

static uint64_t contents(uint64_t page, uint32_t version, uint64_t word)
{
    return version == 0 ? 0 : (page << 40 ^ (uint64_t)version << 8 ^ word) * 0x9e3779b97f4a7c15ull;
}

NORETURN static void fail(const char *what, uint64_t page)
{
    char reason[96];
    (void)ksnprintf(reason, sizeof(reason), "%s at page %llu", what, (unsigned long long)page);
    machine_exit(CTL_EXITED, 1, reason);
}

static void write_page(uint64_t page)
{
    uint32_t version = t.version[page] + 1;
    for (uint64_t i = 0; i < WORDS; i++) {
        uint64_t value = contents(page, version, i);
        if (copy_to_user(t.va + page * PAGE_BYTES + i * STRIDE, &value, sizeof(value)) != 0) {
            fail("store failed", page);
        }
    }
    t.version[page] = version;
}

static void check_page(uint64_t page)
{
    uint32_t version = t.version[page];
    for (uint64_t i = 0; i < WORDS; i++) {
        uint64_t value;
        if (copy_from_user(&value, t.va + page * PAGE_BYTES + i * STRIDE, sizeof(value)) != 0) {
            fail("load failed", page);
        }
        if (value != contents(page, version, i)) {
            fail("wrong contents", page);
        }
    }
}

static void say(const char *phase, uint64_t start_ns, uint64_t remote_before)
{
    struct gueststats stats;
    const struct gueststats *s = &stats;
    machine_stats_read(&stats);
    char line[240];
    uint64_t faults = s->faults_remote - remote_before;
    int length = ksnprintf(
        line, sizeof(line),
        "far: phase=%s remote=%llu ns_per_remote=%llu written=%llu discarded=%llu direct=%llu "
        "flush_pages=%llu flush_all=%llu errors=%llu\n",
        phase, (unsigned long long)faults,
        (unsigned long long)(faults == 0 ? 0 : (clock_ns() - start_ns) / faults),
        (unsigned long long)s->far_pages_written, (unsigned long long)s->far_pages_discarded,
        (unsigned long long)s->reclaim_direct, (unsigned long long)s->tlb_flush_pages,
        (unsigned long long)s->tlb_flush_all, (unsigned long long)s->far_errors);
    control_output(1, line, (size_t)length);
}

static void phase_fill(void)
{
    for (uint64_t page = 0; page < t.page_count; page++) {
        write_page(page);
    }
    for (uint64_t page = 0; page < t.page_count; page++) {
        check_page(page);
    }
}

static void phase_random(void)
{
    for (uint64_t i = 0; i < 4 * t.page_count; i++) {
        uint64_t page = next_random() % t.page_count;
        if (i % 3 == 0) {
            write_page(page);
        } else {
            check_page(page);
        }
    }
}

/* One word a page: what a page read costs. */
static void phase_read(void)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 2 * t.page_count; i++) {
        uint64_t page = next_random() % t.page_count;
        uint64_t value;
        if (copy_from_user(&value, t.va + page * PAGE_BYTES, sizeof(value)) != 0) {
            fail("load failed", page);
        }
        sum += value;
    }
    if (sum == 0) {
        fail("all zeros", 0);
    }
}

static void give_up(uint64_t first, uint64_t count)
{
    if (mm_advise(mm_current(), t.va + first * PAGE_BYTES, count * PAGE_BYTES, MM_DONTNEED) != 0) {
        fail("dontneed failed", first);
    }
    memset(&t.version[first], 0, count * sizeof(t.version[0]));
}

static void phase_mappings(void)
{
    struct mm *mm = mm_current();
    for (int i = 0; i < 200; i++) {
        uint64_t first = next_random() % (t.page_count - 64);
        uint64_t at = t.va + first * PAGE_BYTES;
        give_up(first, next_random() % 64 + 1);
        uint64_t value;
        if (mm_protect(mm, at, 4 * PAGE_BYTES, 0) != 0 ||
            copy_from_user(&value, at, sizeof(value)) == 0 ||
            mm_protect(mm, at, 4 * PAGE_BYTES, MM_READ | MM_WRITE) != 0) {
            fail("protection", first);
        }
        for (uint64_t page = first; page < first + 64; page++) {
            if (next_random() % 2 == 0) {
                write_page(page);
            }
            check_page(page);
        }
    }
    uint64_t moved = 0;
    uint64_t bytes = t.page_count * PAGE_BYTES;
    if (mm_remap(mm, t.va, bytes, bytes, true, 0x200000000000, &moved) != 0) {
        fail("remap failed", 0);
    }
    t.va = moved;
}

/* ---- several processors: threads of the kernel share the pages ---- */

#define WORKERS_PER_CPU 2
#define WORKER_STEPS    3000
#define SPAN            16

static struct {
    atomic_bool *locked; /* of each page */
    atomic_uint running;
} workers;

/* Whoever waits lets others of its processor run: one of them may have the page. */
static void page_lock(uint64_t page)
{
    while (atomic_exchange(&workers.locked[page], true)) {
        if (!thread_yield()) {
            cpu_relax();
        }
    }
}

static void page_unlock(uint64_t page)
{
    atomic_store(&workers.locked[page], false);
}

static void advise(uint64_t first, enum mm_advice advice)
{
    kernel_lock();
    if (mm_advise(mm_current(), t.va + first * PAGE_BYTES, SPAN * PAGE_BYTES, advice) != 0) {
        fail("advice failed", first);
    }
    kernel_unlock();
}

static void worker_give_up(uint64_t first)
{
    for (uint64_t i = 0; i < SPAN; i++) {
        page_lock(first + i);
    }
    advise(first, MM_DONTNEED);
    memset(&t.version[first], 0, SPAN * sizeof(t.version[0]));
    for (uint64_t i = 0; i < SPAN; i++) {
        page_unlock(first + i);
    }
}

static void worker_step(uint64_t random)
{
    uint64_t page = (random >> 8) % (t.page_count - SPAN);
    if (random % 64 == 0) {
        worker_give_up(page);
    } else if (random % 64 == 1) {
        advise(page, (random >> 6) % 2 == 0 ? MM_PAGEOUT : MM_COLD);
    } else {
        page_lock(page);
        if (random % 3 == 0) {
            write_page(page);
        } else {
            check_page(page);
        }
        page_unlock(page);
    }
}

static void worker(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    for (uint32_t i = 0; i < WORKER_STEPS; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        worker_step(state >> 20);
    }
    atomic_fetch_sub(&workers.running, 1);
}

static void phase_processors(void)
{
    uint32_t count = WORKERS_PER_CPU * cpu_count();
    workers.locked = kzalloc(t.page_count * sizeof(atomic_bool));
    CHECK(workers.locked != NULL);
    atomic_store(&workers.running, count);
    for (uint32_t i = 0; i < count; i++) {
        struct thread *thread;
        if (thread_create(worker, (void *)(uintptr_t)(i + 1), NULL, &thread) != 0) {
            fail("no thread", i);
        }
        thread_affinity_set(thread, (uint16_t)(1u << i % cpu_count()));
        thread_start(thread);
    }
    kernel_unlock();
    while (atomic_load(&workers.running) > 0) {
        if (!thread_yield()) {
            cpu_relax();
        }
    }
    kernel_lock();
    kfree(workers.locked);
}

/* Idle processors reclaim on their own: what verify() looks at would change under its eyes. */
static void verify(void)
{
    if (cpu_count() == 1) {
        pager_verify();
    }
}

static void run(const char *name, void (*phase)(void))
{
    struct gueststats stats;
    machine_stats_read(&stats);
    uint64_t before = stats.faults_remote;
    uint64_t start_ns = clock_ns();
    phase();
    say(name, start_ns, before);
    for (uint64_t page = 0; page < t.page_count; page++) {
        check_page(page);
    }
    verify();
}

void linux_start(void)
{
    uint64_t window_va;
    struct gueststats stats;
    machine_stats_read(&stats);
    t.page_count = stats.frames_total * 4;
    if (kwin_alloc(t.page_count * sizeof(t.version[0]) / PAGE_BYTES + 1, &window_va) != 0 ||
        mm_map(mm_current(), 0, t.page_count * PAGE_BYTES, MM_READ | MM_WRITE, 0, NULL, 0, &t.va) !=
            0) {
        fail("map failed", 0);
    }
    t.version = (uint32_t *)window_va;
    run("fill", phase_fill);
    run("random", phase_random);
    run("read", phase_read);
    run("mappings", phase_mappings);
    run("processors", phase_processors);
    if (mm_unmap(mm_current(), t.va, t.page_count * PAGE_BYTES) != 0) {
        fail("unmap failed", 0);
    }
    kwin_free(window_va, t.page_count * sizeof(t.version[0]) / PAGE_BYTES + 1);
    pager_quiesce();
    verify();
    machine_stats_read(&stats);
    if (stats.pages_local + stats.pages_remote != 0) {
        fail("pages are left", stats.pages_local + stats.pages_remote);
    }
    machine_exit(CTL_EXITED, 0, "");
}

void linux_syscall(struct user_regs *regs)
{
    fail("syscall", regs->orig_rax);
}

void linux_exception(struct user_regs *regs, unsigned vector, uint64_t error_code, uint64_t address,
                     int failure)
{
    fail("exception", address);
}

void linux_signal(int signal)
{
}

void linux_memory_changed(void)
{
}

void linux_attention(struct user_regs *regs)
{
    fail("signal", 0);
}
