/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/signal.h"

#include <errno.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/wait.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/task.h"
#include "computenode/unikernel/linux/timer.h"
#include "lib/base/check.h"

#define REASON_BYTES  256
#define REAL_TIME_MIN 32 /* as the kernel counts; the C library keeps two for itself */
#define WAITING_MAX   1024u
#define SYSCALL_BYTES 2u /* of the instruction */

struct waiting {
    struct list link;
    struct lx_siginfo info;
};

static uint32_t waiting_count;

void signal_set_init(struct signal_set *s)
{
    s->mask = 0;
    list_init(&s->queue);
}

static void drop(struct waiting *w)
{
    list_remove(&w->link);
    waiting_count--;
    kfree(w);
}

void signal_set_clear(struct signal_set *s)
{
    list_for_each_safe (node, &s->queue) {
        drop(list_entry(node, struct waiting, link));
    }
    s->mask = 0;
}

static int put(struct signal_set *s, const struct lx_siginfo *info)
{
    uint64_t bit = signal_bit(info->signal);
    if (info->signal < REAL_TIME_MIN && (s->mask & bit) != 0 && info->code != LX_SI_TIMER) {
        return 0;
    }
    struct waiting *w = waiting_count < WAITING_MAX ? kmalloc(sizeof(*w)) : NULL;
    if (w == NULL) {
        return -EAGAIN;
    }
    waiting_count++;
    w->info = *info;
    list_append(&s->queue, &w->link);
    s->mask |= bit;
    return 0;
}

/* The first of the lowest signal of `wanted`. */
static bool take(struct signal_set *s, uint64_t wanted, struct lx_siginfo *ret)
{
    uint64_t ready = s->mask & wanted;
    if (ready == 0) {
        return false;
    }
    int signal = __builtin_ctzll(ready) + 1;
    struct waiting *found = NULL;
    bool more = false;
    list_for_each (node, &s->queue) {
        struct waiting *w = list_entry(node, struct waiting, link);
        if (w->info.signal == signal) {
            more = found != NULL;
            found = found != NULL ? found : w;
        }
        if (more) {
            break;
        }
    }
    CHECK(found != NULL);
    *ret = found->info;
    drop(found);
    if (!more) {
        s->mask &= ~signal_bit(signal);
    }
    return true;
}

bool signal_take(struct task *t, uint64_t wanted, struct lx_siginfo *ret)
{
    bool taken = take(&t->pending, wanted, ret) || take(&t->process->pending, wanted, ret);
    if (taken && ret->code == LX_SI_TIMER) {
        timer_signal_taken(ret->timer.id, ret->timer.overrun);
    }
    return taken;
}

int signal_wait(struct task *t, uint64_t wanted, uint64_t deadline_ns, struct lx_siginfo *ret)
{
    int rc = deadline_ns == 0 ? -ETIMEDOUT : 0;
    bool taken = false;
    t->sigwait = wanted;
    while (!(taken = signal_take(t, wanted, ret)) && rc == 0) {
        rc = thread_wait(deadline_ns, THREAD_WAIT_OUTSIDE);
    }
    t->sigwait = 0;
    return taken ? 0 : rc == -ETIMEDOUT ? -EAGAIN : rc;
}

struct lx_siginfo *signal_of_timer(struct signal_set *s, int32_t timer_id)
{
    list_for_each (node, &s->queue) {
        struct waiting *w = list_entry(node, struct waiting, link);
        if (w->info.code == LX_SI_TIMER && w->info.timer.id == timer_id) {
            return &w->info;
        }
    }
    return NULL;
}

/* ---- what becomes of one ---- */

enum fate {
    FATE_IGNORE,
    FATE_END,    /* of the program */
    FATE_HANDLE, /* the program has a handler */
};

static bool harmless_by_default(int signal)
{
    switch (signal) {
    case LX_SIGCHLD:
    case LX_SIGCONT:
    case LX_SIGURG:
    case LX_SIGWINCH:
    case LX_SIGSTOP: /* nobody could make it go on */
    case LX_SIGTSTP:
    case LX_SIGTTIN:
    case LX_SIGTTOU:
        return true;
    default:
        return false;
    }
}

static enum fate fate_of(const struct process *p, int signal)
{
    uint64_t handler = p->actions[signal].handler;
    if (handler == LX_SIG_IGN || (handler == LX_SIG_DFL && harmless_by_default(signal))) {
        return FATE_IGNORE;
    }
    return handler == LX_SIG_DFL ? FATE_END : FATE_HANDLE;
}

NORETURN static void end(int signal, const char *reason)
{
    char text[REASON_BYTES];
    (void)ksnprintf(text, sizeof(text), "%s: %s", signal_name(signal), reason);
    process_kill(signal, text);
}

/* ---- masks ---- */

/* Does the thread have to look, and end what it waits for? */
static void update(struct task *t)
{
    bool ready = ((t->pending.mask | t->process->pending.mask) & ~t->blocked) != 0;
    t->thread->attention = ready || t->restart || t->mask_borrowed;
    thread_interrupt(t->thread, ready);
}

void signal_mask_set(struct task *t, uint64_t mask)
{
    t->blocked = mask & ~SIGNAL_ALWAYS;
    update(t);
}

void signal_mask_borrow(struct task *t, uint64_t mask)
{
    t->mask_before = t->blocked;
    t->mask_borrowed = true;
    signal_mask_set(t, mask);
}

void signal_mask_return(struct task *t)
{
    if (t->mask_borrowed) {
        t->mask_borrowed = false;
        signal_mask_set(t, t->mask_before);
    }
}

/* ---- sending ---- */

/* The thread that is to take it: the first that does not block it; NULL: all block it. */
static struct task *taker(struct process *p, int signal)
{
    list_for_each (node, &p->tasks) {
        struct task *t = list_entry(node, struct task, link);
        if ((t->blocked & signal_bit(signal)) == 0) {
            return t;
        }
    }
    return NULL;
}

static void wake_sigwait(struct process *p, struct task *to, int signal)
{
    list_for_each (node, &p->tasks) {
        struct task *t = list_entry(node, struct task, link);
        if ((to == NULL || to == t) && (t->sigwait & signal_bit(signal)) != 0) {
            thread_wake(t->thread);
        }
    }
}

int signal_send(struct process *p, struct task *to, const struct lx_siginfo *info,
                const char *reason)
{
    int signal = info->signal;
    bool always = (signal_bit(signal) & SIGNAL_ALWAYS) != 0;
    struct task *t = to != NULL ? to : taker(p, signal);
    bool blocked = !always && (t == NULL || (t->blocked & signal_bit(signal)) != 0);
    if (!blocked) {
        switch (fate_of(p, signal)) {
        case FATE_IGNORE:
            return 0;
        case FATE_END:
            end(signal, reason);
        case FATE_HANDLE:
            break;
        }
    }
    int rc = put(to != NULL ? &to->pending : &p->pending, info);
    if (rc == 0 && blocked) {
        wake_sigwait(p, to, signal);
        wait_changed(); /* signalfd(2) */
    } else if (rc == 0) {
        update(t);
        thread_kick(t->thread);
    }
    return rc;
}

void signal_raise(struct process *p, struct task *to, int signal, const char *reason)
{
    const struct lx_siginfo info = {.signal = signal, .code = LX_SI_KERNEL};
    (void)signal_send(p, to, &info, reason);
}

void signal_force(struct task *t, const struct lx_siginfo *info, const char *reason)
{
    int signal = info->signal;
    if (fate_of(t->process, signal) != FATE_HANDLE || (t->blocked & signal_bit(signal)) != 0 ||
        put(&t->pending, info) != 0) {
        process_kill(signal, reason);
    }
    update(t);
}

void linux_signal(int signal)
{
    struct process *p = process_current();
    if (signal > 0 && signal <= LX_SIGNAL_COUNT && !list_empty(&p->tasks)) {
        signal_raise(p, NULL, signal, "sent from outside");
    }
}

/* ---- taking ---- */

/* Goes back to before the system call, which is then made again. */
static void repeat_call(struct user_regs *regs)
{
    regs->rax = regs->orig_rax;
    regs->rip -= SYSCALL_BYTES;
    regs->orig_rax = UINT64_MAX;
}

static void handle(struct task *t, struct user_regs *regs, const struct lx_siginfo *info)
{
    struct lx_sigaction *action = &t->process->actions[info->signal];
    struct lx_sigaction taken = *action;
    if (t->restart) {
        t->restart = false;
        if (t->restartable && (taken.flags & LX_SA_RESTART) != 0) {
            repeat_call(regs);
        }
    }
    uint64_t mask = t->mask_borrowed ? t->mask_before : t->blocked;
    t->mask_borrowed = false;
    if (taken.handler >= MM_USER_END || (taken.flags & LX_SA_RESTORER) == 0 ||
        signal_frame_push(t, regs, &taken, info, mask) != 0) {
        end(LX_SIGSEGV, "a signal handler can't be called: its stack is used up, or it lies in no "
                        "memory of the program");
    }
    if ((taken.flags & LX_SA_RESETHAND) != 0) {
        action->handler = LX_SIG_DFL;
    }
    uint64_t more = (taken.flags & LX_SA_NODEFER) != 0 ? 0 : signal_bit(info->signal);
    signal_mask_set(t, t->blocked | taken.mask | more);
}

void linux_attention(struct user_regs *regs)
{
    struct task *t = task_current();
    struct lx_siginfo info;
    while (signal_take(t, ~t->blocked, &info)) {
        enum fate fate = fate_of(t->process, info.signal);
        if (fate == FATE_END) {
            end(info.signal, "was pending");
        } else if (fate == FATE_HANDLE) {
            handle(t, regs, &info);
        }
    }
    if (t->restart) { /* interrupted by nothing that the program sees */
        t->restart = false;
        repeat_call(regs);
    }
    signal_mask_return(t);
    update(t);
}
