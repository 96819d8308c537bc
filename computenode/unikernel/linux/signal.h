/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals: signal(7). One waits for a thread, or for whichever thread of the process does not block
 * it; a thread takes those that are ready for it on its way to ring 3 (linux_attention()), where
 * the program's handler is called, or the default action carried out. All under the kernel lock.
 */
#ifndef DILOS_UNIKERNEL_LINUX_SIGNAL_H
#define DILOS_UNIKERNEL_LINUX_SIGNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/abi.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

struct process;
struct task;

static inline uint64_t signal_bit(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

/* Those that can't be blocked or handled. */
#define SIGNAL_ALWAYS (UINT64_C(1) << (LX_SIGKILL - 1) | UINT64_C(1) << (LX_SIGSTOP - 1))

/* Signals that wait. Of each up to 31 at most one, and one of each timer; of the others all,
 * in order. */
struct signal_set {
    uint64_t mask;
    struct list queue;
};

void signal_set_init(struct signal_set *s);
void signal_set_clear(struct signal_set *s);

/*
 * Sends a signal (1 to LX_SIGNAL_COUNT): to one thread, or with `to` NULL to the process. Acts at
 * once if that ends the program; `reason` is what the operator reads then. Errors: -EAGAIN too many
 * wait.
 */
int signal_send(struct process *p, struct task *to, const struct lx_siginfo *info,
                const char *reason);

/* The same from the kernel's side, with nothing but its number. */
void signal_raise(struct process *p, struct task *to, int signal, const char *reason);

/*
 * Something that the running thread did in ring 3: its handler runs next. If it blocks the signal
 * or has no handler, the program ends.
 */
void signal_force(struct task *t, const struct lx_siginfo *info, const char *reason);

/* After the thread's mask changed. */
void signal_mask_set(struct task *t, uint64_t mask);
/* The same for the time of a system call that waits: ends with it, or after the handler. */
void signal_mask_borrow(struct task *t, uint64_t mask);
void signal_mask_return(struct task *t);

/* Takes one of `wanted` that waits for the thread or the process. */
bool signal_take(struct task *t, uint64_t wanted, struct lx_siginfo *ret);
/*
 * The same for the running thread, which waits for one until a deadline of clock_ns(); 0: it does
 * not wait. Errors: -EAGAIN none came, -EINTR.
 */
int signal_wait(struct task *t, uint64_t wanted, uint64_t deadline_ns,
                struct lx_siginfo *ret) MUST_CHECK;

/* That of a timer (timer.h), if it is among those that wait; NULL: it isn't. */
struct lx_siginfo *signal_of_timer(struct signal_set *s, int32_t timer_id);

/* ---- signal_frame.c ---- */

/*
 * Makes the thread call the handler next, and go on afterwards as `regs` say, with the mask
 * `old_mask`. Errors: -EFAULT the frame can't be written.
 */
int signal_frame_push(struct task *t, struct user_regs *regs, const struct lx_sigaction *action,
                      const struct lx_siginfo *info, uint64_t old_mask) MUST_CHECK;

/* rt_sigreturn(2): what the frame below the stack pointer says. Errors: -EFAULT. */
int signal_frame_pop(struct task *t, struct user_regs *regs) MUST_CHECK;

/* Bytes that a frame takes at most: AT_MINSIGSTKSZ. */
uint64_t signal_frame_bytes(void);

/* Is the thread on its alternate stack? */
bool signal_on_altstack(const struct task *t, uint64_t sp);

#endif
