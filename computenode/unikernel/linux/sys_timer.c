/* SPDX-License-Identifier: Apache-2.0 */
/* The process's alarm clock: alarm(2), setitimer(2). A thread of the kernel's own waits for it. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/signal.h"

#define ITIMER_REAL     0
#define NS_PER_S        UINT64_C(1000000000)
#define NS_PER_US       UINT64_C(1000)
#define SECONDS_MAX     UINT64_C(1000000000)
#define INTERVAL_NS_MIN UINT64_C(100000)

struct itimer {
    struct lx_timeval interval;
    struct lx_timeval value;
};

static struct {
    struct thread *thread; /* NULL: not made yet */
    uint64_t deadline_ns;  /* THREAD_NEVER: not armed */
    uint64_t interval_ns;  /* 0: once */
} alarm_clock = {.deadline_ns = THREAD_NEVER};

static void ring(void)
{
    uint64_t next_ns = alarm_clock.deadline_ns + alarm_clock.interval_ns;
    alarm_clock.deadline_ns =
        alarm_clock.interval_ns == 0 ? THREAD_NEVER : MAX(next_ns, clock_ns());
    signal_raise(process_current(), NULL, LX_SIGALRM, "its alarm clock rang");
}

static void wait_and_ring(void *argument)
{
    kernel_lock();
    for (;;) {
        int rc = thread_wait(alarm_clock.deadline_ns, THREAD_WAIT_OUTSIDE);
        if (rc == -ETIMEDOUT && clock_ns() >= alarm_clock.deadline_ns) {
            ring();
        }
    }
}

static int set(uint64_t value_ns, uint64_t interval_ns)
{
    if (alarm_clock.thread == NULL) {
        int rc = thread_create(wait_and_ring, NULL, NULL, &alarm_clock.thread);
        if (rc != 0) {
            return rc;
        }
        thread_start(alarm_clock.thread);
    }
    alarm_clock.deadline_ns = value_ns == 0 ? THREAD_NEVER : clock_ns() + value_ns;
    alarm_clock.interval_ns = interval_ns == 0 ? 0 : MAX(interval_ns, INTERVAL_NS_MIN);
    thread_wake(alarm_clock.thread);
    return 0;
}

/* Until it rings; at least a microsecond if it is armed. */
static uint64_t left_ns(void)
{
    uint64_t now_ns = clock_ns();
    if (alarm_clock.deadline_ns == THREAD_NEVER) {
        return 0;
    }
    return alarm_clock.deadline_ns > now_ns + NS_PER_US ? alarm_clock.deadline_ns - now_ns
                                                        : NS_PER_US;
}

static struct lx_timeval timeval_of(uint64_t ns)
{
    return (struct lx_timeval){(int64_t)(ns / NS_PER_S), (int64_t)(ns % NS_PER_S / NS_PER_US)};
}

static int ns_of(struct lx_timeval tv, uint64_t *ret)
{
    if (tv.tv_sec < 0 || tv.tv_usec < 0 || tv.tv_usec >= 1000000) {
        return -EINVAL;
    }
    *ret = MIN((uint64_t)tv.tv_sec, SECONDS_MAX) * NS_PER_S + (uint64_t)tv.tv_usec * NS_PER_US;
    return 0;
}

/* Whole seconds that were left, rounded, but not to 0. */
int64_t sys_alarm(const struct call *c)
{
    uint64_t left = left_ns();
    uint64_t seconds = (left + NS_PER_S / 2) / NS_PER_S;
    int rc = set((uint64_t)(uint32_t)c->arg[0] * NS_PER_S, 0);
    return rc != 0 ? rc : (int64_t)(left == 0 ? 0 : MAX(seconds, UINT64_C(1)));
}

int64_t sys_getitimer(const struct call *c)
{
    struct itimer now = {timeval_of(alarm_clock.interval_ns), timeval_of(left_ns())};
    if ((int)c->arg[0] != ITIMER_REAL) {
        return -EINVAL;
    }
    return copy_to_user(c->arg[1], &now, sizeof(now));
}

/* The timers of used processor time are not there: -EINVAL. */
int64_t sys_setitimer(const struct call *c)
{
    struct itimer wanted = {0};
    struct itimer before = {timeval_of(alarm_clock.interval_ns), timeval_of(left_ns())};
    uint64_t value_ns, interval_ns;
    if ((int)c->arg[0] != ITIMER_REAL) {
        return -EINVAL;
    }
    if (c->arg[1] != 0 && copy_from_user(&wanted, c->arg[1], sizeof(wanted)) != 0) {
        return -EFAULT;
    }
    int rc = ns_of(wanted.value, &value_ns);
    if (rc == 0) {
        rc = ns_of(wanted.interval, &interval_ns);
    }
    if (rc == 0) {
        rc = set(value_ns, interval_ns);
    }
    if (rc == 0 && c->arg[2] != 0) {
        rc = copy_to_user(c->arg[2], &before, sizeof(before));
    }
    return rc;
}
