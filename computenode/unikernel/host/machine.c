/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory, time, and the rest of kernel/port.h. */
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/far/pager_thread.h"
#include "computenode/unikernel/host/host.h"
#include "lib/base/check.h"

/* Frames begin here, in two ranges with a gap, as on a PC; below is the root table. */
#define RAM_START 0x100000ull
#define RAM_GAP   0x40000ull
#define ROOT_PA   0x1000ull

struct host_config host_config;

static struct {
    uint8_t *ram;
    uint64_t ram_bytes;
    _Atomic uint64_t now_ns;
    _Atomic uint64_t violations;
    struct gueststats stats[CPU_COUNT_MAX];
    struct gueststats sum;
} host;

/* Of the thread that plays the processor. */
static _Thread_local struct {
    uint32_t index;
    uint32_t lock_depth;
    uint64_t random;
    struct pager_thread thread;
} cpu;

static pthread_mutex_t big_lock = PTHREAD_MUTEX_INITIALIZER;

uint64_t host_random(void)
{
    /* splitmix64 */
    uint64_t z = cpu.random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t host_random_below(uint64_t bound)
{
    return host_random() % bound;
}

void host_violation(const char *what, uint64_t va)
{
    if (atomic_fetch_add(&host.violations, 1) < 5) {
        printf("# violation: %s (0x%llx)\n", what, (unsigned long long)va);
    }
}

uint64_t host_violations(void)
{
    return host.violations;
}

const struct gueststats *host_stats(void)
{
    memset(&host.sum, 0, sizeof(host.sum));
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        gueststats_add(&host.sum, &host.stats[i]);
    }
    return &host.sum;
}

void *phys_to_virt(phys_addr_t pa)
{
    CHECK(pa.v < host.ram_bytes);
    return host.ram + pa.v;
}

phys_addr_t virt_to_phys(const void *direct_map_address)
{
    uint64_t offset = (uint64_t)((const uint8_t *)direct_map_address - host.ram);
    CHECK(offset < host.ram_bytes);
    return (phys_addr_t){offset};
}

uint64_t *port_root_table(void)
{
    return phys_to_virt((phys_addr_t){ROOT_PA});
}

void cpu_relax(void)
{
    host_tlb_answer();
    if (cpu_count() > 1) {
        (void)sched_yield();
    }
}

void host_relax(void)
{
    cpu_relax();
}

uint32_t cpu_index(void)
{
    return cpu.index;
}

uint32_t cpu_count(void)
{
    return MAX(host_config.cpu_count, 1u);
}

void host_cpu_enter(uint32_t index)
{
    memset(&cpu, 0, sizeof(cpu));
    cpu.index = index;
    cpu.random = host_config.seed + index * 0x517cc1b727220a95ull;
    host_tlb_online(index, true);
}

void host_cpu_leave(void)
{
    CHECK(cpu.lock_depth == 0);
    host_tlb_online(cpu.index, false);
}

void kernel_lock(void)
{
    if (cpu.lock_depth++ == 0) {
        while (pthread_mutex_trylock(&big_lock) != 0) {
            cpu_relax();
        }
    }
}

void kernel_unlock(void)
{
    CHECK(cpu.lock_depth > 0);
    if (--cpu.lock_depth == 0) {
        (void)pthread_mutex_unlock(&big_lock);
    }
}

bool kernel_lock_held(void)
{
    return cpu.lock_depth > 0;
}

bool thread_yield(void)
{
    return false;
}

struct pager_thread *pager_thread(void)
{
    return &cpu.thread;
}

uint64_t clock_ns(void)
{
    return atomic_fetch_add(&host.now_ns, 100);
}

void klog(int level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("# ");
    (void)vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

NORETURN void panic(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    abort();
}

static void ram_make(uint64_t frame_count)
{
    host.ram_bytes = RAM_START + RAM_GAP + frame_count * PAGE_BYTES;
    host.ram =
        mmap(NULL, host.ram_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(host.ram != MAP_FAILED);
    /* Old contents are never zeros by luck. */
    memset(host.ram + RAM_START, 0xa5, host.ram_bytes - RAM_START);
}

void host_start(const struct host_config *config)
{
    host_config = *config;
    memset(&host, 0, sizeof(host));
    ram_make(config->frame_count);
    host_tlb_reset();
    host_cpu_enter(0);
    uint64_t low_count = config->frame_count / 4;
    struct frame_range ranges[] = {
        {{RAM_START}, low_count},
        {{RAM_START + low_count * PAGE_BYTES + RAM_GAP}, config->frame_count - low_count},
    };
    frames_init(ranges, 2, 0);
    struct pager_config pager_config = {
        .far_bytes = config->far_page_limit != 0 ? config->far_page_limit * PAGE_BYTES : GIB,
        .slab_bytes = MIB,
        .image_bytes = config->image_bytes,
        .stats = host.stats,
        .prefetch = config->prefetch,
        .prefetch_length = config->prefetch == NULL ? 0 : (uint32_t)strlen(config->prefetch),
    };
    if (config->far) {
        host_device_start();
        for (uint32_t i = 0; i < cpu_count(); i++) {
            pager_config.demand[i] = host_queue(i, true);
            pager_config.background[i] = host_queue(i, config->one_queue);
        }
    }
    pager_init(&pager_config);
}

void host_stop(void)
{
    pager_quiesce();
    host_device_stop();
    (void)munmap(host.ram, host.ram_bytes);
    host.ram = NULL;
}
