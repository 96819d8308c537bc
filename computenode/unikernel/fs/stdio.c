/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/stdio.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"

#define PIECE_BYTES 4096u

/*
 * What came from the agent and was not read yet: poll(2) must be able to look. One stream, so one
 * buffer.
 */
static struct {
    uint8_t bytes[PIECE_BYTES];
    size_t start;
    size_t end;
    bool at_end;
} input;

/* Takes what is there; false if there is nothing yet. */
static bool input_fill(void)
{
    if (input.start < input.end || input.at_end) {
        return true;
    }
    int64_t got = control_input(input.bytes, sizeof(input.bytes));
    if (got == -EAGAIN) {
        return false;
    }
    input.start = 0;
    input.end = got > 0 ? (size_t)got : 0;
    input.at_end = got <= 0;
    return true;
}

static int64_t stdio_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    while (!input_fill()) {
        if ((f->flags & LX_O_NONBLOCK) != 0) {
            return -EAGAIN;
        }
        int rc = control_input_wait();
        if (rc != 0) {
            return rc;
        }
    }
    uint64_t part = MIN(b->left, input.end - input.start);
    int rc = iobuf_put(b, input.bytes + input.start, part);
    if (rc != 0) {
        return rc;
    }
    input.start += part;
    return (int64_t)part;
}

static int64_t stdio_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    uint8_t piece[PIECE_BYTES / 4];
    int descriptor = f->data == NULL ? 1 : *(const int *)f->data;
    int64_t done = 0;
    while (b->left > 0) {
        uint64_t part = MIN(b->left, sizeof(piece));
        if (iobuf_get(b, piece, part) != 0) {
            return done > 0 ? done : -EFAULT;
        }
        control_output(descriptor, piece, part);
        done += (int64_t)part;
    }
    return done;
}

static unsigned stdio_poll(struct file *f)
{
    unsigned events = LX_POLLOUT | LX_POLLWRNORM;
    if (file_readable(f) && input_fill()) {
        events |= LX_POLLIN | LX_POLLRDNORM;
        events |= input.at_end && input.start == input.end ? LX_POLLHUP : 0;
    }
    return events;
}

static int64_t stdio_readable_bytes(struct file *f)
{
    return input_fill() ? (int64_t)(input.end - input.start) : 0;
}

const struct file_ops stdio_ops = {.read = stdio_read,
                                   .write = stdio_write,
                                   .poll = stdio_poll,
                                   .readable_bytes = stdio_readable_bytes,
                                   .waits_for_input = true};

static const int descriptors[3] = {0, 1, 2};

/* By way of /proc/self/fd or /dev/stdout: the same stream once more. */
static int stdio_reopen(struct node *n, struct file *f)
{
    f->ops = &stdio_ops;
    f->data = (void *)(uintptr_t)&descriptors[n->hook_value];
    return 0;
}

static const struct node_hooks stdio_hooks = {.open = stdio_reopen};

int stdio_open(int descriptor, struct file **ret)
{
    struct node *n;
    int rc = node_new("stdio", 5, LX_S_IFIFO | 0600, &n);
    if (rc != 0) {
        return rc;
    }
    n->device = NODE_DEVICE_PIPE;
    n->uid = boot_spec()->uid;
    n->gid = boot_spec()->gid;
    n->hooks = &stdio_hooks;
    n->hook_value = (uint64_t)descriptor;
    rc = file_new(n, &stdio_ops, descriptor == 0 ? LX_O_RDONLY : LX_O_WRONLY, ret);
    if (rc == 0) {
        (*ret)->data = (void *)(uintptr_t)&descriptors[descriptor];
    }
    return rc;
}
