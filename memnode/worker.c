/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/poll_budget.h"
#include "lib/sys/sys.h"

#define BATCH_MAX   64
#define SPIN_NS_MIN 1000ull
#define SPIN_NS_MAX 50000ull
/* So short a wait says that looking longer would have paid: some 40 us of it may be the waking. */
#define PAUSE_NS_MAX 100000ull
#define TRIES_MAX    500u /* to get the mutex, before a caller sleeps for it: some 10 us */
#define LOOKS_MAX    4u   /* at the source that was ready last, between two looks at all of them */

struct worker {
    const char *name;
    struct worker_callbacks callbacks;
    pthread_t thread;
    int epoll_fd;
    int wake_fd; /* for the end */
    struct poll_budget spin;
    atomic_bool stop;
    /*
     * What the thread owns is whoever's who holds this: the thread's but while it sleeps and while
     * somebody is in worker_call. So a call needs no other thread to be woken, and no processor for
     * it: that took longer than what is called, and milliseconds where processors are short.
     */
    pthread_mutex_t mutex;
    atomic_uint callers; /* want the mutex, or have it */
    /* Below: under the mutex. */
    uint32_t call_count;
    struct worker_source *hot; /* was ready last and can be asked; or NULL */
    uint32_t hot_looks;
};

static void lock(struct worker *worker)
{
    CHECK(pthread_mutex_lock(&worker->mutex) == 0);
}

static void unlock(struct worker *worker)
{
    CHECK(pthread_mutex_unlock(&worker->mutex) == 0);
}

/* The thread is busy, and somebody wants to call. */
static void let_callers(struct worker *worker)
{
    while (atomic_load_explicit(&worker->callers, memory_order_relaxed) != 0) {
        unlock(worker);
        (void)sched_yield();
        lock(worker);
    }
}

/* False: nothing had come there, or it is everybody's turn. */
static bool look_at_hot(struct worker *worker)
{
    if (worker->hot == NULL || worker->hot_looks == LOOKS_MAX) {
        worker->hot_looks = 0;
        return false;
    }
    worker->hot_looks++;
    return worker->hot->look(worker->hot);
}

/* Others may call meanwhile. Returns how many events there are that no call has outdated. */
static int sleep_for_events(struct worker *worker, struct epoll_event *events)
{
    uint32_t call_count = worker->call_count;
    unlock(worker);
    int count = epoll_wait(worker->epoll_fd, events, BATCH_MAX, (int)WORKER_TICK_MS);
    lock(worker);
    /* A source may be gone, or the worker closed. What still is, epoll says again. */
    return call_count == worker->call_count ? count : 0;
}

/*
 * The next request often comes within microseconds, and being woken takes longer than that. So it
 * looks for a moment before it sleeps: longer when that may have met the event, shorter when it
 * was in vain, so that on a busy machine it hardly costs anything.
 */
static int wait_for_events(struct worker *worker, struct epoll_event *events)
{
    uint64_t begin_ns = sys_monotonic_ns();
    uint64_t now_ns = begin_ns;
    int count = 0;
    bool served = false;
    while (count == 0 && !served && now_ns - begin_ns < worker->spin.ns) {
        let_callers(worker);
        served = look_at_hot(worker);
        if (!served && worker->hot_looks == 0) {
            count = epoll_wait(worker->epoll_fd, events, BATCH_MAX, 0);
        }
        now_ns = sys_monotonic_ns();
    }
    if (count == 0 && !served) {
        count = sleep_for_events(worker, events);
        now_ns = sys_monotonic_ns();
    }
    poll_budget_waited(&worker->spin, now_ns - begin_ns);
    return count;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    (void)pthread_setname_np(pthread_self(), worker->name);
    lock(worker);
    while (!atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
        struct epoll_event events[BATCH_MAX];
        let_callers(worker);
        int count = wait_for_events(worker, events);
        for (int i = 0; i < count; i++) {
            struct worker_source *source = events[i].data.ptr;
            if (source != NULL) {
                worker->hot = source->look != NULL ? source : worker->hot;
                source->ready(source, events[i].events);
            }
        }
        worker->callbacks.after_batch(worker->callbacks.context);
    }
    unlock(worker);
    return NULL;
}

/* Signals belong to the main thread. */
static int start(struct worker *worker)
{
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    int error = -pthread_create(&worker->thread, NULL, run, worker);
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    return error;
}

static void release(struct worker *worker)
{
    if (worker->epoll_fd >= 0) {
        (void)close(worker->epoll_fd);
    }
    if (worker->wake_fd >= 0) {
        (void)close(worker->wake_fd);
    }
    CHECK(pthread_mutex_destroy(&worker->mutex) == 0);
    free(worker);
}

int worker_open(const char *name, const struct worker_callbacks *callbacks, struct worker **ret)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return -ENOMEM;
    }
    worker->name = name;
    worker->callbacks = *callbacks;
    poll_budget_init(&worker->spin, SPIN_NS_MIN, SPIN_NS_MAX, PAUSE_NS_MAX);
    CHECK(pthread_mutex_init(&worker->mutex, NULL) == 0);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = worker->epoll_fd < 0 || worker->wake_fd < 0 ? -EMFILE : 0;
    if (error == 0) {
        error = worker_add(worker, worker->wake_fd, EPOLLIN, NULL);
    }
    if (error == 0) {
        error = start(worker);
    }
    if (error != 0) {
        release(worker);
        return error;
    }
    *ret = worker;
    return 0;
}

struct worker *worker_close(struct worker *worker)
{
    const uint64_t one = 1;
    if (worker == NULL) {
        return NULL;
    }
    atomic_store(&worker->stop, true);
    CHECK(write(worker->wake_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    CHECK(pthread_join(worker->thread, NULL) == 0);
    release(worker);
    return NULL;
}

void worker_call(struct worker *worker, void (*function)(void *argument), void *argument)
{
    atomic_fetch_add_explicit(&worker->callers, 1, memory_order_relaxed);
    /* A busy thread gives way within a microsecond or two: no reason to sleep. */
    for (unsigned i = 0; pthread_mutex_trylock(&worker->mutex) != 0; i++) {
        if (i == TRIES_MAX) {
            lock(worker);
            break;
        }
    }
    worker->call_count++;
    function(argument);
    atomic_fetch_sub_explicit(&worker->callers, 1, memory_order_relaxed);
    unlock(worker);
}

int worker_add(struct worker *worker, int fd, uint32_t events, struct worker_source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int worker_modify(struct worker *worker, int fd, uint32_t events, struct worker_source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : -errno;
}

void worker_remove(struct worker *worker, int fd)
{
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void worker_cool(struct worker *worker, const struct worker_source *source)
{
    if (worker->hot == source) {
        worker->hot = NULL;
    }
}
