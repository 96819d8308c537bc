/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads as POSIX programs use them: each part checks what it did and says so. Linked with glibc
 * and musl, static and dynamic. "threads" runs all parts, "threads NAME..." some.
 */
#include "tests/abi/expect.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8

static struct timespec after_ms(clockid_t clock, long ms)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    ts.tv_nsec += ms % 1000 * 1000000;
    ts.tv_sec += ms / 1000 + ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return ts;
}

/* ---- create, join, values, thread-local storage, stacks ---- */

static _Thread_local int local = 7;

static void *add_up(void *argument)
{
    volatile uint8_t stack[100000];
    intptr_t number = (intptr_t)argument;
    int64_t sum = 0;
    local += (int)number;
    for (size_t i = 0; i < sizeof(stack); i++) {
        stack[i] = (uint8_t)(number + (intptr_t)i);
    }
    sched_yield();
    for (size_t i = 0; i < sizeof(stack); i++) {
        sum += stack[i] == (uint8_t)(number + (intptr_t)i);
    }
    return (void *)(sum + local);
}

static void part_join(void)
{
    for (int round = 0; round < 20; round++) {
        pthread_t threads[THREADS];
        for (intptr_t i = 0; i < THREADS; i++) {
            expect("pthread_create", pthread_create(&threads[i], NULL, add_up, (void *)i) == 0);
        }
        for (intptr_t i = 0; i < THREADS; i++) {
            void *result = NULL;
            expect("pthread_join", pthread_join(threads[i], &result) == 0);
            expect("result of a thread", (intptr_t)result == 100000 + 7 + i);
        }
    }
    expect("thread-local storage", local == 7);
}

/* ---- mutex, condition variable, semaphore, read-write lock, barrier, once ---- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty, not_full;
    int ring[4];
    int head, count;
    int64_t taken, value_sum;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};

#define ITEMS 5000

static void *produce(void *argument)
{
    for (int i = 1; i <= ITEMS; i++) {
        pthread_mutex_lock(&queue.mutex);
        while (queue.count == 4) {
            pthread_cond_wait(&queue.not_full, &queue.mutex);
        }
        queue.ring[(queue.head + queue.count++) % 4] = i;
        pthread_cond_signal(&queue.not_empty);
        pthread_mutex_unlock(&queue.mutex);
    }
    return NULL;
}

static void *consume(void *argument)
{
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&queue.mutex);
        while (queue.count == 0) {
            pthread_cond_wait(&queue.not_empty, &queue.mutex);
        }
        queue.value_sum += queue.ring[queue.head];
        queue.head = (queue.head + 1) % 4;
        queue.count--;
        queue.taken++;
        pthread_cond_broadcast(&queue.not_full);
        pthread_mutex_unlock(&queue.mutex);
    }
    return NULL;
}

static void run_threads(int count, void *(*const functions[])(void *), int kinds)
{
    pthread_t threads[16];
    for (intptr_t i = 0; i < count; i++) {
        expect("pthread_create",
               pthread_create(&threads[i], NULL, functions[i % kinds], (void *)i) == 0);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void part_queue(void)
{
    void *(*const functions[])(void *) = {produce, consume};
    run_threads(6, functions, 2);
    expect("queue: all items", queue.taken == 3 * ITEMS);
    expect("queue: their sum", queue.value_sum == 3ll * ITEMS * (ITEMS + 1) / 2);
    expect("queue: empty", queue.count == 0);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t tickets;
static atomic_int inside, inside_max, serial;
static int64_t shared_a, shared_b;

static void *lock_all_ways(void *argument)
{
    for (int i = 0; i < 300; i++) {
        pthread_rwlock_wrlock(&rwlock);
        shared_a++;
        if (i % 16 == 0) {
            sched_yield();
        }
        shared_b++;
        pthread_rwlock_unlock(&rwlock);
        pthread_rwlock_rdlock(&rwlock);
        expect("rwlock: both or none", shared_a == shared_b);
        pthread_rwlock_unlock(&rwlock);
        sem_wait(&tickets);
        int now = atomic_fetch_add(&inside, 1) + 1;
        int max = atomic_load(&inside_max);
        while (now > max && !atomic_compare_exchange_weak(&inside_max, &max, now)) {
        }
        sched_yield();
        atomic_fetch_sub(&inside, 1);
        sem_post(&tickets);
    }
    for (int i = 0; i < 50; i++) {
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
            atomic_fetch_add(&serial, 1);
        }
    }
    return NULL;
}

static void part_locks(void)
{
    void *(*const functions[])(void *) = {lock_all_ways};
    pthread_barrier_init(&barrier, NULL, THREADS);
    sem_init(&tickets, 0, 2);
    run_threads(THREADS, functions, 1);
    expect("rwlock: count", shared_a == THREADS * 300);
    expect("semaphore: at most two", atomic_load(&inside_max) <= 2);
    expect("barrier: one serial thread each time", atomic_load(&serial) == 50);
}

/* ---- timeouts ---- */

static void part_timeouts(void)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c, &attributes);
    pthread_mutex_lock(&m);
    int64_t start = clock_ms(CLOCK_MONOTONIC);
    struct timespec until = after_ms(CLOCK_MONOTONIC, 40);
    expect("timed wait, monotonic", pthread_cond_timedwait(&c, &m, &until) == ETIMEDOUT);
    expect("it waited", clock_ms(CLOCK_MONOTONIC) - start >= 39);
    pthread_cond_t real = PTHREAD_COND_INITIALIZER;
    until = after_ms(CLOCK_REALTIME, 40);
    start = clock_ms(CLOCK_MONOTONIC);
    expect("timed wait, realtime", pthread_cond_timedwait(&real, &m, &until) == ETIMEDOUT);
    expect("it waited too", clock_ms(CLOCK_MONOTONIC) - start >= 39);
    until = after_ms(CLOCK_REALTIME, -1000);
    expect("timed wait, past", pthread_cond_timedwait(&real, &m, &until) == ETIMEDOUT);
    until = after_ms(CLOCK_REALTIME, 20);
    sem_t none;
    sem_init(&none, 0, 0);
    expect("sem_timedwait", sem_timedwait(&none, &until) == -1 && errno == ETIMEDOUT);
}

static atomic_int spins;
static atomic_bool spin_stop;

static void *spin(void *argument)
{
    while (!atomic_load(&spin_stop)) {
        atomic_fetch_add(&spins, 1);
    }
    return NULL;
}

/* Threads that only compute do not keep others from running. */
static void part_preempt(void)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, spin, NULL);
    }
    struct timespec ms = {0, 3000000};
    for (int i = 0; i < 10; i++) {
        nanosleep(&ms, NULL);
    }
    atomic_store(&spin_stop, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    expect("spinning threads ran", atomic_load(&spins) > 0);
}

/* ---- pipes between threads ---- */

static int pipe_fds[2];

static void *pipe_writer(void *argument)
{
    uint32_t values[700];
    for (uint32_t i = 0; i < 400; i++) {
        for (uint32_t k = 0; k < 700; k++) {
            values[k] = i * 700 + k;
        }
        if (write(pipe_fds[1], values, sizeof(values)) != (ssize_t)sizeof(values)) {
            expect("pipe: whole writes", 0);
        }
    }
    close(pipe_fds[1]);
    return NULL;
}

static void part_pipe(void)
{
    pthread_t thread;
    uint32_t value, next = 0;
    uint8_t buffer[1000];
    size_t have = 0;
    ssize_t got;
    expect("pipe", pipe(pipe_fds) == 0);
    pthread_create(&thread, NULL, pipe_writer, NULL);
    while ((got = read(pipe_fds[0], buffer + have, 997 - have)) > 0) {
        have += (size_t)got;
        size_t at = 0;
        for (; have - at >= 4; at += 4) {
            memcpy(&value, buffer + at, 4);
            expect("pipe: order", value == next);
            next++;
        }
        memmove(buffer, buffer + at, have - at);
        have -= at;
    }
    pthread_join(thread, NULL);
    expect("pipe: all", next == 400 * 700 && have == 0);
}

/* ---- what belongs to threads ---- */

static atomic_int child_tid;

static void *tell_tid(void *argument)
{
    atomic_store(&child_tid, (int)syscall(SYS_gettid));
    return NULL;
}

static void *exit_in_the_middle(void *argument)
{
    pthread_exit((void *)42);
}

static void part_ids(void)
{
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, tell_tid, NULL);
    pthread_join(thread, NULL);
    expect("tid differs", atomic_load(&child_tid) != getpid() && atomic_load(&child_tid) > 0);
    expect("tid of the main thread is the pid", syscall(SYS_gettid) == getpid());
    int64_t start =
        clock_ms(CLOCK_MONOTONIC); /* it may be on its last steps when pthread_join() returns */
    while (syscall(SYS_tgkill, getpid(), atomic_load(&child_tid), 0) == 0 &&
           clock_ms(CLOCK_MONOTONIC) - start < 10000) {
        sched_yield();
    }
    expect("tgkill of a thread that has ended",
           syscall(SYS_tgkill, getpid(), atomic_load(&child_tid), 0) == -1 && errno == ESRCH);
    expect("tgkill 0", syscall(SYS_tgkill, getpid(), getpid(), 0) == 0);
    pthread_create(&thread, NULL, exit_in_the_middle, NULL);
    pthread_join(thread, &result);
    expect("pthread_exit", result == (void *)42);
    cpu_set_t set;
    CPU_ZERO(&set);
    expect("sched_getaffinity", sched_getaffinity(0, sizeof(set), &set) == 0);
    expect("as many as the system has", CPU_COUNT(&set) == sysconf(_SC_NPROCESSORS_ONLN));
    expect("sched_get_priority_max", sched_get_priority_max(SCHED_FIFO) == 99);
    expect("sched_getcpu", sched_getcpu() >= 0 && CPU_ISSET(sched_getcpu(), &set));
    struct timespec ts;
    expect("thread clock", clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0 && ts.tv_nsec > 0);
}

/* ---- affinity ---- */

static bool stays_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        return false;
    }
    CPU_ZERO(&set);
    bool same = sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1 &&
                CPU_ISSET(cpu, &set);
    for (int i = 0; i < 200; i++) {
        same = same && sched_getcpu() == cpu;
        sched_yield();
    }
    return same;
}

/* Goes round the processors, beginning with its own number. */
static void *go_round(void *argument)
{
    intptr_t count = sysconf(_SC_NPROCESSORS_ONLN), good = 0;
    for (intptr_t i = 0; i < count; i++) {
        good += stays_on((int)(((intptr_t)argument + i) % count));
    }
    return (void *)(good == count ? (intptr_t)1 : (intptr_t)0);
}

static void part_affinity(void)
{
    pthread_t threads[4];
    cpu_set_t before, after;
    expect("affinity before", sched_getaffinity(0, sizeof(before), &before) == 0);
    for (intptr_t i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, go_round, (void *)i);
    }
    for (int i = 0; i < 4; i++) {
        void *good;
        pthread_join(threads[i], &good);
        expect("runs where it is bound to, and only there", good != NULL);
    }
    expect("a thread's own", sched_getaffinity(0, sizeof(after), &after) == 0);
    expect("others' are as they were", CPU_EQUAL(&before, &after));
    CPU_ZERO(&after);
    expect("nowhere", sched_setaffinity(0, sizeof(after), &after) == -1 && errno == EINVAL);
    expect("of no thread",
           sched_setaffinity(99999999, sizeof(before), &before) == -1 && errno == ESRCH);
}

/* ---- many threads at once, detached ---- */

static atomic_int many_done;

static void *count_once(void *argument)
{
    void *block = malloc(10000);
    memset(block, 1, 10000);
    free(block);
    atomic_fetch_add(&many_done, 1);
    return NULL;
}

static void part_many(void)
{
    enum { COUNT = 200 };
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < COUNT; i++) {
        pthread_t thread;
        int rc = pthread_create(&thread, &attributes, count_once, NULL);
        expect("pthread_create, detached", rc == 0);
    }
    int64_t start = clock_ms(CLOCK_MONOTONIC);
    while (atomic_load(&many_done) < COUNT && clock_ms(CLOCK_MONOTONIC) - start < 20000) {
        sched_yield();
    }
    expect("all detached threads ran", atomic_load(&many_done) == COUNT);
}

/* ---- robust mutexes ---- */

static pthread_mutex_t robust;

static void *die_with_it(void *argument)
{
    pthread_mutex_lock(&robust);
    return NULL;
}

static void part_robust(void)
{
    pthread_mutexattr_t attributes;
    pthread_t thread;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    pthread_create(&thread, NULL, die_with_it, NULL);
    int rc = 0;
    int64_t start = clock_ms(CLOCK_MONOTONIC);
    do { /* whoever is first */
        rc = pthread_mutex_lock(&robust);
        if (rc == 0) {
            pthread_mutex_unlock(&robust);
            sched_yield();
        }
    } while (rc == 0 && clock_ms(CLOCK_MONOTONIC) - start < 20000);
    pthread_join(thread, NULL);
    expect("owner died", rc == EOWNERDEAD);
    expect("made consistent", pthread_mutex_consistent(&robust) == 0);
    pthread_mutex_unlock(&robust);
    expect("usable again", pthread_mutex_lock(&robust) == 0);
    pthread_mutex_unlock(&robust);
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"join", part_join},         {"queue", part_queue}, {"locks", part_locks},
    {"timeouts", part_timeouts}, {"pipe", part_pipe},   {"ids", part_ids},
    {"affinity", part_affinity}, {"many", part_many},   {"robust", part_robust},
    {"preempt", part_preempt},
};

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int wanted = argc == 1;
        for (int k = 1; k < argc; k++) {
            wanted |= strcmp(argv[k], parts[i].name) == 0;
        }
        if (wanted) {
            parts[i].run();
            printf("done %s\n", parts[i].name);
        }
    }
    return expect_done();
}
