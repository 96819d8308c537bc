/* SPDX-License-Identifier: Apache-2.0 */
/* System calls about signals. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/signal.h"
#include "computenode/unikernel/linux/task.h"

#define MASK_BYTES    8u
#define LIBRARY_FIRST 32
#define LIBRARY_LAST  34

/*
 * Does it never come from outside? Faults come from the thread itself; the C libraries keep a few
 * for themselves, with handlers in every program that has threads.
 */
static bool is_internal(int signal)
{
    return (signal >= LIBRARY_FIRST && signal <= LIBRARY_LAST) || signal == LX_SIGSEGV ||
           signal == LX_SIGBUS || signal == LX_SIGFPE || signal == LX_SIGILL ||
           signal == LX_SIGTRAP;
}

int64_t sys_rt_sigaction(const struct call *c)
{
    int signal = (int)c->arg[0];
    struct lx_sigaction action;
    if (signal < 1 || signal > LX_SIGNAL_COUNT || c->arg[3] != MASK_BYTES) {
        return -EINVAL;
    }
    if (c->arg[1] != 0) {
        if ((signal_bit(signal) & SIGNAL_ALWAYS) != 0) {
            return -EINVAL;
        }
        if (copy_from_user(&action, c->arg[1], sizeof(action)) != 0) {
            return -EFAULT;
        }
    }
    if (c->arg[2] != 0 && copy_to_user(c->arg[2], &c->p->actions[signal], sizeof(action)) != 0) {
        return -EFAULT;
    }
    if (c->arg[1] != 0) {
        action.mask &= ~SIGNAL_ALWAYS;
        c->p->actions[signal] = action;
        if (action.handler > LX_SIG_IGN && !is_internal(signal)) {
            thread_signals_may_come();
        }
    }
    return 0;
}

int64_t sys_rt_sigprocmask(const struct call *c)
{
    uint64_t old = c->t->blocked, set, next = old;
    if (c->arg[3] != MASK_BYTES) {
        return -EINVAL;
    }
    if (c->arg[1] != 0) {
        if (copy_from_user(&set, c->arg[1], sizeof(set)) != 0) {
            return -EFAULT;
        }
        switch ((int)c->arg[0]) {
        case LX_SIG_BLOCK:
            next = old | set;
            break;
        case LX_SIG_UNBLOCK:
            next = old & ~set;
            break;
        case LX_SIG_SETMASK:
            next = set;
            break;
        default:
            return -EINVAL;
        }
    }
    if (c->arg[2] != 0 && copy_to_user(c->arg[2], &old, sizeof(old)) != 0) {
        return -EFAULT;
    }
    if (c->arg[1] != 0) {
        signal_mask_set(c->t, next);
    }
    return 0;
}

int64_t sys_rt_sigpending(const struct call *c)
{
    uint64_t pending = (c->t->pending.mask | c->p->pending.mask) & c->t->blocked;
    if (c->arg[1] > MASK_BYTES) {
        return -EINVAL;
    }
    return copy_to_user(c->arg[0], &pending, c->arg[1]);
}

int64_t sys_sigaltstack(const struct call *c)
{
    struct lx_sigaltstack stack, old = c->t->altstack;
    bool on_it = signal_on_altstack(c->t, c->regs->rsp);
    old.flags |= on_it ? LX_SS_ONSTACK : 0;
    if (c->arg[0] != 0) {
        if (copy_from_user(&stack, c->arg[0], sizeof(stack)) != 0) {
            return -EFAULT;
        }
        if (on_it) {
            return -EPERM;
        }
        if ((stack.flags & ~(LX_SS_DISABLE | LX_SS_ONSTACK)) != 0) {
            return -EINVAL;
        }
        if ((stack.flags & LX_SS_DISABLE) == 0 && stack.bytes < LX_SIGSTACK_BYTES) {
            return -ENOMEM;
        }
        stack.flags &= LX_SS_DISABLE;
        c->t->altstack = stack;
    }
    return c->arg[1] == 0 ? 0 : copy_to_user(c->arg[1], &old, sizeof(old));
}

int64_t sys_rt_sigreturn(const struct call *c)
{
    if (signal_frame_pop(c->t, c->regs) != 0) {
        process_kill(LX_SIGSEGV, "SIGSEGV: the frame of a signal handler can't be read back");
    }
    return (int64_t)c->regs->rax;
}

/* ---- sending ---- */

static int64_t send(const struct call *c, int signal, bool found, struct task *to, int code)
{
    struct lx_siginfo info = {.signal = signal, .code = code};
    if (signal < 0 || signal > LX_SIGNAL_COUNT) {
        return -EINVAL;
    }
    if (!found) {
        return -ESRCH;
    }
    info.sent.pid = c->p->pid;
    info.sent.uid = c->p->uid;
    return signal == 0 ? 0 : signal_send(c->p, to, &info, "sent by the program itself");
}

int64_t sys_kill(const struct call *c)
{
    int pid = (int)c->arg[0];
    bool mine = pid == (int)c->p->pid || pid == 0 || pid == -1 || pid == -(int)c->p->session;
    return send(c, (int)c->arg[1], mine, NULL, LX_SI_USER);
}

int64_t sys_tkill(const struct call *c)
{
    struct task *to = task_find(c->p, (uint32_t)c->arg[0]);
    return send(c, (int)c->arg[1], to != NULL, to, LX_SI_TKILL);
}

int64_t sys_tgkill(const struct call *c)
{
    bool mine = (uint32_t)c->arg[0] == c->p->pid;
    struct task *to = mine ? task_find(c->p, (uint32_t)c->arg[1]) : NULL;
    return send(c, (int)c->arg[2], to != NULL, to, LX_SI_TKILL);
}

static int64_t send_info(const struct call *c, int signal, bool found, struct task *to,
                         uint64_t user_info)
{
    struct lx_siginfo info;
    if (copy_from_user(&info, user_info, sizeof(info)) != 0) {
        return -EFAULT;
    }
    if (signal < 0 || signal > LX_SIGNAL_COUNT) {
        return -EINVAL;
    }
    if (!found) {
        return -ESRCH;
    }
    info.signal = signal;
    return signal == 0 ? 0 : signal_send(c->p, to, &info, "sent by the program itself");
}

int64_t sys_rt_sigqueueinfo(const struct call *c)
{
    bool mine = (uint32_t)c->arg[0] == c->p->pid;
    return send_info(c, (int)c->arg[1], mine, NULL, c->arg[2]);
}

int64_t sys_rt_tgsigqueueinfo(const struct call *c)
{
    bool mine = (uint32_t)c->arg[0] == c->p->pid;
    struct task *to = mine ? task_find(c->p, (uint32_t)c->arg[1]) : NULL;
    return send_info(c, (int)c->arg[2], to != NULL, to, c->arg[3]);
}

/* ---- waiting ---- */

int64_t sys_pause(const struct call *c)
{
    int rc = 0;
    while (rc == 0) {
        rc = thread_wait(THREAD_NEVER, THREAD_WAIT_OUTSIDE);
    }
    return rc;
}

int call_mask(const struct call *c, uint64_t user_mask, uint64_t bytes)
{
    uint64_t mask;
    if (user_mask == 0) {
        return 0;
    }
    if (bytes != MASK_BYTES) {
        return -EINVAL;
    }
    if (copy_from_user(&mask, user_mask, sizeof(mask)) != 0) {
        return -EFAULT;
    }
    signal_mask_borrow(c->t, mask);
    return 0;
}

int64_t sys_rt_sigsuspend(const struct call *c)
{
    if (c->arg[0] == 0) {
        return -EFAULT;
    }
    int rc = call_mask(c, c->arg[0], c->arg[1]);
    return rc != 0 ? rc : sys_pause(c);
}

/* rt_sigtimedwait(set, info, timeout, set bytes) */
int64_t sys_rt_sigtimedwait(const struct call *c)
{
    uint64_t wanted, ns, deadline_ns = THREAD_NEVER;
    struct lx_siginfo info = {0};
    if (c->arg[3] != MASK_BYTES) {
        return -EINVAL;
    }
    if (copy_from_user(&wanted, c->arg[0], sizeof(wanted)) != 0) {
        return -EFAULT;
    }
    if (c->arg[2] != 0) {
        int rc = call_timespec(c->arg[2], &ns);
        if (rc != 0) {
            return rc;
        }
        deadline_ns = clock_ns() + ns;
    }
    int rc = signal_wait(c->t, wanted & ~SIGNAL_ALWAYS, deadline_ns, &info);
    if (rc == 0 && c->arg[1] != 0 && copy_to_user(c->arg[1], &info, sizeof(info)) != 0) {
        return -EFAULT;
    }
    return rc != 0 ? rc : info.signal;
}
