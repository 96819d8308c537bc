/* SPDX-License-Identifier: Apache-2.0 */
/* Between futex.c and futex_pi.c: who waits for which word. */
#ifndef DILOS_UNIKERNEL_LINUX_FUTEX_QUEUE_H
#define DILOS_UNIKERNEL_LINUX_FUTEX_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/thread.h"
#include "computenode/unikernel/linux/call.h"
#include "lib/base/list.h"

/* Of words that have an owner: the kernel's documentation "robust futex ABI", futex(2). */
#define FUTEX_WORD_WAITERS    0x80000000u
#define FUTEX_WORD_OWNER_DIED 0x40000000u
#define FUTEX_WORD_TID        0x3fffffffu

/* What two addresses have in common that mean the same word. */
struct futex_key {
    uint64_t inode; /* 0: private memory */
    uint64_t place; /* address, or offset in the file */
};

struct futex_waiter {
    struct list link; /* in its bucket; unlinked: woken */
    struct futex_key key;
    uint32_t bitset; /* 0: not woken by FUTEX_WAKE */
    uint32_t tid;    /* of one who waits to own the word (futex_pi.c), at `address`; else 0 */
    uint64_t address;
    struct thread *thread;
};

enum futex_time {
    FUTEX_TIME_RELATIVE,
    FUTEX_TIME_MONOTONIC, /* absolute */
    FUTEX_TIME_REALTIME,  /* absolute */
};

static inline bool futex_same(struct futex_key a, struct futex_key b)
{
    return a.inode == b.inode && a.place == b.place;
}

struct list *futex_bucket(struct futex_key key);

/* flags: of the call. A shared futex in a file that is mapped twice is one futex. */
struct futex_key futex_key_of(uint64_t address, uint32_t flags);

/* The fourth argument, as a deadline of clock_ns(). Errors: -EFAULT, -EINVAL. */
int futex_deadline(const struct call *c, enum futex_time time, uint64_t *ret_ns) MUST_CHECK;

/* Waits in its bucket until it is unlinked and woken. Errors: those of thread_wait(). */
int futex_sleep(struct futex_waiter *w, uint64_t deadline_ns) MUST_CHECK;

/* All who wait; `each` may unlink the one that it is called with. */
void futex_each(void (*each)(struct futex_waiter *w, uint32_t tid), uint32_t tid);

int64_t futex_pi_lock(const struct call *c, enum futex_time time);
int64_t futex_pi_try(const struct call *c);
int64_t futex_pi_unlock(const struct call *c);

#endif
