/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.h"

int mailbox_init(struct mailbox *box)
{
    box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (box->fd < 0) {
        return -errno;
    }
    list_init(&box->messages);
    CHECK(pthread_mutex_init(&box->mutex, NULL) == 0);
    return 0;
}

void mailbox_fini(struct mailbox *box)
{
    CHECK(list_empty(&box->messages));
    (void)pthread_mutex_destroy(&box->mutex);
    (void)close(box->fd);
}

void mailbox_put(struct mailbox *box, struct list *message)
{
    uint64_t one = 1;
    list_init(message);
    CHECK(pthread_mutex_lock(&box->mutex) == 0);
    list_append(&box->messages, message);
    CHECK(pthread_mutex_unlock(&box->mutex) == 0);
    CHECK(write(box->fd, &one, sizeof(one)) == sizeof(one));
}

struct list *mailbox_take(struct mailbox *box)
{
    uint64_t count;
    CHECK(pthread_mutex_lock(&box->mutex) == 0);
    struct list *message = list_first(&box->messages);
    if (message != NULL) {
        list_remove(message);
    } else {
        /* Under the mutex: a message that is put after this makes it readable again. */
        (void)!read(box->fd, &count, sizeof(count));
    }
    CHECK(pthread_mutex_unlock(&box->mutex) == 0);
    return message;
}
