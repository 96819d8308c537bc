/* SPDX-License-Identifier: Apache-2.0 */
/* signalfd(2): signals that are read, by whichever thread reads. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/signal.h"
#include "computenode/unikernel/linux/task.h"

#define MASK_BYTES 8u

struct signalfd {
    uint64_t mask;
};

/* struct signalfd_siginfo */
struct entry {
    uint32_t signal;
    int32_t error;
    int32_t code;
    uint32_t pid;
    uint32_t uid;
    int32_t fd;
    uint32_t timer_id;
    uint32_t band;
    uint32_t overrun;
    uint32_t trap;
    int32_t status;
    int32_t value_int;
    uint64_t value;
    uint8_t unused[72];
};
_Static_assert(sizeof(struct entry) == 128, "as the program reads it");

static struct entry entry_of(const struct lx_siginfo *info)
{
    struct entry e = {.signal = (uint32_t)info->signal, .error = info->error, .code = info->code};
    if (info->code == LX_SI_TIMER) {
        e.timer_id = (uint32_t)info->timer.id;
        e.overrun = (uint32_t)info->timer.overrun;
        e.value = info->timer.value;
    } else {
        e.pid = info->sent.pid;
        e.uid = info->sent.uid;
        e.value = info->sent.value;
    }
    e.value_int = (int32_t)e.value;
    return e;
}

/* As many as are there and fit; waits for the first. */
static int64_t signalfd_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    const struct signalfd *s = f->data;
    const bool wait = (f->flags & LX_O_NONBLOCK) == 0;
    struct lx_siginfo info;
    int64_t done = 0;
    if (b->left < sizeof(struct entry)) {
        return -EINVAL;
    }
    int rc = signal_wait(task_current(), s->mask, wait ? THREAD_NEVER : 0, &info);
    while (rc == 0) {
        const struct entry e = entry_of(&info);
        if (iobuf_put(b, &e, sizeof(e)) != 0) {
            return done > 0 ? done : -EFAULT;
        }
        done += (int64_t)sizeof(e);
        rc = b->left >= sizeof(e) && signal_take(task_current(), s->mask, &info) ? 0 : -EAGAIN;
    }
    return done > 0 ? done : rc;
}

static unsigned signalfd_poll(struct file *f)
{
    const struct signalfd *s = f->data;
    const struct task *t = task_current();
    return ((t->pending.mask | t->process->pending.mask) & s->mask) != 0 ? LX_POLLIN | LX_POLLRDNORM
                                                                         : 0;
}

static void signalfd_close(struct file *f)
{
    kfree(f->data);
}

static const struct file_ops signalfd_ops = {
    .read = signalfd_read, .poll = signalfd_poll, .close = signalfd_close, .waits_for_input = true};

static int64_t create(const struct call *c, uint64_t mask, uint32_t flags)
{
    struct file *f;
    struct signalfd *s = kmalloc(sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->mask = mask;
    int rc =
        file_new_anonymous("[signalfd]", &signalfd_ops, (flags & LX_O_NONBLOCK) | LX_O_RDWR, s, &f);
    if (rc != 0) {
        kfree(s);
        return rc;
    }
    return fd_install(c->p, f, 0, (flags & LX_O_CLOEXEC) != 0);
}

static int64_t change(const struct call *c, uint64_t mask)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    void *data;
    int rc = fd_get_kind(c->p, (int)c->arg[0], &signalfd_ops, &f, &data);
    if (rc != 0) {
        return rc;
    }
    ((struct signalfd *)data)->mask = mask;
    return (int)c->arg[0];
}

static int64_t signalfd(const struct call *c, uint32_t flags)
{
    uint64_t mask;
    if ((flags & ~(LX_O_NONBLOCK | LX_O_CLOEXEC)) != 0 || c->arg[2] != MASK_BYTES) {
        return -EINVAL;
    }
    if (copy_from_user(&mask, c->arg[1], sizeof(mask)) != 0) {
        return -EFAULT;
    }
    mask &= ~SIGNAL_ALWAYS;
    return (int)c->arg[0] == -1 ? create(c, mask, flags) : change(c, mask);
}

/* signalfd(fd or -1, mask, its bytes) */
int64_t sys_signalfd(const struct call *c)
{
    return signalfd(c, 0);
}

int64_t sys_signalfd4(const struct call *c)
{
    return signalfd(c, (uint32_t)c->arg[3]);
}
