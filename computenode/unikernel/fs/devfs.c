/* SPDX-License-Identifier: Apache-2.0 */
/* Character devices: null, zero, full, random, urandom, and the program's three streams. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/devfs.h"
#include "computenode/unikernel/fs/file.h"
#include "computenode/unikernel/fs/stdio.h"
#include "computenode/unikernel/kernel/kernel.h"

#define RANDOM_PIECE_BYTES 256u

static int64_t null_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    return 0;
}

static int64_t null_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    uint64_t bytes = b->left;
    b->left = 0;
    return (int64_t)bytes;
}

static int64_t zero_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    uint64_t bytes = b->left;
    int rc = iobuf_put_zeros(b, bytes);
    return rc != 0 ? rc : (int64_t)bytes;
}

static int64_t full_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    return -ENOSPC;
}

static int64_t random_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    uint8_t piece[RANDOM_PIECE_BYTES];
    int64_t done = 0;
    while (b->left > 0) {
        uint64_t part = MIN(b->left, sizeof(piece));
        random_fill(piece, part);
        if (iobuf_put(b, piece, part) != 0) {
            return done > 0 ? done : -EFAULT;
        }
        done += (int64_t)part;
    }
    return done;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write, .seekable = true};
static const struct file_ops zero_ops = {.read = zero_read, .write = null_write, .seekable = true};
static const struct file_ops full_ops = {.read = zero_read, .write = full_write, .seekable = true};
static const struct file_ops random_ops = {
    .read = random_read, .write = null_write, .seekable = true};

struct device {
    uint64_t rdev;
    const char *name;
    const struct file_ops *ops;
};

/* Numbers as in Linux Documentation/admin-guide/devices.txt. */
static const struct device devices[] = {
    {LX_DEVICE(1, 3), "null", &null_ops},      {LX_DEVICE(1, 5), "zero", &zero_ops},
    {LX_DEVICE(1, 7), "full", &full_ops},      {LX_DEVICE(1, 8), "random", &random_ops},
    {LX_DEVICE(1, 9), "urandom", &random_ops}, {STDIO_DEVICE, "console", &stdio_ops},
};

const struct file_ops *device_ops(uint64_t rdev)
{
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        if (devices[i].rdev == rdev) {
            return devices[i].ops;
        }
    }
    return NULL;
}

struct link {
    const char *name;
    const char *target;
};

static const struct link links[] = {
    {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"},
    {"fd", "/proc/self/fd"},
};

int devfs_init(void)
{
    struct node *dev, *n;
    int rc = node_place_directory("/dev", 0755, NODE_DEVICE_DEV, &dev);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(devices); i++) {
        struct node_creation how = {.mode = LX_S_IFCHR | 0666, .rdev = devices[i].rdev};
        rc = node_create(dev, devices[i].name, strlen(devices[i].name), &how, &n);
        if (rc == 0) {
            node_unref(n);
        }
    }
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(links); i++) {
        struct node_creation how = {.mode = LX_S_IFLNK | 0777, .target = links[i].target};
        rc = node_create(dev, links[i].name, strlen(links[i].name), &how, &n);
        if (rc == 0) {
            node_unref(n);
        }
    }
    if (rc != 0) {
        return rc;
    }
    node_unref(dev);
    rc = node_place_directory("/dev/shm", 01777, NODE_DEVICE_TMPFS, &n);
    if (rc == 0) {
        node_unref(n);
    }
    return rc;
}
