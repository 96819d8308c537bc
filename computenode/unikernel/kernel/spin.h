/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock for a few instructions, between processors: who waits spins (and answers others, see
 * cpu_relax()). The kernel is not preempted and runs with interrupts off, so nobody who holds one
 * stops running; nobody waits for anything else while holding one.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_SPIN_H
#define DILOS_UNIKERNEL_KERNEL_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>

#include "computenode/unikernel/kernel/port.h"

struct spin {
    atomic_bool held;
};

static inline void spin_lock(struct spin *s)
{
    while (atomic_exchange_explicit(&s->held, true, memory_order_acquire)) {
        while (atomic_load_explicit(&s->held, memory_order_relaxed)) {
            cpu_relax();
        }
    }
}

static inline void spin_unlock(struct spin *s)
{
    atomic_store_explicit(&s->held, false, memory_order_release);
}

#endif
