/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/timer.h"

#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/vdso.h"
#include "lib/base/check.h"

#define NS_PER_S     1000000000
#define VALUE_NS_MAX ((uint64_t)INT64_MAX / 2)
/* Between two rounds: short intervals leave time for the program. */
#define REST_NS INT64_C(100000)

static struct list timers = {&timers, &timers}; /* that are set, by deadline */
static struct thread *waiter;                   /* NULL: not made yet */

void timer_init(struct timer *t, void (*ring)(struct timer *t, uint64_t times))
{
    *t = (struct timer){.ring = ring};
    list_init(&t->link);
}

static void insert(struct timer *t)
{
    struct list *at = timers.prev;
    while (at != &timers && list_entry(at, struct timer, link)->deadline_ns > t->deadline_ns) {
        at = at->prev;
    }
    list_insert_before(at->next, &t->link);
}

static void ring(struct timer *t, int64_t now_ns)
{
    uint64_t times = 1;
    list_remove(&t->link);
    if (t->interval_ns != 0) {
        times += (uint64_t)(now_ns - t->deadline_ns) / t->interval_ns;
        t->deadline_ns += (int64_t)(times * t->interval_ns);
        insert(t);
    }
    t->ring(t, times);
}

static struct timer *first(void)
{
    struct list *node = list_first(&timers);
    return node != NULL ? list_entry(node, struct timer, link) : NULL;
}

static void wait_and_ring(void *argument)
{
    kernel_lock();
    for (;;) {
        struct timer *t;
        int64_t now_ns = (int64_t)clock_ns();
        while ((t = first()) != NULL && t->deadline_ns <= now_ns) {
            ring(t, now_ns);
        }
        uint64_t until_ns =
            t == NULL ? THREAD_NEVER : (uint64_t)MAX(t->deadline_ns, now_ns + REST_NS);
        int rc = thread_wait(until_ns, THREAD_WAIT_OUTSIDE);
        CHECK(rc == 0 || rc == -ETIMEDOUT);
    }
}

int timer_set(struct timer *t, int64_t deadline_ns, uint64_t interval_ns)
{
    if (waiter == NULL) {
        int rc = thread_create(wait_and_ring, NULL, NULL, &waiter);
        if (rc != 0) {
            return rc;
        }
        thread_start(waiter);
    }
    list_remove(&t->link);
    t->deadline_ns = deadline_ns;
    t->interval_ns = interval_ns;
    insert(t);
    thread_wake(waiter);
    return 0;
}

void timer_stop(struct timer *t)
{
    list_remove(&t->link);
}

uint64_t timer_left_ns(const struct timer *t)
{
    int64_t now_ns = (int64_t)clock_ns();
    return !timer_is_set(t) ? 0 : t->deadline_ns > now_ns ? (uint64_t)(t->deadline_ns - now_ns) : 1;
}

/* ---- by a clock of the program ---- */

int timer_clock_check(int clock)
{
    switch (clock) {
    case LX_CLOCK_REALTIME:
    case LX_CLOCK_MONOTONIC:
    case LX_CLOCK_BOOTTIME:
    case LX_CLOCK_TAI:
        return 0;
    case LX_CLOCK_PROCESS_CPUTIME_ID:
    case LX_CLOCK_THREAD_CPUTIME_ID:
        return -EOPNOTSUPP;
    default:
        return clock < 0 ? -EOPNOTSUPP : -EINVAL; /* below 0: used time of some thread */
    }
}

static int64_t clock_now_ns(int clock)
{
    bool since_1970 = clock == LX_CLOCK_REALTIME || clock == LX_CLOCK_TAI;
    return (int64_t)(since_1970 ? program_realtime_ns() : program_monotonic_ns());
}

static struct lx_timespec timespec_of(uint64_t ns)
{
    return (struct lx_timespec){(int64_t)(ns / NS_PER_S), (int64_t)(ns % NS_PER_S)};
}

int timer_setting_load(uint64_t user, struct timer_setting *ret)
{
    struct timer_setting s;
    int rc = call_timespec(user, &s.interval_ns);
    if (rc == 0) {
        rc = call_timespec(user + sizeof(struct lx_timespec), &s.value_ns);
    }
    if (rc == 0) {
        *ret = s;
    }
    return rc;
}

static struct lx_itimerspec spec_of(const struct timer *t)
{
    return (struct lx_itimerspec){timespec_of(t->interval_ns), timespec_of(timer_left_ns(t))};
}

int timer_show(const struct timer *t, uint64_t user)
{
    const struct lx_itimerspec spec = spec_of(t);
    return copy_to_user(user, &spec, sizeof(spec));
}

static int apply(struct timer *t, int clock, bool absolute, const struct timer_setting *s)
{
    if (s->value_ns == 0) {
        timer_stop(t);
        t->interval_ns = s->interval_ns;
        return 0;
    }
    int64_t value_ns = (int64_t)MIN(s->value_ns, VALUE_NS_MAX);
    int64_t from_now_ns = value_ns - (absolute ? clock_now_ns(clock) : 0);
    return timer_set(t, (int64_t)clock_ns() + from_now_ns, s->interval_ns);
}

int timer_change(struct timer *t, int clock, bool absolute, const struct timer_setting *wanted,
                 uint64_t user)
{
    const struct lx_itimerspec before = spec_of(t);
    int rc = apply(t, clock, absolute, wanted);
    return rc != 0 || user == 0 ? rc : copy_to_user(user, &before, sizeof(before));
}
