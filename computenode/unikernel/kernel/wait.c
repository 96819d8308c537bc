/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/wait.h"

struct waiter {
    struct list link;
    struct thread *thread;
};

static struct wait_queue changes = {{&changes.waiters, &changes.waiters}};

void wait_init(struct wait_queue *q)
{
    list_init(&q->waiters);
}

int wait_on(struct wait_queue *q, uint64_t deadline_ns, enum thread_wait kind)
{
    struct waiter w = {.thread = thread_current()};
    list_append(&q->waiters, &w.link);
    int r = thread_wait(deadline_ns, kind);
    list_remove(&w.link);
    return r;
}

void wait_wake(struct wait_queue *q)
{
    struct list *node;
    while ((node = list_first(&q->waiters)) != NULL) {
        list_remove(node);
        thread_wake(list_entry(node, struct waiter, link)->thread);
    }
}

int wait_for_change(uint64_t deadline_ns, enum thread_wait kind)
{
    return wait_on(&changes, deadline_ns, kind);
}

void wait_changed(void)
{
    wait_wake(&changes);
}
