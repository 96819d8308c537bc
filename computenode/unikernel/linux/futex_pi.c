/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words that have an owner: FUTEX_LOCK_PI and its like, of mutexes with PTHREAD_PRIO_INHERIT. All
 * threads run with the same priority here, so there is none to inherit; what is left of it is that
 * the word names its owner, and that the kernel hands it to who waits longest.
 */
#include <errno.h>

#include "computenode/unikernel/linux/futex.h"
#include "computenode/unikernel/linux/futex_queue.h"
#include "computenode/unikernel/linux/task.h"

static uint32_t waiter_count;

static struct futex_waiter *first_waiter(struct futex_key key, const struct futex_waiter *but)
{
    list_for_each (node, futex_bucket(key)) {
        struct futex_waiter *w = list_entry(node, struct futex_waiter, link);
        if (w->tid != 0 && w != but && futex_same(w->key, key)) {
            return w;
        }
    }
    return NULL;
}

/*
 * Owns the word, if nobody does. Errors: -EAGAIN it has an owner, and is marked so that this one
 * calls the kernel to give it back; -EDEADLK the caller owns it, -ESRCH its owner is no thread,
 * -EFAULT.
 */
static int take(const struct call *c, struct futex_key key, bool mark)
{
    uint32_t word, found;
    if (copy_from_user(&found, c->arg[0], sizeof(found)) != 0) {
        return -EFAULT;
    }
    int result;
    do {
        word = found;
        uint32_t next = word | FUTEX_WORD_WAITERS;
        uint32_t owner = word & FUTEX_WORD_TID;
        result = -EAGAIN;
        if (owner == c->t->tid) {
            return -EDEADLK;
        }
        if (owner == 0) {
            uint32_t waiters = first_waiter(key, NULL) != NULL ? FUTEX_WORD_WAITERS : 0;
            next = (word & FUTEX_WORD_OWNER_DIED) | c->t->tid | waiters;
            result = 0;
        } else if (task_find(c->p, owner) == NULL) {
            return -ESRCH;
        } else if (!mark) {
            return -EAGAIN;
        }
        if (user_compare_exchange(c->arg[0], word, next, &found) != 0) {
            return -EFAULT;
        }
    } while (found != word);
    return result;
}

int64_t futex_pi_try(const struct call *c)
{
    return take(c, futex_key_of(c->arg[0], (uint32_t)c->arg[1]), false);
}

int64_t futex_pi_lock(const struct call *c, enum futex_time time)
{
    struct futex_waiter w = {.key = futex_key_of(c->arg[0], (uint32_t)c->arg[1]),
                             .tid = c->t->tid,
                             .address = c->arg[0],
                             .thread = thread_current()};
    uint64_t deadline_ns;
    int rc = futex_deadline(c, time, &deadline_ns);
    if (rc == 0) {
        rc = take(c, w.key, true);
    }
    if (rc != -EAGAIN) {
        return rc;
    }
    list_append(futex_bucket(w.key), &w.link);
    waiter_count++;
    rc = futex_sleep(&w, deadline_ns);
    waiter_count--;
    if (rc == -EDEADLK) {
        call_deadlock("futex, for a mutex with an owner");
    }
    return rc;
}

/* To who waits longest; `w` is unlinked then. `died`: its owner didn't give it back. */
static int hand_over(uint64_t address, struct futex_key key, uint32_t owner, uint32_t died)
{
    struct futex_waiter *w = first_waiter(key, NULL);
    uint32_t word, found, next = died;
    if (w != NULL) {
        next |= w->tid | (first_waiter(key, w) != NULL ? FUTEX_WORD_WAITERS : 0);
    }
    if (copy_from_user(&found, address, sizeof(found)) != 0) {
        return -EFAULT;
    }
    do {
        word = found;
        if ((word & FUTEX_WORD_TID) != owner) {
            return -EPERM;
        }
        if (user_compare_exchange(address, word, next, &found) != 0) {
            return -EFAULT;
        }
    } while (found != word);
    if (w != NULL) {
        list_remove(&w->link);
        thread_wake(w->thread);
    }
    return 0;
}

int64_t futex_pi_unlock(const struct call *c)
{
    return hand_over(c->arg[0], futex_key_of(c->arg[0], (uint32_t)c->arg[1]), c->t->tid, 0);
}

/* The longest waiter of each word comes first; the others find another owner. */
static void owner_died(struct futex_waiter *w, uint32_t tid)
{
    if (w->tid != 0 && first_waiter(w->key, NULL) == w) {
        (void)hand_over(w->address, w->key, tid, FUTEX_WORD_OWNER_DIED);
    }
}

void futex_pi_owner_died(uint32_t tid)
{
    if (waiter_count != 0) {
        futex_each(owner_died, tid);
    }
}
