/* SPDX-License-Identifier: Apache-2.0 */
/* timerfd_create(2) and its like: timers that are files. */
#include <errno.h>

#include "computenode/unikernel/kernel/wait.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/timer.h"

#define TFD_ABSTIME       1u
#define TFD_CANCEL_ON_SET 2u /* means nothing here: nobody sets the clock */

struct timerfd {
    struct timer timer;
    int clock;
    uint64_t times; /* that it rang since it was read or set */
    struct wait_queue rang;
};

static void ring(struct timer *timer, uint64_t times)
{
    struct timerfd *t = list_entry(timer, struct timerfd, timer);
    t->times += times;
    wait_wake(&t->rang);
    wait_changed();
}

static int64_t timerfd_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    struct timerfd *t = f->data;
    if (b->left < sizeof(t->times)) {
        return -EINVAL;
    }
    while (t->times == 0) {
        if ((f->flags & LX_O_NONBLOCK) != 0) {
            return -EAGAIN;
        }
        int rc = wait_on(&t->rang, THREAD_NEVER,
                         timer_is_set(&t->timer) ? THREAD_WAIT_OUTSIDE : THREAD_WAIT_THREAD);
        if (rc != 0) {
            return rc;
        }
    }
    const uint64_t times = t->times;
    t->times = 0;
    return iobuf_put(b, &times, sizeof(times)) == 0 ? (int64_t)sizeof(times) : -EFAULT;
}

static unsigned timerfd_poll(struct file *f)
{
    const struct timerfd *t = f->data;
    return t->times != 0 ? LX_POLLIN | LX_POLLRDNORM : 0;
}

static void timerfd_close(struct file *f)
{
    struct timerfd *t = f->data;
    timer_stop(&t->timer);
    kfree(t);
}

static const struct file_ops timerfd_ops = {
    .read = timerfd_read, .poll = timerfd_poll, .close = timerfd_close, .waits_for_input = true};

int64_t sys_timerfd_create(const struct call *c)
{
    const uint32_t flags = (uint32_t)c->arg[1];
    struct file *f;
    int rc = timer_clock_check((int)c->arg[0]);
    if (rc != 0 || (flags & ~(LX_O_NONBLOCK | LX_O_CLOEXEC)) != 0) {
        return -EINVAL;
    }
    struct timerfd *t = kzalloc(sizeof(*t));
    if (t == NULL) {
        return -ENOMEM;
    }
    timer_init(&t->timer, ring);
    t->clock = (int)c->arg[0];
    wait_init(&t->rang);
    rc = file_new_anonymous("[timerfd]", &timerfd_ops, (flags & LX_O_NONBLOCK) | LX_O_RDWR, t, &f);
    if (rc != 0) {
        kfree(t);
        return rc;
    }
    return fd_install(c->p, f, 0, (flags & LX_O_CLOEXEC) != 0);
}

static int get(const struct call *c, struct file **ret_file, struct timerfd **ret)
{
    void *data;
    int rc = fd_get_kind(c->p, (int)c->arg[0], &timerfd_ops, ret_file, &data);
    *ret = rc == 0 ? data : NULL;
    return rc;
}

/* timerfd_settime(fd, flags, new, old or NULL) */
int64_t sys_timerfd_settime(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    struct timer_setting wanted;
    struct timerfd *t;
    const uint32_t flags = (uint32_t)c->arg[1];
    if ((flags & ~(TFD_ABSTIME | TFD_CANCEL_ON_SET)) != 0) {
        return -EINVAL;
    }
    int rc = timer_setting_load(c->arg[2], &wanted);
    if (rc == 0) {
        rc = get(c, &f, &t);
    }
    if (rc != 0) {
        return rc;
    }
    t->times = 0;
    return timer_change(&t->timer, t->clock, (flags & TFD_ABSTIME) != 0, &wanted, c->arg[3]);
}

int64_t sys_timerfd_gettime(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    struct timerfd *t;
    int rc = get(c, &f, &t);
    return rc != 0 ? rc : timer_show(&t->timer, c->arg[1]);
}
