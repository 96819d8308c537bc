/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/pipe.h"

#include <errno.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/wait.h"
#include "lib/base/check.h"

#define PIPE_ATOMIC_BYTES 4096u /* PIPE_BUF */

struct pipe {
    uint32_t reader_count; /* 1 until the reading end is closed */
    uint32_t writer_count;
    uint32_t start; /* of the bytes in the ring */
    uint32_t length;
    struct wait_queue changed; /* bytes or an end came or went */
    uint8_t ring[PIPE_BYTES];
};

static void tell(struct wait_queue *q)
{
    wait_wake(q);
    wait_changed();
}

/* Waits for another thread to change something, if the file is one that waits. */
static int wait_other(const struct file *f, struct wait_queue *q)
{
    return (f->flags & LX_O_NONBLOCK) != 0 ? -EAGAIN : wait_on(q, THREAD_NEVER, THREAD_WAIT_THREAD);
}

static int64_t pipe_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    struct pipe *p = f->data;
    int64_t done = 0;
    while (p->length == 0 && b->left > 0) {
        int rc = p->writer_count == 0 ? 0 : wait_other(f, &p->changed);
        if (p->writer_count == 0 && p->length == 0) {
            return 0;
        }
        if (rc != 0) {
            return rc;
        }
    }
    while (b->left > 0 && p->length > 0) {
        uint32_t part = (uint32_t)MIN(b->left, MIN(p->length, PIPE_BYTES - p->start));
        if (iobuf_put(b, p->ring + p->start, part) != 0) {
            return done > 0 ? done : -EFAULT;
        }
        p->start = (p->start + part) % PIPE_BYTES;
        p->length -= part;
        done += part;
    }
    tell(&p->changed);
    return done;
}

/* As many bytes as there is room for. */
static int put_some(struct pipe *p, struct iobuf *b, int64_t *done)
{
    while (b->left > 0 && p->length < PIPE_BYTES) {
        uint32_t end = (p->start + p->length) % PIPE_BYTES;
        uint32_t room = MIN(PIPE_BYTES - p->length, PIPE_BYTES - end);
        uint32_t part = (uint32_t)MIN(b->left, room);
        if (iobuf_get(b, p->ring + end, part) != 0) {
            return -EFAULT;
        }
        p->length += part;
        *done += part;
    }
    tell(&p->changed);
    return 0;
}

/* Writes of up to PIPE_BUF bytes are whole or not at all: pipe(7). */
static int64_t pipe_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    struct pipe *p = f->data;
    int64_t done = 0;
    uint64_t room_min = b->left <= PIPE_ATOMIC_BYTES ? b->left : 1;
    int rc = 0;
    while (rc == 0 && b->left > 0) {
        if (p->reader_count == 0) {
            rc = -EPIPE;
        } else if (PIPE_BYTES - p->length >= room_min) {
            rc = put_some(p, b, &done);
            room_min = 1;
        } else {
            rc = wait_other(f, &p->changed);
        }
    }
    return done > 0 ? done : rc;
}

static unsigned pipe_poll_read(struct file *f)
{
    const struct pipe *p = f->data;
    return (p->length > 0 ? LX_POLLIN | LX_POLLRDNORM : 0) |
           (p->writer_count == 0 ? LX_POLLHUP : 0);
}

static unsigned pipe_poll_write(struct file *f)
{
    const struct pipe *p = f->data;
    return (PIPE_BYTES - p->length >= 4096 ? LX_POLLOUT | LX_POLLWRNORM : 0) |
           (p->reader_count == 0 ? LX_POLLERR : 0);
}

static int64_t pipe_readable_bytes(struct file *f)
{
    const struct pipe *p = f->data;
    return p->length;
}

static void pipe_put(struct pipe *p)
{
    if (p->reader_count == 0 && p->writer_count == 0) {
        kfree(p);
    }
}

static void pipe_close_read(struct file *f)
{
    struct pipe *p = f->data;
    p->reader_count = 0;
    tell(&p->changed);
    pipe_put(p);
}

static void pipe_close_write(struct file *f)
{
    struct pipe *p = f->data;
    p->writer_count = 0;
    tell(&p->changed);
    pipe_put(p);
}

static const struct file_ops pipe_read_ops = {.read = pipe_read,
                                              .poll = pipe_poll_read,
                                              .readable_bytes = pipe_readable_bytes,
                                              .close = pipe_close_read};
static const struct file_ops pipe_write_ops = {
    .write = pipe_write, .poll = pipe_poll_write, .close = pipe_close_write};

int pipe_open(uint32_t flags, struct file **ret_reader, struct file **ret_writer)
{
    struct file *reader, *writer;
    struct pipe *p = kzalloc(sizeof(*p));
    if (p == NULL) {
        return -ENOMEM;
    }
    wait_init(&p->changed);
    int rc = file_new_anonymous("pipe", &pipe_read_ops, flags | LX_O_RDONLY, p, &reader);
    if (rc != 0) {
        kfree(p);
        return rc;
    }
    p->reader_count = 1;
    rc = file_new_anonymous("pipe", &pipe_write_ops, flags | LX_O_WRONLY, p, &writer);
    if (rc != 0) {
        file_unref(reader); /* frees the pipe too */
        return rc;
    }
    p->writer_count = 1;
    *ret_reader = reader;
    *ret_writer = writer;
    return 0;
}

/* ---- eventfd(2) ---- */

struct event {
    uint64_t count;
    bool semaphore;
    struct wait_queue changed;
};

static int64_t event_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    struct event *e = f->data;
    if (b->left < sizeof(uint64_t)) {
        return -EINVAL;
    }
    while (e->count == 0) {
        int rc = wait_other(f, &e->changed);
        if (rc != 0) {
            return rc;
        }
    }
    uint64_t value = e->semaphore ? 1 : e->count;
    if (iobuf_put(b, &value, sizeof(value)) != 0) {
        return -EFAULT;
    }
    e->count -= value;
    tell(&e->changed);
    return sizeof(value);
}

static int64_t event_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    struct event *e = f->data;
    uint64_t value;
    if (b->left < sizeof(value)) {
        return -EINVAL;
    }
    if (iobuf_get(b, &value, sizeof(value)) != 0) {
        return -EFAULT;
    }
    if (value == UINT64_MAX) {
        return -EINVAL;
    }
    while (value > UINT64_MAX - 1 - e->count) {
        int rc = wait_other(f, &e->changed);
        if (rc != 0) {
            return rc;
        }
    }
    e->count += value;
    tell(&e->changed);
    return sizeof(value);
}

static unsigned event_poll(struct file *f)
{
    const struct event *e = f->data;
    return (e->count > 0 ? LX_POLLIN | LX_POLLRDNORM : 0) |
           (e->count < UINT64_MAX - 1 ? LX_POLLOUT | LX_POLLWRNORM : 0);
}

static void event_close(struct file *f)
{
    kfree(f->data);
}

static const struct file_ops event_ops = {
    .read = event_read, .write = event_write, .poll = event_poll, .close = event_close};

int eventfd_open(uint64_t initial, bool semaphore, uint32_t flags, struct file **ret)
{
    struct event *e = kmalloc(sizeof(*e));
    if (e == NULL) {
        return -ENOMEM;
    }
    *e = (struct event){.count = initial, .semaphore = semaphore};
    wait_init(&e->changed);
    int rc = file_new_anonymous("[eventfd]", &event_ops, flags | LX_O_RDWR, e, ret);
    if (rc != 0) {
        kfree(e);
    }
    return rc;
}
