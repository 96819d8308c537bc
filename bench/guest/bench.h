/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bench programs share. They are ordinary Linux programs without our libraries: the same
 * binary runs natively, under Linux and in the unikernel.
 *
 * Each prints one JSON line {"units": N, "ns": T, "checksum": "HEX", ...}: the time of N units of
 * work, and a sum over its results that bench/ compares with that of a native run.
 */
#ifndef DILOS_BENCH_GUEST_BENCH_H
#define DILOS_BENCH_GUEST_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define BENCH_MIB     (UINT64_C(1) << 20)
#define BENCH_USAGE   2
#define BENCH_WRONG   3 /* a result is wrong: there is no figure */
#define BENCH_MISSING 4 /* the system lacks what the program needs */

static inline uint64_t bench_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64; the state is never 0. */
static inline uint64_t bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline uint64_t bench_mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
}

_Noreturn static inline void bench_die(int status, const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    exit(status);
}

/* Anonymous memory, which is what pages. Never NULL. */
static inline void *bench_memory(uint64_t bytes)
{
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        bench_die(BENCH_MISSING, "not so much memory");
    }
    return memory;
}

static inline uint64_t bench_major_faults(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_majflt : 0;
}

static inline void bench_result(uint64_t units, uint64_t ns, uint64_t checksum)
{
    printf("{\"units\": %llu, \"ns\": %llu, \"checksum\": \"%016llx\"}\n",
           (unsigned long long)units, (unsigned long long)ns, (unsigned long long)checksum);
}

#endif
