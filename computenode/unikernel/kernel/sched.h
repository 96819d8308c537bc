/* SPDX-License-Identifier: Apache-2.0 */
/* Between thread.c and lock.c: the queues, under one spin lock. */
#ifndef DILOS_UNIKERNEL_KERNEL_SCHED_H
#define DILOS_UNIKERNEL_KERNEL_SCHED_H

#include "computenode/unikernel/kernel/spin.h"
#include "computenode/unikernel/kernel/thread.h"

/*
 * Held over every change of a thread's state, and over the switch itself: the thread that runs
 * next gives it back.
 */
extern struct spin sched_spin;

/* Under the spin lock: stops the running thread (which stays on this processor) until
 * sched_ready(). */
void sched_block(void);
/* Under the spin lock: a blocked thread is ready. */
void sched_ready(struct thread *t);

/* lock.c: the running thread's hold on the kernel lock, taken away and given back as it was. */
uint32_t kernel_lock_drop(void);
void kernel_lock_retake(uint32_t depth);
/* lock.c, from the switch: does its holder run? */
void kernel_lock_switched(const struct thread *from, const struct thread *to);

#endif
