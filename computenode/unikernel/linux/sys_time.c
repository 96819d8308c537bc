/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks and sleeping. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/task.h"
#include "computenode/unikernel/linux/vdso.h"

#define NS_PER_S         1000000000ull
#define CPU_CLOCK_THREAD 4 /* a clock of one thread: clock_getcpuclockid(3) */

/* Nanoseconds of a clock. Errors: -EINVAL. */
static int cpu_clock_read(const struct call *c, int clock, uint64_t *ret)
{
    uint32_t tid = ~(uint32_t)(clock >> 3);
    const struct task *t = tid == 0 ? c->t : task_find(c->p, tid);
    if ((clock & CPU_CLOCK_THREAD) == 0) {
        *ret = call_process_run_ns();
        return tid == 0 || tid == c->p->pid ? 0 : -EINVAL;
    }
    if (t == NULL) {
        return -EINVAL;
    }
    *ret = thread_run_ns(t->thread);
    return 0;
}

static int clock_read(const struct call *c, int clock, uint64_t *ret)
{
    if (clock < 0) {
        return cpu_clock_read(c, clock, ret);
    }
    switch (clock) {
    case LX_CLOCK_REALTIME:
    case LX_CLOCK_REALTIME_COARSE:
    case LX_CLOCK_TAI:
        *ret = program_realtime_ns();
        return 0;
    case LX_CLOCK_MONOTONIC:
    case LX_CLOCK_MONOTONIC_RAW:
    case LX_CLOCK_MONOTONIC_COARSE:
    case LX_CLOCK_BOOTTIME:
        *ret = program_monotonic_ns();
        return 0;
    case LX_CLOCK_PROCESS_CPUTIME_ID:
        *ret = call_process_run_ns();
        return 0;
    case LX_CLOCK_THREAD_CPUTIME_ID:
        *ret = thread_run_ns(c->t->thread);
        return 0;
    default:
        return -EINVAL;
    }
}

static int64_t put_timespec(uint64_t user, uint64_t ns)
{
    struct lx_timespec ts = {(int64_t)(ns / NS_PER_S), (int64_t)(ns % NS_PER_S)};
    return copy_to_user(user, &ts, sizeof(ts));
}

int64_t sys_clock_gettime(const struct call *c)
{
    uint64_t ns;
    int rc = clock_read(c, (int)c->arg[0], &ns);
    return rc != 0 ? rc : put_timespec(c->arg[1], ns);
}

int64_t sys_clock_getres(const struct call *c)
{
    uint64_t ns;
    int rc = clock_read(c, (int)c->arg[0], &ns);
    return rc != 0 || c->arg[1] == 0 ? rc : put_timespec(c->arg[1], 1);
}

int64_t sys_gettimeofday(const struct call *c)
{
    uint64_t ns = program_realtime_ns();
    struct lx_timeval tv = {(int64_t)(ns / NS_PER_S), (int64_t)(ns % NS_PER_S / 1000)};
    static const int32_t zone[2] = {0, 0};
    int rc = c->arg[0] == 0 ? 0 : copy_to_user(c->arg[0], &tv, sizeof(tv));
    if (rc == 0 && c->arg[1] != 0) {
        rc = copy_to_user(c->arg[1], zone, sizeof(zone));
    }
    return rc;
}

int64_t sys_time(const struct call *c)
{
    int64_t now = (int64_t)(program_realtime_ns() / NS_PER_S);
    int rc = c->arg[0] == 0 ? 0 : copy_to_user(c->arg[0], &now, sizeof(now));
    return rc != 0 ? rc : now;
}

/* Sleeps until the deadline of clock_ns(); what is left goes to user_left if not 0. */
static int64_t sleep_until(uint64_t deadline_ns, uint64_t user_left)
{
    int rc = 0;
    while (rc == 0 && clock_ns() < deadline_ns) {
        rc = thread_wait(deadline_ns, THREAD_WAIT_OUTSIDE);
    }
    uint64_t now = clock_ns();
    if (rc == -EINTR && user_left != 0 &&
        put_timespec(user_left, deadline_ns > now ? deadline_ns - now : 0) != 0) {
        return -EFAULT;
    }
    return rc == -ETIMEDOUT ? 0 : rc;
}

int64_t sys_nanosleep(const struct call *c)
{
    uint64_t ns;
    int rc = call_timespec(c->arg[0], &ns);
    return rc != 0 ? rc : sleep_until(clock_ns() + ns, c->arg[1]);
}

int64_t sys_clock_nanosleep(const struct call *c)
{
    uint64_t ns, now;
    int rc = call_timespec(c->arg[2], &ns);
    if (rc == 0) {
        rc = clock_read(c, (int)c->arg[0], &now);
    }
    if (rc != 0) {
        return rc;
    }
    if ((c->arg[1] & LX_TIMER_ABSTIME) != 0) {
        return sleep_until(clock_ns() + (ns > now ? ns - now : 0), 0);
    }
    return sleep_until(clock_ns() + ns, c->arg[3]);
}
