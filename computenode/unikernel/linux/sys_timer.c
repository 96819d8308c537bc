/* SPDX-License-Identifier: Apache-2.0 */
/* The process's alarm clock: alarm(2), setitimer(2). */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/signal.h"
#include "computenode/unikernel/linux/timer.h"

#define ITIMER_REAL 0
#define NS_PER_S    UINT64_C(1000000000)
#define NS_PER_US   UINT64_C(1000)
#define SECONDS_MAX UINT64_C(1000000000)

struct itimer {
    struct lx_timeval interval;
    struct lx_timeval value;
};

static void ring(struct timer *t, uint64_t times)
{
    signal_raise(process_current(), NULL, LX_SIGALRM, "its alarm clock rang");
}

static struct timer alarm_clock = {.link = {&alarm_clock.link, &alarm_clock.link}, .ring = ring};

static int set(uint64_t value_ns, uint64_t interval_ns)
{
    if (value_ns == 0) {
        timer_stop(&alarm_clock);
        return 0;
    }
    return timer_set(&alarm_clock, (int64_t)(clock_ns() + value_ns), interval_ns);
}

/* Until it rings; at least a microsecond if it is set. */
static uint64_t left_ns(void)
{
    uint64_t left = timer_left_ns(&alarm_clock);
    return left == 0 ? 0 : MAX(left, NS_PER_US);
}

static uint64_t interval_now_ns(void)
{
    return timer_is_set(&alarm_clock) ? alarm_clock.interval_ns : 0;
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
    struct itimer now = {timeval_of(interval_now_ns()), timeval_of(left_ns())};
    if ((int)c->arg[0] != ITIMER_REAL) {
        return -EINVAL;
    }
    return copy_to_user(c->arg[1], &now, sizeof(now));
}

/* The timers of used processor time are not there: -EINVAL. */
int64_t sys_setitimer(const struct call *c)
{
    struct itimer wanted = {0};
    struct itimer before = {timeval_of(interval_now_ns()), timeval_of(left_ns())};
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
