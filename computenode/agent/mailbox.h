/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from one thread to another: a list under a mutex and an eventfd that is readable while
 * there is something in it. Messages embed a struct list; who takes one owns it.
 */
#ifndef DILOS_AGENT_MAILBOX_H
#define DILOS_AGENT_MAILBOX_H

#include <pthread.h>

#include "lib/base/compiler.h"
#include "lib/base/list.h"

struct mailbox {
    pthread_mutex_t mutex;
    struct list messages;
    int fd; /* for poll(); only mailbox_take() reads it */
};

/* Errors: those of eventfd(2). */
int mailbox_init(struct mailbox *box) MUST_CHECK;
/* It must be empty. */
void mailbox_fini(struct mailbox *box);
void mailbox_put(struct mailbox *box, struct list *message);
/* NULL: empty. Never waits. */
struct list *mailbox_take(struct mailbox *box);

#endif
