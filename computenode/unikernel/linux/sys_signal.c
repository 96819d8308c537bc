/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals: actions and masks are kept as the program sets them; default actions are carried out.
 * Handlers are not called yet: a signal that has one ends the program as its default action would,
 * and the reason says so.
 */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/task.h"

#define REASON_BYTES 256

static uint64_t bit_of(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

static bool ignored_by_default(int signal)
{
    return signal == LX_SIGCHLD || signal == LX_SIGCONT || signal == LX_SIGURG ||
           signal == LX_SIGWINCH;
}

static bool stops(int signal)
{
    return signal == LX_SIGSTOP || signal == LX_SIGTSTP || signal == LX_SIGTTIN ||
           signal == LX_SIGTTOU;
}

static void act(struct process *p, int signal, const char *reason)
{
    char text[REASON_BYTES];
    uint64_t handler = p->actions[signal].handler;
    if (handler == LX_SIG_IGN || stops(signal) ||
        (handler == LX_SIG_DFL && ignored_by_default(signal))) {
        return;
    }
    (void)ksnprintf(text, sizeof(text), "%s: %s%s", signal_name(signal), reason,
                    handler != LX_SIG_DFL
                        ? " (the program has a handler, but handlers are not called yet)"
                        : "");
    process_kill(signal, text);
}

void signal_raise(struct process *p, struct task *t, int signal, const char *reason)
{
    if ((t->blocked & bit_of(signal)) != 0 && signal != LX_SIGKILL && signal != LX_SIGSTOP) {
        if (p->actions[signal].handler != LX_SIG_IGN) {
            t->pending |= bit_of(signal);
        }
        return;
    }
    act(p, signal, reason);
}

/* After the mask changed: acts on what is pending and no longer blocked. */
static void deliver_pending(struct process *p, struct task *t)
{
    uint64_t ready = t->pending & ~t->blocked;
    t->pending &= t->blocked;
    for (int signal = 1; ready != 0 && signal <= LX_SIGNAL_COUNT; signal++) {
        if ((ready & bit_of(signal)) != 0) {
            act(p, signal, "was pending");
        }
    }
}

void linux_signal(int signal)
{
    struct process *p = process_current();
    struct list *first = list_first(&p->tasks);
    if (signal > 0 && signal <= LX_SIGNAL_COUNT && first != NULL) {
        signal_raise(p, list_entry(first, struct task, link), signal, "sent from outside");
    }
}

void linux_attention(struct user_regs *regs)
{
    thread_current()->attention = false;
}

struct exception {
    int signal;
    const char *what;
};

/* Intel SDM vol. 3, 6.3.1, and what Linux makes of each. */
static const struct exception exceptions[] = {
    [0] = {LX_SIGFPE, "division error"},   [1] = {LX_SIGTRAP, "debug trap"},
    [3] = {LX_SIGTRAP, "breakpoint"},      [4] = {LX_SIGSEGV, "overflow trap"},
    [5] = {LX_SIGSEGV, "bound range"},     [6] = {LX_SIGILL, "invalid instruction"},
    [10] = {LX_SIGSEGV, "invalid TSS"},    [11] = {LX_SIGBUS, "segment not present"},
    [12] = {LX_SIGBUS, "stack segment"},   [13] = {LX_SIGSEGV, "general protection"},
    [14] = {LX_SIGSEGV, "page fault"},     [16] = {LX_SIGFPE, "floating point error"},
    [17] = {LX_SIGBUS, "alignment check"}, [19] = {LX_SIGFPE, "SIMD floating point error"},
};

static void page_fault(const struct user_regs *regs, uint64_t address, int failure)
{
    char text[REASON_BYTES];
    if (failure == -EFAULT || failure == -ERANGE) {
        int signal = failure == -EFAULT ? LX_SIGSEGV : LX_SIGBUS;
        (void)ksnprintf(text, sizeof(text), "%s at 0x%lx (ip 0x%lx)%s", signal_name(signal),
                        (unsigned long)address, (unsigned long)regs->rip,
                        process_current()->actions[signal].handler > LX_SIG_IGN
                            ? " (the program has a handler, but handlers are not called yet)"
                            : "");
        process_kill(signal, text);
    }
    (void)ksnprintf(text, sizeof(text), "page 0x%lx (ip 0x%lx)",
                    (unsigned long)ALIGN_DOWN(address, PAGE_BYTES), (unsigned long)regs->rip);
    process_stop_memory(failure, text);
}

void linux_exception(struct user_regs *regs, unsigned vector, uint64_t error_code, uint64_t address,
                     int failure)
{
    char text[REASON_BYTES];
    struct exception e = {LX_SIGSEGV, "exception"};
    if (vector == 14) {
        page_fault(regs, address, failure);
        return;
    }
    if (vector < ARRAY_LEN(exceptions) && exceptions[vector].signal != 0) {
        e = exceptions[vector];
    }
    (void)ksnprintf(text, sizeof(text), "%s: %s (ip 0x%lx)", signal_name(e.signal), e.what,
                    (unsigned long)regs->rip);
    process_kill(e.signal, text);
}

int64_t sys_rt_sigaction(const struct call *c)
{
    int signal = (int)c->arg[0];
    struct lx_sigaction action;
    if (signal < 1 || signal > LX_SIGNAL_COUNT || c->arg[3] != sizeof(uint64_t)) {
        return -EINVAL;
    }
    if (c->arg[1] != 0) {
        if (signal == LX_SIGKILL || signal == LX_SIGSTOP) {
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
        c->p->actions[signal] = action;
    }
    return 0;
}

int64_t sys_rt_sigprocmask(const struct call *c)
{
    uint64_t old = c->t->blocked, set;
    if (c->arg[3] != sizeof(uint64_t)) {
        return -EINVAL;
    }
    if (c->arg[1] != 0) {
        if (copy_from_user(&set, c->arg[1], sizeof(set)) != 0) {
            return -EFAULT;
        }
        set &= ~(bit_of(LX_SIGKILL) | bit_of(LX_SIGSTOP));
        switch ((int)c->arg[0]) {
        case LX_SIG_BLOCK:
            c->t->blocked = old | set;
            break;
        case LX_SIG_UNBLOCK:
            c->t->blocked = old & ~set;
            break;
        case LX_SIG_SETMASK:
            c->t->blocked = set;
            break;
        default:
            return -EINVAL;
        }
    }
    if (c->arg[2] != 0 && copy_to_user(c->arg[2], &old, sizeof(old)) != 0) {
        return -EFAULT;
    }
    deliver_pending(c->p, c->t);
    return 0;
}

int64_t sys_rt_sigpending(const struct call *c)
{
    return copy_to_user(c->arg[0], &c->t->pending, sizeof(c->t->pending));
}

int64_t sys_sigaltstack(const struct call *c)
{
    struct lx_sigaltstack stack, old = c->t->altstack;
    if (c->arg[0] != 0) {
        if (copy_from_user(&stack, c->arg[0], sizeof(stack)) != 0) {
            return -EFAULT;
        }
        if ((stack.flags & ~LX_SS_DISABLE) != 0) {
            return -EINVAL;
        }
        if ((stack.flags & LX_SS_DISABLE) == 0 && stack.bytes < LX_SIGSTACK_BYTES) {
            return -ENOMEM;
        }
        c->t->altstack = stack;
    }
    return c->arg[1] == 0 ? 0 : copy_to_user(c->arg[1], &old, sizeof(old));
}

/* To one thread. */
static int64_t send(const struct call *c, int signal, struct task *to)
{
    if (signal < 0 || signal > LX_SIGNAL_COUNT) {
        return -EINVAL;
    }
    if (to == NULL) {
        return -ESRCH;
    }
    if (signal != 0) {
        signal_raise(c->p, to, signal, "sent by the program itself");
    }
    return 0;
}

int64_t sys_kill(const struct call *c)
{
    int pid = (int)c->arg[0];
    bool mine = pid == (int)c->p->pid || pid == 0 || pid == -1 || pid == -(int)c->p->session;
    return send(c, (int)c->arg[1], mine ? c->t : NULL);
}

int64_t sys_tkill(const struct call *c)
{
    return send(c, (int)c->arg[1], task_find(c->p, (uint32_t)c->arg[0]));
}

int64_t sys_tgkill(const struct call *c)
{
    bool mine = (uint32_t)c->arg[0] == c->p->pid;
    return send(c, (int)c->arg[2], mine ? task_find(c->p, (uint32_t)c->arg[1]) : NULL);
}

/* Only a signal from outside ends it. */
int64_t sys_pause(const struct call *c)
{
    int rc = 0;
    while (rc == 0) {
        rc = thread_wait(THREAD_NEVER, THREAD_WAIT_OUTSIDE);
    }
    return rc;
}
