/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/file.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

static uint32_t open_count;

/* ---- regular files ---- */

static int64_t regular_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    int64_t done = node_read(f->node, *offset, b);
    if (done > 0) {
        *offset += (uint64_t)done;
    }
    return done;
}

static int64_t regular_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    if ((f->flags & LX_O_APPEND) != 0) {
        *offset = f->node->bytes;
    }
    int64_t done = node_write(f->node, *offset, b);
    if (done > 0) {
        *offset += (uint64_t)done;
    }
    return done;
}

static const struct file_ops regular_ops = {
    .read = regular_read, .write = regular_write, .seekable = true};

static const struct file_ops directory_ops = {.seekable = true};

/* ---- generated text ---- */

struct text {
    size_t length;
    char *bytes;
};

static int64_t text_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    const struct text *text = f->data;
    if (*offset >= text->length) {
        return 0;
    }
    uint64_t part = MIN(b->left, text->length - *offset);
    int rc = iobuf_put(b, text->bytes + *offset, part);
    if (rc != 0) {
        return rc;
    }
    *offset += part;
    return (int64_t)part;
}

/* Writing to a kernel setting is accepted and changes nothing. */
static int64_t text_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    uint64_t bytes = b->left;
    *offset += bytes;
    b->left = 0;
    return (int64_t)bytes;
}

static void text_close(struct file *f)
{
    struct text *text = f->data;
    kfree(text->bytes);
    kfree(text);
}

static const struct file_ops text_ops = {
    .read = text_read, .write = text_write, .close = text_close, .seekable = true};

int file_set_text(struct file *f, char *bytes, size_t length)
{
    struct text *text = kmalloc(sizeof(*text));
    if (text == NULL) {
        kfree(bytes);
        return -ENOMEM;
    }
    *text = (struct text){.length = length, .bytes = bytes};
    f->data = text;
    f->ops = &text_ops;
    return 0;
}

/* ---- life ---- */

int file_new(struct node *n, const struct file_ops *ops, uint32_t flags, struct file **ret)
{
    struct file *f = open_count < FILE_COUNT_MAX ? kzalloc(sizeof(*f)) : NULL;
    if (f == NULL) {
        node_unref(n);
        return open_count < FILE_COUNT_MAX ? -ENOMEM : -ENFILE;
    }
    f->node = n;
    f->ops = ops;
    f->flags = flags;
    f->references = 1;
    open_count++;
    *ret = f;
    return 0;
}

int file_new_anonymous(const char *name, const struct file_ops *ops, uint32_t flags, void *data,
                       struct file **ret)
{
    struct node *n;
    int rc = node_new(name, strlen(name), LX_S_IFIFO | 0600, &n);
    if (rc != 0) {
        return rc;
    }
    n->device = NODE_DEVICE_PIPE;
    rc = file_new(n, ops, flags, ret);
    if (rc == 0) {
        (*ret)->data = data;
    }
    return rc;
}

static const struct file_ops path_ops = {.seekable = false};

int file_open(struct node *n, uint32_t flags, struct file **ret)
{
    const struct file_ops *ops = &regular_ops;
    bool generated = n->hooks != NULL && n->hooks->open != NULL;
    struct file *f;
    if ((flags & LX_O_PATH) != 0) {
        ops = &path_ops;
        generated = false;
    } else if (generated) {
        ops = &path_ops; /* until the hook says what it is: close has nothing to free */
    } else if (node_is(n, LX_S_IFDIR)) {
        ops = &directory_ops;
    } else if (node_is(n, LX_S_IFCHR)) {
        ops = device_ops(n->rdev);
    } else if (!node_is(n, LX_S_IFREG)) {
        ops = NULL;
    }
    if (ops == NULL) {
        return -ENXIO;
    }
    int rc = file_new(node_ref(n), ops, flags, &f);
    if (rc == 0 && generated) {
        rc = n->hooks->open(n, f);
        if (rc != 0) {
            file_unref(f);
        }
    }
    if (rc == 0) {
        *ret = f;
    }
    return rc;
}

struct file *file_ref(struct file *f)
{
    f->references++;
    return f;
}

struct file *file_unref(struct file *f)
{
    if (f == NULL) {
        return NULL;
    }
    CHECK(f->references > 0);
    if (--f->references == 0) {
        if (f->ops->close != NULL) {
            f->ops->close(f);
        }
        kfree(f->listing);
        node_unref(f->node);
        kfree(f);
        open_count--;
    }
    return NULL;
}

/* ---- reading and writing ---- */

static int64_t do_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    if (!file_readable(f)) {
        return -EBADF;
    }
    if (node_is(f->node, LX_S_IFDIR)) {
        return -EISDIR;
    }
    return f->ops->read == NULL ? -EINVAL : f->ops->read(f, b, offset);
}

static int64_t do_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    if (!file_writable(f)) {
        return -EBADF;
    }
    return f->ops->write == NULL ? -EINVAL : f->ops->write(f, b, offset);
}

int64_t file_read(struct file *f, struct iobuf *b)
{
    return do_read(f, b, &f->offset);
}

int64_t file_write(struct file *f, struct iobuf *b)
{
    return do_write(f, b, &f->offset);
}

int64_t file_read_at(struct file *f, struct iobuf *b, uint64_t offset)
{
    return f->ops->seekable || !file_readable(f) ? do_read(f, b, &offset) : -ESPIPE;
}

int64_t file_write_at(struct file *f, struct iobuf *b, uint64_t offset)
{
    return f->ops->seekable || !file_writable(f) ? do_write(f, b, &offset) : -ESPIPE;
}

int64_t file_seek(struct file *f, int64_t offset, int whence)
{
    int64_t bytes = (int64_t)f->node->bytes;
    int64_t base = 0;
    if ((f->flags & LX_O_PATH) != 0) {
        return -EBADF;
    }
    if (!f->ops->seekable) {
        return -ESPIPE;
    }
    switch (whence) {
    case LX_SEEK_SET:
        break;
    case LX_SEEK_CUR:
        base = (int64_t)f->offset;
        break;
    case LX_SEEK_END:
        base = bytes;
        break;
    case LX_SEEK_DATA: /* one extent of data, then a hole at the end: allowed by lseek(2) */
    case LX_SEEK_HOLE:
        if (offset < 0 || offset >= bytes) {
            return -ENXIO;
        }
        offset = whence == LX_SEEK_HOLE ? bytes : offset;
        break;
    default:
        return -EINVAL;
    }
    int64_t target;
    if (__builtin_add_overflow(base, offset, &target) || target < 0) {
        return -EINVAL;
    }
    f->offset = (uint64_t)target;
    return target;
}

unsigned file_poll(struct file *f)
{
    if (f->ops->poll == NULL) {
        return LX_POLLIN | LX_POLLOUT | LX_POLLRDNORM | LX_POLLWRNORM;
    }
    return f->ops->poll(f);
}

static struct lx_timespec timespec_of(struct node_time t)
{
    return (struct lx_timespec){.tv_sec = t.seconds, .tv_nsec = t.nanoseconds};
}

void file_stat(struct node *n, struct lx_stat *ret)
{
    *ret = (struct lx_stat){
        .st_dev = n->device,
        .st_ino = n->ino,
        .st_nlink = n->link_count,
        .st_mode = n->mode,
        .st_uid = n->uid,
        .st_gid = n->gid,
        .st_rdev = n->rdev,
        .st_size = (int64_t)n->bytes,
        .st_blksize = 4096,
        .st_blocks = (int64_t)((n->bytes + 511) / 512),
        .st_atim = timespec_of(n->atime),
        .st_mtim = timespec_of(n->mtime),
        .st_ctim = timespec_of(n->ctime),
    };
}
