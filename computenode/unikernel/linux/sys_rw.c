/* SPDX-License-Identifier: Apache-2.0 */
/* read(2), write(2) and their relatives. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"

#define IOV_MAX            1024u
#define TRANSFER_BYTES_MAX 0x7ffff000ull /* of one call, as in Linux */
#define BOUNCE_BYTES       65536u
#define NO_OFFSET          UINT64_MAX

enum direction { READ, WRITE };

static int64_t transfer(struct file *f, enum direction direction, uint64_t address, uint64_t bytes,
                        uint64_t offset)
{
    struct iobuf b = {.address = address, .left = MIN(bytes, TRANSFER_BYTES_MAX)};
    if (offset == NO_OFFSET) {
        return direction == READ ? file_read(f, &b) : file_write(f, &b);
    }
    return direction == READ ? file_read_at(f, &b, offset) : file_write_at(f, &b, offset);
}

/* A pipe without readers: write(2) gives EPIPE and the process gets SIGPIPE. */
static int64_t finish(const struct call *c, int64_t result)
{
    if (result == -EPIPE) {
        signal_raise(c->p, c->t, LX_SIGPIPE, "wrote to a pipe that nobody reads");
    }
    return result;
}

static int64_t plain(const struct call *c, enum direction direction, uint64_t offset)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    return rc != 0 ? rc : finish(c, transfer(f, direction, c->arg[1], c->arg[2], offset));
}

int64_t sys_read(const struct call *c)
{
    return plain(c, READ, NO_OFFSET);
}

int64_t sys_write(const struct call *c)
{
    return plain(c, WRITE, NO_OFFSET);
}

int64_t sys_pread(const struct call *c)
{
    return (int64_t)c->arg[3] < 0 ? -EINVAL : plain(c, READ, c->arg[3]);
}

int64_t sys_pwrite(const struct call *c)
{
    return (int64_t)c->arg[3] < 0 ? -EINVAL : plain(c, WRITE, c->arg[3]);
}

/* Each piece in turn, until one comes short. */
static int64_t vector(const struct call *c, enum direction direction, uint64_t offset)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    uint64_t count = c->arg[2];
    int64_t done = 0;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    if (rc != 0) {
        return rc;
    }
    if (count > IOV_MAX) {
        return -EINVAL;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct lx_iovec v;
        if (copy_from_user(&v, c->arg[1] + i * sizeof(v), sizeof(v)) != 0) {
            return done > 0 ? done : -EFAULT;
        }
        if (v.length == 0) {
            continue;
        }
        uint64_t at = offset == NO_OFFSET ? NO_OFFSET : offset + (uint64_t)done;
        int64_t part = transfer(f, direction, v.base, v.length, at);
        if (part < 0) {
            return done > 0 ? done : finish(c, part);
        }
        done += part;
        if ((uint64_t)part < v.length) {
            break;
        }
    }
    return done;
}

int64_t sys_readv(const struct call *c)
{
    return vector(c, READ, NO_OFFSET);
}

int64_t sys_writev(const struct call *c)
{
    return vector(c, WRITE, NO_OFFSET);
}

int64_t sys_preadv(const struct call *c)
{
    return (int64_t)c->arg[3] < 0 ? -EINVAL : vector(c, READ, c->arg[3]);
}

int64_t sys_pwritev(const struct call *c)
{
    return (int64_t)c->arg[3] < 0 ? -EINVAL : vector(c, WRITE, c->arg[3]);
}

/* Offset -1: the file's own. No flags are known. */
static int64_t vector2(const struct call *c, enum direction direction)
{
    if (c->arg[5] != 0) {
        return -EOPNOTSUPP;
    }
    if ((int64_t)c->arg[3] < -1) {
        return -EINVAL;
    }
    return vector(c, direction, c->arg[3]);
}

int64_t sys_preadv2(const struct call *c)
{
    return vector2(c, READ);
}

int64_t sys_pwritev2(const struct call *c)
{
    return vector2(c, WRITE);
}

int64_t sys_lseek(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    return rc != 0 ? rc : file_seek(f, (int64_t)c->arg[1], (int)c->arg[2]);
}

/* An offset that the program gives by pointer and gets back moved. */
struct moving_offset {
    uint64_t user; /* 0: the file's own */
    uint64_t value;
};

static int offset_load(struct moving_offset *o, uint64_t user)
{
    o->user = user;
    o->value = NO_OFFSET;
    if (user != 0 && copy_from_user(&o->value, user, sizeof(o->value)) != 0) {
        return -EFAULT;
    }
    return user != 0 && (int64_t)o->value < 0 ? -EINVAL : 0;
}

static int offset_store(const struct moving_offset *o, int64_t moved)
{
    uint64_t value = o->value + (uint64_t)moved;
    return o->user == 0 ? 0 : copy_to_user(o->user, &value, sizeof(value));
}

static int64_t bounce_transfer(struct file *f, enum direction direction, void *bounce,
                               uint64_t bytes, const struct moving_offset *o, int64_t done)
{
    struct iobuf b = {.address = (uint64_t)(uintptr_t)bounce, .left = bytes, .kernel = true};
    if (o->value == NO_OFFSET) {
        return direction == READ ? file_read(f, &b) : file_write(f, &b);
    }
    uint64_t at = o->value + (uint64_t)done;
    return direction == READ ? file_read_at(f, &b, at) : file_write_at(f, &b, at);
}

/* From one file to another through kernel memory. */
static int64_t copy_files(struct file *in, struct moving_offset *in_at, struct file *out,
                          struct moving_offset *out_at, uint64_t bytes)
{
    int64_t done = 0;
    void *bounce = kmalloc(BOUNCE_BYTES);
    if (bounce == NULL) {
        return -ENOMEM;
    }
    while ((uint64_t)done < bytes) {
        uint64_t part = MIN(bytes - (uint64_t)done, BOUNCE_BYTES);
        int64_t got = bounce_transfer(in, READ, bounce, part, in_at, done);
        int64_t put =
            got > 0 ? bounce_transfer(out, WRITE, bounce, (uint64_t)got, out_at, done) : got;
        if (put <= 0) {
            done = done > 0 ? done : put;
            break;
        }
        done += put;
        if (put < got && in_at->value == NO_OFFSET && in->ops->seekable) {
            in->offset -= (uint64_t)(got - put); /* what was read but not written */
        }
        if (put < got) {
            break;
        }
    }
    kfree(bounce);
    if (done > 0 && (offset_store(in_at, done) != 0 || offset_store(out_at, done) != 0)) {
        return -EFAULT;
    }
    return done;
}

int64_t sys_sendfile(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *out = NULL;
    CLEANUP(file_cleanup) struct file *in = NULL;
    struct moving_offset in_at, out_at = {0, NO_OFFSET};
    int rc = fd_get(c->p, (int)c->arg[0], &out);
    if (rc == 0) {
        rc = fd_get(c->p, (int)c->arg[1], &in);
    }
    if (rc == 0) {
        rc = offset_load(&in_at, c->arg[2]);
    }
    if (rc == 0 && !in->ops->seekable) {
        rc = -EINVAL;
    }
    if (rc != 0) {
        return rc;
    }
    return finish(c, copy_files(in, &in_at, out, &out_at, MIN(c->arg[3], TRANSFER_BYTES_MAX)));
}

int64_t sys_copy_file_range(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *in = NULL;
    CLEANUP(file_cleanup) struct file *out = NULL;
    struct moving_offset in_at, out_at;
    int rc = fd_get(c->p, (int)c->arg[0], &in);
    if (rc == 0) {
        rc = fd_get(c->p, (int)c->arg[2], &out);
    }
    if (rc == 0) {
        rc = offset_load(&in_at, c->arg[1]);
    }
    if (rc == 0) {
        rc = offset_load(&out_at, c->arg[3]);
    }
    if (rc == 0 && (c->arg[5] != 0 || in->node == out->node || !node_is(in->node, LX_S_IFREG) ||
                    !node_is(out->node, LX_S_IFREG))) {
        rc = -EINVAL;
    }
    if (rc != 0) {
        return rc;
    }
    return copy_files(in, &in_at, out, &out_at, MIN(c->arg[4], TRANSFER_BYTES_MAX));
}
