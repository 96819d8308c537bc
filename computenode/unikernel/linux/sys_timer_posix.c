/* SPDX-License-Identifier: Apache-2.0 */
/* timer_create(2) and its like. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/signal.h"
#include "computenode/unikernel/linux/task.h"
#include "computenode/unikernel/linux/timer.h"

#define POSIX_TIMER_COUNT_MAX 1024u

struct posix_timer {
    struct list link;
    struct timer timer;
    int32_t id;
    int clock;
    int32_t notify; /* LX_SIGEV_* */
    int32_t signal;
    uint32_t tid; /* with LX_SIGEV_THREAD_ID */
    uint64_t value;
    int32_t overrun; /* of the signal that was taken last */
};

static struct list posix_timers = {&posix_timers, &posix_timers};
static uint32_t posix_timer_count;
static int32_t next_id;

static struct posix_timer *find(int32_t id)
{
    list_for_each (node, &posix_timers) {
        struct posix_timer *t = list_entry(node, struct posix_timer, link);
        if (t->id == id) {
            return t;
        }
    }
    return NULL;
}

/* One signal waits at a time; how often more it rang meanwhile, the signal says. */
static void ring(struct timer *timer, uint64_t times)
{
    struct posix_timer *t = list_entry(timer, struct posix_timer, timer);
    struct process *p = process_current();
    struct task *to = NULL;
    if (t->notify == LX_SIGEV_NONE) {
        return;
    }
    if ((t->notify & LX_SIGEV_THREAD_ID) != 0) {
        to = task_find(p, t->tid);
        if (to == NULL) {
            return; /* it ended */
        }
    }
    struct lx_siginfo *waiting = signal_of_timer(to != NULL ? &to->pending : &p->pending, t->id);
    if (waiting != NULL) {
        uint64_t overrun = (uint64_t)waiting->timer.overrun + times;
        waiting->timer.overrun = (int32_t)MIN(overrun, (uint64_t)LX_DELAYTIMER_MAX);
        return;
    }
    struct lx_siginfo info = {.signal = t->signal, .code = LX_SI_TIMER};
    info.timer.id = t->id;
    info.timer.overrun = (int32_t)MIN(times - 1, (uint64_t)LX_DELAYTIMER_MAX);
    info.timer.value = t->value;
    (void)signal_send(p, to, &info, "a timer of its own rang");
}

void timer_signal_taken(int32_t id, int32_t overrun)
{
    struct posix_timer *t = find(id);
    if (t != NULL) {
        t->overrun = overrun;
    }
}

static int event_check(const struct call *c, const struct lx_sigevent *e)
{
    switch (e->notify) {
    case LX_SIGEV_NONE:
        return 0;
    case LX_SIGEV_SIGNAL:
    case LX_SIGEV_THREAD:
        break;
    case LX_SIGEV_THREAD_ID:
        if (task_find(c->p, (uint32_t)e->tid) == NULL) {
            return -EINVAL;
        }
        break;
    default:
        return -EINVAL;
    }
    return e->signal >= 1 && e->signal <= LX_SIGNAL_COUNT ? 0 : -EINVAL;
}

/* timer_create(clock, event or NULL, id) */
int64_t sys_timer_create(const struct call *c)
{
    struct lx_sigevent e = {.signal = LX_SIGALRM, .notify = LX_SIGEV_SIGNAL};
    int rc = timer_clock_check((int)c->arg[0]);
    if (rc == 0 && c->arg[1] != 0) {
        rc = copy_from_user(&e, c->arg[1], sizeof(e)) != 0 ? -EFAULT : event_check(c, &e);
    }
    if (rc != 0) {
        return rc;
    }
    struct posix_timer *t = posix_timer_count < POSIX_TIMER_COUNT_MAX ? kzalloc(sizeof(*t)) : NULL;
    if (t == NULL) {
        return -EAGAIN;
    }
    const int32_t id = next_id;
    next_id = next_id == INT32_MAX ? 0 : next_id + 1;
    timer_init(&t->timer, ring);
    t->id = id;
    t->clock = (int)c->arg[0];
    t->notify = e.notify;
    t->signal = e.signal;
    t->tid = (uint32_t)e.tid;
    t->value = c->arg[1] != 0 ? e.value : (uint64_t)id;
    if (copy_to_user(c->arg[2], &id, sizeof(id)) != 0) {
        kfree(t);
        return -EFAULT;
    }
    list_append(&posix_timers, &t->link);
    posix_timer_count++;
    return 0;
}

/* timer_settime(id, flags, new, old or NULL) */
int64_t sys_timer_settime(const struct call *c)
{
    struct timer_setting wanted;
    int rc = timer_setting_load(c->arg[2], &wanted);
    if (rc != 0) {
        return rc;
    }
    if (wanted.value_ns == 0) {
        wanted.interval_ns = 0; /* of a timer that is stopped nothing is kept */
    }
    struct posix_timer *t = find((int32_t)c->arg[0]);
    if (t == NULL) {
        return -EINVAL;
    }
    return timer_change(&t->timer, t->clock, (c->arg[1] & LX_TIMER_ABSTIME) != 0, &wanted,
                        c->arg[3]);
}

int64_t sys_timer_gettime(const struct call *c)
{
    const struct posix_timer *t = find((int32_t)c->arg[0]);
    return t != NULL ? timer_show(&t->timer, c->arg[1]) : -EINVAL;
}

int64_t sys_timer_getoverrun(const struct call *c)
{
    const struct posix_timer *t = find((int32_t)c->arg[0]);
    return t != NULL ? t->overrun : -EINVAL;
}

int64_t sys_timer_delete(const struct call *c)
{
    struct posix_timer *t = find((int32_t)c->arg[0]);
    if (t == NULL) {
        return -EINVAL;
    }
    timer_stop(&t->timer);
    list_remove(&t->link);
    posix_timer_count--;
    kfree(t);
    return 0;
}
