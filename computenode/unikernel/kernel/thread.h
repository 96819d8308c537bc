/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of the kernel: each with a stack of its own, on which it is entered from ring 3, and its
 * own registers. What a thread of the program is beyond that, linux/ knows.
 *
 * Each processor has a queue of threads that are ready. A thread that runs inside the kernel is
 * never interrupted; it stops where it waits: in thread_wait(), kernel_lock() and thread_yield().
 * In ring 3 it is stopped by the timer when others are ready.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_THREAD_H
#define DILOS_UNIKERNEL_KERNEL_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/pager_thread.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

#define THREAD_COUNT_MAX 4096u
#define THREAD_NEVER     UINT64_MAX /* a deadline that never comes */

enum thread_state {
    THREAD_NEW,     /* made, not started yet */
    THREAD_READY,   /* in the queue of a processor (an idle thread: in none) */
    THREAD_RUNNING, /* on a processor, or inside its switch to the next */
    THREAD_BLOCKED, /* until it is woken */
    THREAD_DEAD,    /* never runs again; its memory is to be freed */
};

/* What a thread waits for, if it has no deadline. */
enum thread_wait {
    THREAD_WAIT_THREAD,  /* another thread: if all wait so, the program is stuck for ever */
    THREAD_WAIT_OUTSIDE, /* something that may come from outside */
};

struct thread {
    uint64_t rsp; /* switch.S; of a thread that does not run */
    uint64_t stack_top;
    void *fpu; /* fpu.h */
    uint64_t fs_base, gs_base;
    enum thread_state state;
    uint32_t cpu;        /* whose queue it is in, or where it ran last */
    uint32_t slot;       /* of its memory */
    uint16_t affinity;   /* bit i: it may run on processor i */
    bool may_move;       /* while ready: another processor may take it */
    bool waits;          /* it is blocked in thread_wait() */
    bool woken;          /* by thread_wake(), since it last began to wait */
    bool interrupted;    /* waits end with -EINTR */
    bool attention;      /* linux_attention() before it returns to ring 3 */
    bool idle;           /* that of a processor: runs when no other is ready */
    bool stuck;          /* counted: it waits for another thread, without a deadline */
    uint32_t lock_depth; /* of the kernel lock */
    uint32_t lock_tries; /* how often it was woken for the kernel lock and came too late */
    int uaccess_failure; /* see uaccess_failure() */
    uint64_t deadline_ns;
    uint64_t run_ns; /* time on processors before run_start_ns */
    uint64_t run_start_ns;
    bool ran_short;   /* the last time, less than SLICE_YIELD_NS in a row */
    struct list link; /* in a queue of ready threads, of waiters for the lock, or of the dead */
    struct list sleep_link; /* with the others of its processor that have a deadline */
    void (*start)(void *argument);
    void *argument;
    void *owner; /* of linux/; NULL: a thread of the kernel's own */
    struct pager_thread pager;
};

struct thread *thread_current(void);

/* The boot context becomes the idle thread of processor 0, and holds the kernel lock. Once. */
struct thread *thread_boot(void);

/*
 * Makes a thread; nothing runs yet. It starts in `start` with the kernel lock not held, and ends
 * when that returns. `owner` not NULL: a thread of the program. Under the kernel lock.
 * Errors: -EAGAIN no room for its memory, or too many threads.
 */
int thread_create(void (*start)(void *argument), void *argument, void *owner,
                  struct thread **ret) MUST_CHECK;
void thread_start(struct thread *t);
/* The idle thread of another processor, which runs already as far as others know. */
int thread_create_idle(uint32_t cpu, struct thread **ret) MUST_CHECK;
/* One that was not started is not wanted after all. */
void thread_discard(struct thread *t);

/* The running thread of the kernel's own becomes one of the program. */
void thread_adopt(void *owner);

/* Ends the running thread, which does not hold the kernel lock. */
NORETURN void thread_exit(void);

/* What the boot context of a processor does once threads run. Without the kernel lock. */
NORETURN void thread_idle(void);

/*
 * Waits until thread_wake(), a deadline of clock_ns(), or an interruption. The caller holds the
 * kernel lock, and has made itself known to whoever may wake it; the lock is given up meanwhile
 * and held again afterwards: the world has changed. May return 0 for no reason: look again.
 * Errors: -ETIMEDOUT, -EINTR, -EDEADLK nobody could ever wake it.
 */
int thread_wait(uint64_t deadline_ns, enum thread_wait kind) MUST_CHECK;

/* Makes it ready, if it waits; if it does not wait yet, its next wait ends at once. Any context. */
void thread_wake(struct thread *t);
/* The same, before all others of its processor. */
void thread_wake_urgent(struct thread *t);

/* Waits end with -EINTR from now on, until it is taken back. */
void thread_interrupt(struct thread *t, bool on);

/* If it runs in ring 3 on another processor, it comes into the kernel. */
void thread_kick(struct thread *t);

/* From now on waits of threads for each other may be ended by signals from outside. */
void thread_signals_may_come(void);

/* The running thread lets the others that are ready run before it goes on in ring 3. */
void thread_reschedule(void);

/* Moves at its next switch. mask: not empty among the processors that run. */
void thread_affinity_set(struct thread *t, uint16_t mask);

/* Nanoseconds that it has run. */
uint64_t thread_run_ns(const struct thread *t);

/* Threads of the program, and whether all but the running one wait for each other, for ever. */
uint32_t thread_program_count(void);
bool thread_others_stuck(void);

/* ---- from arch/ ---- */
/* The timer of this processor went off. It will again at the latest at `again_ns`, but if idle. */
void thread_timer(uint64_t again_ns);
/* On the way to ring 3: lets others run if it is their turn, and stops if the machine does. */
void thread_before_user(void);
/* Another processor interrupted this one: something may be ready here. */
void thread_poked(void);

/*
 * Stops all other processors where they are about to run the program or idle, at most for
 * `wait_ns`: true if all have stopped. For the end of the machine.
 */
bool thread_stop_others(uint64_t wait_ns);

/* Where an idle thread waits: stops if the machine does. */
void thread_stop_if_asked(void);

/* Stops this processor for good; the others do not wait for it. */
NORETURN void thread_stop_here(void);

#endif
