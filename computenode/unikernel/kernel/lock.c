/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel lock (docs/decisions/0030). Who finds it taken spins for a short time while its
 * holder runs on another processor, then sleeps. A waiter that was woken and came too late twice
 * is handed the lock, so that nobody starves.
 */
#include <stdatomic.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/kernel/sched.h"
#include "lib/base/check.h"

#define SPIN_NS    UINT64_C(20000)
#define LOST_RACES 1u

static struct {
    _Atomic(struct thread *) owner;
    atomic_bool owner_runs;
    _Atomic uint32_t waiter_count;
    struct list waiters;
    bool ready;
} lock;

static bool try_take(struct thread *t)
{
    struct thread *nobody = NULL;
    if (!atomic_compare_exchange_strong(&lock.owner, &nobody, t)) {
        return false;
    }
    atomic_store_explicit(&lock.owner_runs, true, memory_order_relaxed);
    return true;
}

static bool spin_for(struct thread *t)
{
    uint64_t start_ns = clock_ns();
    while (atomic_load_explicit(&lock.owner_runs, memory_order_relaxed) &&
           clock_ns() - start_ns < SPIN_NS) {
        if (atomic_load_explicit(&lock.owner, memory_order_relaxed) == NULL && try_take(t)) {
            return true;
        }
        cpu_relax();
    }
    return false;
}

static void sleep_for(struct thread *t)
{
    spin_lock(&sched_spin);
    if (!lock.ready) {
        list_init(&lock.waiters);
        lock.ready = true;
    }
    atomic_fetch_add(&lock.waiter_count, 1);
    t->lock_tries = 0;
    while (!try_take(t) && atomic_load(&lock.owner) != t) {
        list_append(&lock.waiters, &t->link);
        sched_block();
        t->lock_tries++;
    }
    atomic_fetch_sub(&lock.waiter_count, 1);
    atomic_store_explicit(&lock.owner_runs, true, memory_order_relaxed);
    spin_unlock(&sched_spin);
}

/* An idle thread is not in any queue: it lets others run until the lock is free. */
static void insist(struct thread *t)
{
    while (!try_take(t)) {
        if (!thread_yield()) {
            thread_stop_if_asked();
            cpu_relax();
        }
    }
}

static void take(struct thread *t, uint32_t depth)
{
    if (!try_take(t) && !(cpu_count() > 1 && spin_for(t))) {
        if (t->idle) {
            insist(t);
        } else {
            sleep_for(t);
        }
    }
    t->lock_depth = depth;
}

void kernel_lock(void)
{
    struct thread *t = thread_current();
    if (t->lock_depth != 0) {
        t->lock_depth++;
    } else {
        take(t, 1);
    }
}

static void wake_waiter(void)
{
    spin_lock(&sched_spin);
    struct list *first = lock.ready ? list_first(&lock.waiters) : NULL;
    if (first != NULL) {
        struct thread *t = list_entry(first, struct thread, link);
        struct thread *nobody = NULL;
        bool hand_over = t->lock_tries > LOST_RACES;
        if (!hand_over || atomic_compare_exchange_strong(&lock.owner, &nobody, t)) {
            if (hand_over) {
                atomic_store_explicit(&lock.owner_runs, false, memory_order_relaxed);
            }
            list_remove(first);
            sched_ready(t);
        }
    }
    spin_unlock(&sched_spin);
}

static void give(struct thread *t)
{
    t->lock_depth = 0;
    atomic_store(&lock.owner, NULL);
    if (atomic_load(&lock.waiter_count) != 0) {
        wake_waiter();
    }
}

void kernel_unlock(void)
{
    struct thread *t = thread_current();
    CHECK(t->lock_depth != 0);
    if (t->lock_depth > 1) {
        t->lock_depth--;
    } else {
        give(t);
    }
}

bool kernel_lock_held(void)
{
    return thread_current()->lock_depth != 0;
}

uint32_t kernel_lock_drop(void)
{
    struct thread *t = thread_current();
    uint32_t depth = t->lock_depth;
    CHECK(depth != 0);
    give(t);
    return depth;
}

void kernel_lock_retake(uint32_t depth)
{
    take(thread_current(), depth);
}

void kernel_lock_switched(const struct thread *from, const struct thread *to)
{
    if (from->lock_depth != 0 || to->lock_depth != 0) {
        atomic_store_explicit(&lock.owner_runs, to->lock_depth != 0, memory_order_relaxed);
    }
}
