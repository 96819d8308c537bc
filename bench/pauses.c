/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine itself takes away from two threads that spin, as a vCPU and the agent's poller
 * do: the floor of the slowest faults that `fault_latency` can find here.
 *
 * usage: pauses NS COUNT
 *
 * Two threads pass a token to and fro, nothing else; a turn takes about NS nanoseconds, half of
 * them spent by each. Prints one JSON line with percentiles of COUNT turns:
 *   {"turns": COUNT, "p50": NS, "p99": NS, "p999": NS}
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define COUNT_MAX 10000000u

static _Atomic uint64_t asked, answered;
static uint64_t half_ns;

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void spend(uint64_t ns)
{
    uint64_t start_ns = now_ns();
    while (now_ns() - start_ns < ns) {
    }
}

/* Answers `*context` turns. */
static void *answer(void *context)
{
    uint64_t turn = 0;
    uint64_t count = *(uint64_t *)context;
    while (turn < count) {
        while (atomic_load_explicit(&asked, memory_order_acquire) == turn) {
        }
        turn++;
        spend(half_ns);
        atomic_store_explicit(&answered, turn, memory_order_release);
    }
    return NULL;
}

static uint64_t ask(uint64_t turn)
{
    uint64_t start_ns = now_ns();
    atomic_store_explicit(&asked, turn, memory_order_release);
    while (atomic_load_explicit(&answered, memory_order_acquire) != turn) {
    }
    spend(half_ns);
    return now_ns() - start_ns;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t ns = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (ns == 0 || count < 1000 || count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: pauses NS COUNT (1000 to %u)\n", COUNT_MAX);
        return 2;
    }
    half_ns = ns / 2;
    uint64_t *times = calloc(count, sizeof(*times));
    pthread_t thread;
    if (times == NULL || pthread_create(&thread, NULL, answer, &count) != 0) {
        (void)fprintf(stderr, "pauses: no memory or no thread\n");
        return 1;
    }
    for (uint64_t turn = 1; turn <= count; turn++) {
        times[turn - 1] = ask(turn);
    }
    (void)pthread_join(thread, NULL);
    qsort(times, count, sizeof(*times), compare);
    printf("{\"turns\": %llu, \"p50\": %llu, \"p99\": %llu, \"p999\": %llu}\n",
           (unsigned long long)count, (unsigned long long)times[count / 2],
           (unsigned long long)times[count * 99 / 100],
           (unsigned long long)times[count * 999 / 1000]);
    free(times);
    return 0;
}
