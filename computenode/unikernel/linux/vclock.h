/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock as the program sees it, through the vDSO and through system calls: both compute it
 * from the TSC with the numbers of one page that is mapped read-only into the program, so that
 * they never contradict each other.
 */
#ifndef DILOS_UNIKERNEL_LINUX_VCLOCK_H
#define DILOS_UNIKERNEL_LINUX_VCLOCK_H

#include <stdint.h>

/* The start of the page; the vDSO knows this layout. Written once, before the program starts. */
struct vclock_page {
    uint64_t tsc_base;    /* the TSC at which ... */
    uint64_t ns_base;     /* ... clock_ns() was this */
    uint64_t mult;        /* nanoseconds = TSC ticks * mult >> 32 */
    uint64_t realtime_ns; /* to be added for CLOCK_REALTIME */
};

__extension__ typedef unsigned __int128 vclock_wide;

static inline uint64_t vclock_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* CLOCK_MONOTONIC in nanoseconds since boot. */
static inline uint64_t vclock_monotonic(const struct vclock_page *page)
{
    uint64_t ticks = vclock_tsc() - page->tsc_base;
    return page->ns_base + (uint64_t)((vclock_wide)ticks * page->mult >> 32);
}

#endif
