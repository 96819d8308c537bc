/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/worker.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "tests/tap.h"

#define CALLERS    3u
#define CALLS      20000u
#define PAUSE_MS   50
#define WAIT_TURNS 10000u

struct fixture {
    struct worker *worker;
    struct worker_source source;
    int fd;
    bool loud; /* `ready` leaves the event there, so that the thread has no rest */
    pthread_t called_on;
    uint64_t sum; /* under the worker's protection */
    atomic_uint ready_count;
};

static void on_ready(struct worker_source *source, uint32_t events)
{
    struct fixture *fixture = container_of(source, struct fixture, source);
    uint64_t count;
    (void)events;
    fixture->sum++;
    atomic_fetch_add(&fixture->ready_count, 1);
    if (!fixture->loud) {
        (void)!read(fixture->fd, &count, sizeof(count));
    }
}

static void after_batch(void *context)
{
    (void)context;
}

static void ring(struct fixture *fixture)
{
    const uint64_t one = 1;
    CHECK(write(fixture->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

static void add(void *argument)
{
    struct fixture *fixture = argument;
    CHECK(worker_add(fixture->worker, fixture->fd, EPOLLIN, &fixture->source) == 0);
}

static void start(struct fixture *fixture)
{
    const struct worker_callbacks callbacks = {.after_batch = after_batch};
    fixture->source.ready = on_ready;
    fixture->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(fixture->fd >= 0);
    CHECK(worker_open("test", &callbacks, &fixture->worker) == 0);
    worker_call(fixture->worker, add, fixture);
}

static void end(struct fixture *fixture)
{
    fixture->worker = worker_close(fixture->worker);
    (void)close(fixture->fd);
}

static void wait_for_events(struct fixture *fixture, unsigned count)
{
    for (unsigned i = 0; i < WAIT_TURNS && atomic_load(&fixture->ready_count) < count; i++) {
        pause_ms(1);
    }
    EXPECT(atomic_load(&fixture->ready_count) >= count);
}

static void note_thread(void *argument)
{
    struct fixture *fixture = argument;
    fixture->called_on = pthread_self();
}

/* No other thread has to be woken for a call. */
static void test_a_call_runs_on_the_callers_thread(void)
{
    struct fixture fixture = {0};
    start(&fixture);
    worker_call(fixture.worker, note_thread, &fixture);
    EXPECT(pthread_equal(fixture.called_on, pthread_self()) != 0);
    ring(&fixture);
    wait_for_events(&fixture, 1);
    end(&fixture);
    EXPECT_EQ(fixture.ready_count, 1);
}

static void add_one(void *argument)
{
    struct fixture *fixture = argument;
    fixture->sum++;
}

static void *call_often(void *argument)
{
    struct fixture *fixture = argument;
    for (unsigned i = 0; i < CALLS; i++) {
        worker_call(fixture->worker, add_one, fixture);
    }
    return NULL;
}

/* Neither other callers nor the thread, which always has something to do, run meanwhile. */
static void test_calls_exclude_each_other_and_the_thread(void)
{
    struct fixture fixture = {.loud = true};
    pthread_t threads[CALLERS];
    start(&fixture);
    ring(&fixture);
    wait_for_events(&fixture, 1);
    for (unsigned i = 0; i < CALLERS; i++) {
        CHECK(pthread_create(&threads[i], NULL, call_often, &fixture) == 0);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    wait_for_events(&fixture, atomic_load(&fixture.ready_count) + 1);
    end(&fixture);
    EXPECT_EQ(fixture.sum, CALLERS * CALLS + atomic_load(&fixture.ready_count));
}

/* The thread is woken by an event that is none any more when it gets its turn. */
static void take_it_away(void *argument)
{
    struct fixture *fixture = argument;
    uint64_t count;
    ring(fixture);
    pause_ms(PAUSE_MS);
    CHECK(read(fixture->fd, &count, sizeof(count)) == (ssize_t)sizeof(count));
}

static void test_events_from_before_a_call_are_forgotten(void)
{
    struct fixture fixture = {0};
    start(&fixture);
    pause_ms(PAUSE_MS); /* it sleeps by now */
    worker_call(fixture.worker, take_it_away, &fixture);
    pause_ms(PAUSE_MS);
    EXPECT_EQ(fixture.ready_count, 0);
    ring(&fixture);
    wait_for_events(&fixture, 1);
    end(&fixture);
}

int main(void)
{
    TAP_RUN(test_a_call_runs_on_the_callers_thread);
    TAP_RUN(test_calls_exclude_each_other_and_the_thread);
    TAP_RUN(test_events_from_before_a_call_are_forgotten);
    return tap_done();
}
