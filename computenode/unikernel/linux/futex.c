/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/futex.h"

#include <errno.h>

#include "computenode/unikernel/kernel/thread.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/futex_queue.h"
#include "computenode/unikernel/linux/vdso.h"

#define OP_WAIT        0
#define OP_WAKE        1
#define OP_REQUEUE     3
#define OP_CMP_REQUEUE 4
#define OP_WAKE_OP     5
#define OP_LOCK_PI     6
#define OP_UNLOCK_PI   7
#define OP_TRYLOCK_PI  8
#define OP_WAIT_BITSET 9
#define OP_WAKE_BITSET 10
#define OP_LOCK_PI2    13
#define OP_PRIVATE     128u
#define OP_REALTIME    256u
#define ANY_BIT        UINT32_MAX

#define BUCKET_COUNT 256u  /* a power of two */
#define ROBUST_MAX   2048u /* as Linux: the list may be a ring */
#define ROBUST_PI    1u

static struct list buckets[BUCKET_COUNT];

static struct list *bucket_at(uint64_t index)
{
    struct list *bucket = &buckets[index & (BUCKET_COUNT - 1)];
    if (bucket->next == NULL) {
        list_init(bucket);
    }
    return bucket;
}

struct list *futex_bucket(struct futex_key key)
{
    uint64_t mixed = (key.place >> 2 ^ key.inode << 20) * UINT64_C(0x9e3779b97f4a7c15);
    return bucket_at(mixed >> 56);
}

struct futex_key futex_key_of(uint64_t address, uint32_t flags)
{
    struct mm_area area;
    if ((flags & OP_PRIVATE) == 0 && mm_area_next(process_current()->mm, address, &area) &&
        area.start <= address && (area.flags & MM_SHARED) != 0 && area.inode != 0) {
        return (struct futex_key){area.inode, area.offset + (address - area.start)};
    }
    return (struct futex_key){0, address};
}

static uint32_t wake(struct futex_key key, uint32_t bitset, uint32_t count)
{
    uint32_t woken = 0;
    list_for_each_safe (node, futex_bucket(key)) {
        struct futex_waiter *w = list_entry(node, struct futex_waiter, link);
        if (woken < count && futex_same(w->key, key) && (w->bitset & bitset) != 0) {
            list_remove(&w->link);
            thread_wake(w->thread);
            woken++;
        }
    }
    return woken;
}

uint32_t futex_wake_address(uint64_t address, uint32_t count)
{
    struct futex_key key = futex_key_of(address, 0);
    uint32_t woken = wake(key, ANY_BIT, count);
    return key.inode == 0 ? woken
                          : woken + wake((struct futex_key){0, address}, ANY_BIT, count - woken);
}

/* ---- waiting ---- */

int futex_deadline(const struct call *c, enum futex_time time, uint64_t *ret_ns)
{
    uint64_t ns;
    if (c->arg[3] == 0) {
        *ret_ns = THREAD_NEVER;
        return 0;
    }
    int rc = call_timespec(c->arg[3], &ns);
    if (rc != 0) {
        return rc;
    }
    if (time != FUTEX_TIME_RELATIVE) {
        uint64_t now = time == FUTEX_TIME_REALTIME ? program_realtime_ns() : program_monotonic_ns();
        ns = ns > now ? ns - now : 0;
    }
    uint64_t now_ns = clock_ns();
    *ret_ns = ns < THREAD_NEVER - 1 - now_ns ? now_ns + ns : THREAD_NEVER - 1;
    return 0;
}

int futex_sleep(struct futex_waiter *w, uint64_t deadline_ns)
{
    int rc = 0;
    while (rc == 0 && !list_empty(&w->link)) {
        rc = thread_wait(deadline_ns, THREAD_WAIT_THREAD);
    }
    bool woken = list_empty(&w->link);
    list_remove(&w->link);
    return woken ? 0 : rc;
}

static int64_t futex_wait(const struct call *c, uint32_t operation, uint32_t bitset)
{
    uint64_t deadline_ns;
    uint32_t value;
    bool realtime = ((uint32_t)c->arg[1] & OP_REALTIME) != 0;
    enum futex_time time = operation == OP_WAIT ? FUTEX_TIME_RELATIVE
                           : realtime           ? FUTEX_TIME_REALTIME
                                                : FUTEX_TIME_MONOTONIC;
    int rc = futex_deadline(c, time, &deadline_ns);
    if (rc != 0) {
        return rc;
    }
    if (bitset == 0) {
        return -EINVAL;
    }
    if (copy_from_user(&value, c->arg[0], sizeof(value)) != 0) {
        return -EFAULT;
    }
    if (value != (uint32_t)c->arg[2]) {
        return -EAGAIN;
    }
    struct futex_waiter w = {.key = futex_key_of(c->arg[0], (uint32_t)c->arg[1]),
                             .bitset = bitset,
                             .thread = thread_current()};
    list_append(futex_bucket(w.key), &w.link);
    return futex_sleep(&w, deadline_ns);
}

/* ---- waking ---- */

static int64_t futex_wake(const struct call *c, uint32_t bitset)
{
    int32_t count = (int32_t)c->arg[2];
    if (bitset == 0) {
        return -EINVAL;
    }
    /* Linux wakes one for a count of 0 or less. */
    return wake(futex_key_of(c->arg[0], (uint32_t)c->arg[1]), bitset, (uint32_t)MAX(count, 1));
}

static int64_t requeue(const struct call *c)
{
    struct futex_key from = futex_key_of(c->arg[0], (uint32_t)c->arg[1]);
    struct futex_key to = futex_key_of(c->arg[4], (uint32_t)c->arg[1]);
    uint32_t wake_max = (uint32_t)c->arg[2], move_max = (uint32_t)c->arg[3];
    uint32_t done = wake(from, ANY_BIT, wake_max), moved = 0;
    list_for_each_safe (node, futex_bucket(from)) {
        struct futex_waiter *w = list_entry(node, struct futex_waiter, link);
        if (moved < move_max && futex_same(w->key, from) && w->tid == 0) {
            list_remove(&w->link);
            w->key = to;
            list_append(futex_bucket(to), &w->link);
            moved++;
        }
    }
    return (int64_t)done + moved;
}

static int64_t futex_requeue(const struct call *c, bool compare)
{
    uint32_t value;
    if ((int32_t)c->arg[2] < 0 || (int32_t)c->arg[3] < 0) {
        return -EINVAL;
    }
    if (!IS_ALIGNED(c->arg[4], 4)) {
        return -EINVAL;
    }
    if (compare) {
        if (copy_from_user(&value, c->arg[0], sizeof(value)) != 0) {
            return -EFAULT;
        }
        if (value != (uint32_t)c->arg[5]) {
            return -EAGAIN;
        }
    }
    if (futex_same(futex_key_of(c->arg[0], (uint32_t)c->arg[1]),
                   futex_key_of(c->arg[4], (uint32_t)c->arg[1]))) {
        return wake(futex_key_of(c->arg[0], (uint32_t)c->arg[1]), ANY_BIT, (uint32_t)c->arg[2]);
    }
    return requeue(c);
}

/* FUTEX_OP(): operation, operand, comparison and its operand packed into one word. */
struct word_op {
    uint32_t operation;
    uint32_t compare;
    int32_t operand;
    int32_t compare_operand;
};

static struct word_op word_op_of(uint32_t packed)
{
    struct word_op op = {
        .operation = packed >> 28 & 7,
        .compare = packed >> 24 & 15,
        .operand = (int32_t)(packed << 8) >> 20,
        .compare_operand = (int32_t)(packed << 20) >> 20,
    };
    if ((packed >> 31) != 0) { /* FUTEX_OP_ARG_SHIFT */
        op.operand = (int32_t)(UINT32_C(1) << (op.operand & 31));
    }
    return op;
}

static int word_op_result(const struct word_op *op, uint32_t old, uint32_t *ret)
{
    uint32_t operand = (uint32_t)op->operand;
    const uint32_t results[] = {operand, old + operand, old | operand, old & ~operand,
                                old ^ operand};
    if (op->operation >= ARRAY_LEN(results)) {
        return -ENOSYS;
    }
    *ret = results[op->operation];
    return 0;
}

static int word_op_compare(const struct word_op *op, uint32_t old)
{
    int32_t a = (int32_t)old, b = op->compare_operand;
    const bool results[] = {a == b, a != b, a<b, a <= b, a> b, a >= b};
    return op->compare < ARRAY_LEN(results) ? (int)results[op->compare] : -ENOSYS;
}

/* Does the operation on the word, atomically; *ret_old: what it was. */
static int word_op_do(const struct word_op *op, uint64_t address, uint32_t *ret_old)
{
    uint32_t old, found, next;
    if (copy_from_user(&found, address, sizeof(found)) != 0) {
        return -EFAULT;
    }
    do {
        old = found;
        int rc = word_op_result(op, old, &next);
        if (rc == 0) {
            rc = user_compare_exchange(address, old, next, &found);
        }
        if (rc != 0) {
            return rc;
        }
    } while (found != old);
    *ret_old = old;
    return 0;
}

static int64_t futex_wake_op(const struct call *c)
{
    struct word_op op = word_op_of((uint32_t)c->arg[5]);
    uint32_t old = 0;
    if (!IS_ALIGNED(c->arg[4], 4)) {
        return -EINVAL;
    }
    int rc = word_op_compare(&op, 0);
    if (rc >= 0) {
        rc = word_op_do(&op, c->arg[4], &old);
    }
    if (rc < 0) {
        return rc;
    }
    uint32_t woken = wake(futex_key_of(c->arg[0], (uint32_t)c->arg[1]), ANY_BIT,
                          (uint32_t)MAX((int32_t)c->arg[2], 1));
    if (word_op_compare(&op, old) == 1) {
        woken += wake(futex_key_of(c->arg[4], (uint32_t)c->arg[1]), ANY_BIT,
                      (uint32_t)MAX((int32_t)c->arg[3], 1));
    }
    return woken;
}

/*
 * Moving waiters to a word with priority inheritance (which no C library does any more) and the
 * rest: -ENOSYS, as a Linux without them.
 */
int64_t sys_futex(const struct call *c)
{
    uint32_t operation = (uint32_t)c->arg[1] & ~(OP_PRIVATE | OP_REALTIME);
    if (!IS_ALIGNED(c->arg[0], 4)) {
        return -EINVAL;
    }
    if (c->arg[0] >= MM_USER_END) {
        return -EFAULT;
    }
    switch (operation) {
    case OP_WAIT:
        return futex_wait(c, operation, ANY_BIT);
    case OP_WAIT_BITSET:
        return futex_wait(c, operation, (uint32_t)c->arg[5]);
    case OP_WAKE:
        return futex_wake(c, ANY_BIT);
    case OP_WAKE_BITSET:
        return futex_wake(c, (uint32_t)c->arg[5]);
    case OP_REQUEUE:
        return futex_requeue(c, false);
    case OP_CMP_REQUEUE:
        return futex_requeue(c, true);
    case OP_WAKE_OP:
        return futex_wake_op(c);
    case OP_LOCK_PI:
        return futex_pi_lock(c, FUTEX_TIME_REALTIME);
    case OP_LOCK_PI2:
        return futex_pi_lock(c, ((uint32_t)c->arg[1] & OP_REALTIME) != 0 ? FUTEX_TIME_REALTIME
                                                                         : FUTEX_TIME_MONOTONIC);
    case OP_TRYLOCK_PI:
        return futex_pi_try(c);
    case OP_UNLOCK_PI:
        return futex_pi_unlock(c);
    default:
        return -ENOSYS;
    }
}

bool futex_says_deadlock(const struct call *c)
{
    uint32_t operation = (uint32_t)c->arg[1] & ~(OP_PRIVATE | OP_REALTIME);
    return operation == OP_LOCK_PI || operation == OP_LOCK_PI2 || operation == OP_TRYLOCK_PI;
}

/* ---- robust lists ---- */

void futex_each(void (*each)(struct futex_waiter *w, uint32_t tid), uint32_t tid)
{
    for (uint32_t i = 0; i < BUCKET_COUNT; i++) {
        list_for_each_safe (node, bucket_at(i)) {
            each(list_entry(node, struct futex_waiter, link), tid);
        }
    }
}

/* pi: those who wait for it have been served by futex_pi_owner_died(). */
static void owner_died(uint64_t address, uint32_t tid, bool pi, bool pending)
{
    uint32_t word, found;
    if (!IS_ALIGNED(address, 4) || copy_from_user(&found, address, sizeof(found)) != 0) {
        return;
    }
    do {
        word = found;
        if (word == 0 && pending && !pi) { /* given back already, but nobody was woken yet */
            (void)futex_wake_address(address, 1);
        }
        if ((word & FUTEX_WORD_TID) != tid) {
            return;
        }
        uint32_t next = (word & FUTEX_WORD_WAITERS) | FUTEX_WORD_OWNER_DIED;
        if (user_compare_exchange(address, word, next, &found) != 0) {
            return;
        }
    } while (found != word);
    if ((word & FUTEX_WORD_WAITERS) != 0 && !pi) {
        (void)futex_wake_address(address, 1);
    }
}

void futex_owner_died(uint64_t list_head, uint32_t tid)
{
    uint64_t head[3]; /* first entry, offset of the word in each, the one that was being changed */
    if (copy_from_user(head, list_head, sizeof(head)) != 0) {
        return;
    }
    uint64_t pending = head[2] & ~(uint64_t)ROBUST_PI;
    uint64_t entry = head[0];
    for (uint32_t i = 0; i < ROBUST_MAX && entry != list_head; i++) {
        uint64_t at = entry & ~(uint64_t)ROBUST_PI, next;
        bool pi = (entry & ROBUST_PI) != 0;
        if (copy_from_user(&next, at, sizeof(next)) != 0) {
            return;
        }
        if (at != pending) {
            owner_died(at + head[1], tid, pi, false);
        }
        entry = next;
    }
    if (pending != 0) {
        owner_died(pending + head[1], tid, (head[2] & ROBUST_PI) != 0, true);
    }
}
