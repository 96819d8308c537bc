/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues of threads that wait for something to change. All under the kernel lock, which a waiter
 * gives up while it waits (thread.h).
 */
#ifndef DILOS_UNIKERNEL_KERNEL_WAIT_H
#define DILOS_UNIKERNEL_KERNEL_WAIT_H

#include <stdint.h>

#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

struct wait_queue {
    struct list waiters;
};

void wait_init(struct wait_queue *q);

/*
 * Waits for wait_wake(), a deadline of clock_ns() (THREAD_NEVER: none), or an interruption. Look
 * again afterwards. Errors: those of thread_wait().
 */
int wait_on(struct wait_queue *q, uint64_t deadline_ns, enum thread_wait kind) MUST_CHECK;

/* Wakes all that wait there now. */
void wait_wake(struct wait_queue *q);

/*
 * Where those wait that look at several things at once (poll(2)): woken by wait_changed(), which
 * whatever becomes ready calls.
 */
int wait_for_change(uint64_t deadline_ns, enum thread_wait kind) MUST_CHECK;
void wait_changed(void);

#endif
