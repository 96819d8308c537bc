/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vDSO (vdso(7)): a shared object that the kernel maps into the program, so that reading the
 * clock is not a system call. It runs in ring 3, has no data of its own and reads the page in
 * front of it. What it does not know it asks the kernel.
 */
#include <stddef.h>
#include <stdint.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/linux/vclock.h"

#define NS_PER_S             1000000000ull
#define SYSCALL_GETTIMEOFDAY 96
#define SYSCALL_GETTIME      228
#define SYSCALL_GETCPU       309

/* Placed by vdso.lds, one page before the image. */
extern const struct vclock_page vdso_clock __attribute__((visibility("hidden")));

int __vdso_clock_gettime(int clock, struct lx_timespec *ts);
int __vdso_gettimeofday(struct lx_timeval *tv, void *zone);
int64_t __vdso_time(int64_t *t);
int __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused);

static long syscall_2(long number, long a, long b)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b)
                     : "rcx", "r11", "memory");
    return result;
}

int __vdso_clock_gettime(int clock, struct lx_timespec *ts)
{
    uint64_t ns = vclock_monotonic(&vdso_clock);
    switch (clock) {
    case 0: /* CLOCK_REALTIME */
    case 5: /* CLOCK_REALTIME_COARSE */
        ns += vdso_clock.realtime_ns;
        break;
    case 1: /* CLOCK_MONOTONIC */
    case 4: /* CLOCK_MONOTONIC_RAW */
    case 6: /* CLOCK_MONOTONIC_COARSE */
    case 7: /* CLOCK_BOOTTIME */
        break;
    default:
        return (int)syscall_2(SYSCALL_GETTIME, clock, (long)(uintptr_t)ts);
    }
    ts->tv_sec = (int64_t)(ns / NS_PER_S);
    ts->tv_nsec = (int64_t)(ns % NS_PER_S);
    return 0;
}

int __vdso_gettimeofday(struct lx_timeval *tv, void *zone)
{
    if (zone != NULL) {
        return (int)syscall_2(SYSCALL_GETTIMEOFDAY, (long)(uintptr_t)tv, (long)(uintptr_t)zone);
    }
    if (tv != NULL) {
        uint64_t ns = vclock_monotonic(&vdso_clock) + vdso_clock.realtime_ns;
        tv->tv_sec = (int64_t)(ns / NS_PER_S);
        tv->tv_usec = (int64_t)(ns % NS_PER_S / 1000);
    }
    return 0;
}

int64_t __vdso_time(int64_t *t)
{
    int64_t now = (int64_t)((vclock_monotonic(&vdso_clock) + vdso_clock.realtime_ns) / NS_PER_S);
    if (t != NULL) {
        *t = now;
    }
    return now;
}

int __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
    return (int)syscall_2(SYSCALL_GETCPU, (long)(uintptr_t)cpu, (long)(uintptr_t)node);
}

int clock_gettime(int clock, struct lx_timespec *ts)
    __attribute__((weak, alias("__vdso_clock_gettime")));
int gettimeofday(struct lx_timeval *tv, void *zone)
    __attribute__((weak, alias("__vdso_gettimeofday")));
int64_t time(int64_t *t) __attribute__((weak, alias("__vdso_time")));
int getcpu(unsigned *cpu, unsigned *node, void *unused)
    __attribute__((weak, alias("__vdso_getcpu")));
