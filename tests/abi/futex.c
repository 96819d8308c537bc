/* SPDX-License-Identifier: Apache-2.0 */
/* futex(2) by its manual page, with raw calls: results, counts, errors, timeouts. */
#include "tests/abi/expect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAITERS_MAX 8

static long futex(void *word, int operation, uint32_t value, const void *timeout, void *word2,
                  uint32_t value3)
{
    long rc = syscall(SYS_futex, word, operation, value, timeout, word2, value3);
    return rc < 0 ? -errno : rc;
}

/* ---- threads that wait, and what came of it ---- */

static struct waiter {
    _Atomic uint32_t *word;
    int operation;
    uint32_t bitset;
    pthread_t thread;
    atomic_int started;
    atomic_int woken; /* the result + 1000; 0: it waits */
} waiters[WAITERS_MAX];

static void *wait_thread(void *argument)
{
    struct waiter *w = argument;
    atomic_store(&w->started, 1);
    long rc = futex(w->word, w->operation, 0, NULL, NULL, w->bitset);
    atomic_store(&w->woken, (int)rc + 1000);
    return NULL;
}

static void start(int index, _Atomic uint32_t *word, int operation, uint32_t bitset)
{
    struct waiter *w = &waiters[index];
    *w = (struct waiter){.word = word, .operation = operation, .bitset = bitset};
    pthread_create(&w->thread, NULL, wait_thread, w);
    while (!atomic_load(&w->started)) {
        pause_ms(1);
    }
    pause_ms(5);
}

static int woken_count(int count)
{
    int woken = 0;
    for (int i = 0; i < 200; i++) { /* those that are woken come back sooner or later */
        int now = 0;
        for (int k = 0; k < count; k++) {
            now += atomic_load(&waiters[k].woken) != 0;
        }
        if (now == woken && i > 10) {
            break;
        }
        woken = now;
        pause_ms(2);
    }
    return woken;
}

static void join(int count)
{
    for (int i = 0; i < count; i++) {
        pthread_join(waiters[i].thread, NULL);
        expect("a wait that was woken returns 0", atomic_load(&waiters[i].woken) == 1000);
    }
}

/* ---- parts ---- */

static void errors(void)
{
    _Atomic uint32_t word = 5;
    struct timespec bad = {0, 1000000000}, negative = {-1, 0}, none = {0, 0};
    void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect("another value", futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0) == -EAGAIN);
    expect("unaligned", futex((char *)&word + 1, FUTEX_WAIT, 5, NULL, NULL, 0) == -EINVAL);
    expect("bad time", futex(&word, FUTEX_WAIT, 5, &bad, NULL, 0) == -EINVAL);
    expect("negative time", futex(&word, FUTEX_WAIT, 5, &negative, NULL, 0) == -EINVAL);
    expect("no time at all", futex(&word, FUTEX_WAIT, 5, &none, NULL, 0) == -ETIMEDOUT);
    expect("no bits", futex(&word, FUTEX_WAIT_BITSET, 5, &none, NULL, 0) == -EINVAL);
    expect("wake no bits", futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0) == -EINVAL);
    expect("no access", futex(nowhere, FUTEX_WAIT, 0, &none, NULL, 0) == -EFAULT);
    expect("nobody to wake", futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0) == 0);
    expect("compare and requeue",
           futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &word, 6) == -EAGAIN);
    expect("negative count", futex(&word, FUTEX_REQUEUE, 0x80000000u, NULL, &word, 0) == -EINVAL);
    expect("no such operation", futex(&word, 99, 0, NULL, NULL, 0) == -ENOSYS);
}

static void timeouts(void)
{
    uint32_t word = 0;
    const struct {
        int operation;
        clockid_t clock;
        int absolute;
    } ways[] = {
        {FUTEX_WAIT, CLOCK_MONOTONIC, 0},
        {FUTEX_WAIT_PRIVATE, CLOCK_MONOTONIC, 0},
        {FUTEX_WAIT_BITSET, CLOCK_MONOTONIC, 1},
        {FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, CLOCK_REALTIME, 1},
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        int64_t start_ms = clock_ms(ways[i].clock), ms = 30 + (ways[i].absolute ? start_ms : 0);
        struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
        long rc = futex(&word, ways[i].operation, 0, &ts, NULL, FUTEX_BITSET_MATCH_ANY);
        expect("timeout", rc == -ETIMEDOUT);
        expect("not too early", clock_ms(ways[i].clock) - start_ms >= 29);
    }
}

static void wakes(void)
{
    _Atomic uint32_t word = 0;
    for (int i = 0; i < 5; i++) {
        start(i, &word, FUTEX_WAIT_BITSET_PRIVATE, 1u << i | 32);
    }
    expect("wake two", futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0) == 2);
    expect("two were woken", woken_count(5) == 2);
    expect("bit 3", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 100, NULL, NULL, 8) == 1);
    expect("the one of the bit", woken_count(5) == 3);
    expect("the rest", futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) == 2);
    join(5);
}

static void requeues(void)
{
    _Atomic uint32_t one = 0, two = 0;
    for (int i = 0; i < 6; i++) {
        start(i, &one, FUTEX_WAIT_PRIVATE, 0);
    }
    expect("wake one, move three",
           futex(&one, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)3, &two, 0) == 4);
    expect("one was woken", woken_count(6) == 1);
    expect("two were left", futex(&one, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) == 2);
    expect("three were moved", futex(&two, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) == 3);
    join(6);
}

static void wake_ops(void)
{
    _Atomic uint32_t one = 0, two = 0;
    for (int i = 0; i < 4; i++) {
        start(i, i < 2 ? &one : &two, FUTEX_WAIT_PRIVATE, 0);
    }
    uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 0);
    expect("wake both", futex(&one, FUTEX_WAKE_OP_PRIVATE, 1, (void *)100, &two, op) == 3);
    expect("and add", two == 7);
    op = FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_LT, 7);
    expect("wake the first only", futex(&one, FUTEX_WAKE_OP_PRIVATE, 9, (void *)9, &two, op) == 1);
    expect("and or", two == 23);
    op = FUTEX_OP(FUTEX_OP_ANDN, 16, FUTEX_OP_CMP_GE, 0);
    expect("nobody", futex(&one, FUTEX_WAKE_OP_PRIVATE, 9, (void *)9, &two, op) == 0 && two == 7);
    join(4);
}

/* A file that is mapped twice: one futex if shared, two if private. */
static void shared(void)
{
    int fd = open("/tmp/futex.dat", O_RDWR | O_CREAT, 0600);
    expect("file", fd >= 0 && ftruncate(fd, 8192) == 0);
    char *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    expect("mapped", a != MAP_FAILED && b != MAP_FAILED);
    start(0, (_Atomic uint32_t *)(void *)(a + 4096 + 64), FUTEX_WAIT, 0);
    expect("private is by address", futex(b + 64, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0) == 0);
    expect("another word", futex(b + 68, FUTEX_WAKE, 9, NULL, NULL, 0) == 0);
    expect("the same word", futex(b + 64, FUTEX_WAKE, 9, NULL, NULL, 0) == 1);
    join(1);
    unlink("/tmp/futex.dat");
}

/* Many hand-overs by two words, each a wait and a wake: one that is lost hangs here. */
static _Atomic uint32_t turn;

static void *player(void *argument)
{
    uint32_t me = (uint32_t)(uintptr_t)argument;
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t now;
        while ((now = turn) % 3 != me) {
            futex(&turn, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
        }
        turn = now + 1;
        futex(&turn, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0);
    }
    return NULL;
}

static void hand_over(void)
{
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, player, (void *)i);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    expect("turns", turn == 9000);
}

/* ---- words with an owner ---- */

static _Atomic uint32_t owned;
static atomic_int owner_tid, owner_go, order;

static void *own(void *argument)
{
    expect("lock", futex(&owned, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0);
    uint32_t tid = (uint32_t)syscall(SYS_gettid);
    expect("the word names its owner", (owned & FUTEX_TID_MASK) == tid);
    atomic_store(&owner_tid, (int)tid);
    atomic_fetch_add(&order, 1);
    while (!atomic_load(&owner_go)) {
        pause_ms(1);
    }
    if (argument == NULL) { /* else it ends with it */
        expect("unlock", futex(&owned, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0);
    }
    return NULL;
}

static pthread_t start_owner(void *argument)
{
    pthread_t thread;
    atomic_store(&owner_go, 0);
    atomic_store(&owner_tid, 0);
    pthread_create(&thread, NULL, own, argument);
    while (atomic_load(&owner_tid) == 0) {
        pause_ms(1);
    }
    return thread;
}

static void owners(void)
{
    const uint32_t me = (uint32_t)syscall(SYS_gettid);
    struct timespec past = {1, 0};
    expect("free", futex(&owned, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0 && owned == me);
    expect("twice", futex(&owned, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == -EDEADLK);
    expect("try twice", futex(&owned, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == -EDEADLK);
    expect("back", futex(&owned, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0 && owned == 0);
    expect("not mine", futex(&owned, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == -EPERM);
    pthread_t thread = start_owner(NULL);
    expect("another's", futex(&owned, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == -EAGAIN);
    expect("in time", futex(&owned, FUTEX_LOCK_PI_PRIVATE, 0, &past, NULL, 0) == -ETIMEDOUT);
    expect("its word", futex(&owned, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == -EPERM);
    atomic_store(&owner_go, 1);
    expect("handed over", futex(&owned, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0);
    expect("to me", (owned & FUTEX_TID_MASK) == me);
    pthread_join(thread, NULL);
    expect("back again", futex(&owned, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0);
    expect("nobody's", owned == 0);
}

/* The library's mutexes over them: many threads, one that ends while it owns one. */
static pthread_mutex_t inherits, robust;
static int64_t sum;

static void *add(void *argument)
{
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&inherits);
        int64_t now = sum;
        if (i % 64 == 0) {
            sched_yield();
        }
        sum = now + 1;
        pthread_mutex_unlock(&inherits);
    }
    return NULL;
}

static void *release(void *argument)
{
    pause_ms(30);
    atomic_store(&owner_go, 1);
    return NULL;
}

static void *end_with_it(void *argument)
{
    pthread_mutex_lock(&robust);
    atomic_store(&owner_tid, 1);
    while (!atomic_load(&owner_go)) {
        pause_ms(1);
    }
    return NULL;
}

static void inheriting(void)
{
    pthread_t threads[4];
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    expect("setprotocol", pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0);
    expect("init", pthread_mutex_init(&inherits, &attributes) == 0);
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, add, NULL);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    expect("nothing lost", sum == 8000);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    expect("robust", pthread_mutex_init(&robust, &attributes) == 0);
    for (int waits = 0; waits < 2; waits++) { /* its owner ends before, or while one waits */
        atomic_store(&owner_go, !waits);
        atomic_store(&owner_tid, 0);
        pthread_create(&threads[0], NULL, end_with_it, NULL);
        while (atomic_load(&owner_tid) == 0) {
            pause_ms(1);
        }
        if (waits) {
            pthread_create(&threads[1], NULL, release, NULL);
        } else {
            pthread_join(threads[0], NULL);
        }
        expect("its owner died", pthread_mutex_lock(&robust) == EOWNERDEAD);
        expect("consistent", pthread_mutex_consistent(&robust) == 0);
        expect("unlock", pthread_mutex_unlock(&robust) == 0);
        if (waits) {
            pthread_join(threads[0], NULL);
            pthread_join(threads[1], NULL);
        }
    }
    expect("again", pthread_mutex_lock(&robust) == 0 && pthread_mutex_unlock(&robust) == 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    errors();
    timeouts();
    wakes();
    requeues();
    wake_ops();
    shared();
    owners();
    inheriting();
    hand_over();
    return expect_done();
}
