/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rings at a time, once or again and again: under alarm(2), setitimer(2), timer_create(2) and
 * timerfd_create(2). A thread of the kernel's own waits for the first of all that are set.
 * All of it is under the kernel lock.
 */
#ifndef DILOS_UNIKERNEL_LINUX_TIMER_H
#define DILOS_UNIKERNEL_LINUX_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/linux/abi.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

struct timer {
    struct list link;     /* with all that are set; unlinked: not set */
    int64_t deadline_ns;  /* of clock_ns(); below 0: before the machine started */
    uint64_t interval_ns; /* 0: once */
    /* `times`: how often it rang since it was set or called this last; more than 1 if late. */
    void (*ring)(struct timer *t, uint64_t times);
};

void timer_init(struct timer *t, void (*ring)(struct timer *t, uint64_t times));

/* Replaces what was set. A deadline in the past rings at once. Errors: -EAGAIN, no thread. */
int timer_set(struct timer *t, int64_t deadline_ns, uint64_t interval_ns) MUST_CHECK;
void timer_stop(struct timer *t);

static inline bool timer_is_set(const struct timer *t)
{
    return !list_empty(&t->link);
}

/* Until it rings, at least 1; 0: it is not set. */
uint64_t timer_left_ns(const struct timer *t);

/* ---- by a clock of the program ---- */

/* Can timers go by that clock? Errors: -EINVAL no such clock, -EOPNOTSUPP. */
int timer_clock_check(int clock) MUST_CHECK;

/* struct itimerspec of the program. Errors: -EFAULT, -EINVAL. */
struct timer_setting {
    uint64_t interval_ns;
    uint64_t value_ns; /* until it rings, or when; 0: not set */
};
int timer_setting_load(uint64_t user, struct timer_setting *ret) MUST_CHECK;
/* Stores what is set, as the program reads it. Errors: -EFAULT. */
int timer_show(const struct timer *t, uint64_t user) MUST_CHECK;

/*
 * Sets or stops it; `absolute`: value_ns is of that clock. Stores what was set before at `user`,
 * unless that is 0. Errors: those of timer_set(), -EFAULT.
 */
int timer_change(struct timer *t, int clock, bool absolute, const struct timer_setting *wanted,
                 uint64_t user) MUST_CHECK;

/* ---- sys_timer_posix.c ---- */
/* The signal of a timer was taken, that had rung `overrun` times more. */
void timer_signal_taken(int32_t id, int32_t overrun);

#endif
