/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files: what a file descriptor refers to. Reads and writes go through the operations of the
 * kind of file; offsets and flags are kept here.
 *
 * Context: syscalls; may page.
 */
#ifndef DILOS_UNIKERNEL_FS_FILE_H
#define DILOS_UNIKERNEL_FS_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/fs/iobuf.h"
#include "computenode/unikernel/fs/node.h"
#include "lib/base/compiler.h"

struct file;

struct file_ops {
    /*
     * Move up to b->left bytes at *offset and advance it; the count. NULL: -EINVAL (read, write).
     * -EAGAIN when it would have to wait and the file is non-blocking, -EDEADLK when it would wait
     * for ever.
     */
    int64_t (*read)(struct file *f, struct iobuf *b, uint64_t *offset);
    int64_t (*write)(struct file *f, struct iobuf *b, uint64_t *offset);
    /* LX_POLL* that hold now. NULL: always readable and writable. */
    unsigned (*poll)(struct file *f);
    /* Bytes that can be read at once (FIONREAD). NULL: not supported. */
    int64_t (*readable_bytes)(struct file *f);
    void (*close)(struct file *f);
    bool seekable;
    bool waits_for_input; /* becomes readable through the control channel */
};

struct file {
    const struct file_ops *ops;
    struct node *node; /* referenced; for all kinds, so that fstat works */
    uint32_t references;
    uint32_t flags; /* LX_O_* as F_GETFL shows them */
    uint64_t offset;
    void *data;              /* of the operations */
    struct listing *listing; /* snapshot of a directory that is being read */
};

/* How many files may be open, however many descriptors there are. */
#define FILE_COUNT_MAX 65536u

/*
 * Opens a node: the caller has checked permissions. Regular files, directories, devices and
 * generated nodes. flags: LX_O_*. Errors: -ENFILE, -ENOMEM, -ENXIO no such device, -EISDIR.
 */
int file_open(struct node *n, uint32_t flags, struct file **ret) MUST_CHECK;

/* A file of its own kind; takes over the reference of `n`. Errors: -ENFILE, -ENOMEM. */
int file_new(struct node *n, const struct file_ops *ops, uint32_t flags,
             struct file **ret) MUST_CHECK;

/*
 * One that has no place in the tree. name: "pipe", or "[eventfd]" and the like; data: of the
 * operations. Errors: -ENFILE, -ENOMEM, -ENOSPC; `data` is still the caller's then.
 */
int file_new_anonymous(const char *name, const struct file_ops *ops, uint32_t flags, void *data,
                       struct file **ret) MUST_CHECK;

struct file *file_ref(struct file *f);
struct file *file_unref(struct file *f); /* NULL is fine; returns NULL */

static inline bool file_readable(const struct file *f)
{
    return (f->flags & 03u) != 1 && (f->flags & 010000000u) == 0;
}

static inline bool file_writable(const struct file *f)
{
    return (f->flags & 03u) != 0 && (f->flags & 010000000u) == 0;
}

/* At the file's own offset. Errors: -EBADF not open for that, and those of the operations. */
int64_t file_read(struct file *f, struct iobuf *b);
int64_t file_write(struct file *f, struct iobuf *b);
/* At an offset. Errors also: -ESPIPE. */
int64_t file_read_at(struct file *f, struct iobuf *b, uint64_t offset);
int64_t file_write_at(struct file *f, struct iobuf *b, uint64_t offset);

/* Errors: -ESPIPE, -EINVAL, -ENXIO. */
int64_t file_seek(struct file *f, int64_t offset, int whence);

unsigned file_poll(struct file *f);

/*
 * getdents64(2): writes entries to user memory; the count of bytes. Errors: -ENOTDIR, -EINVAL the
 * buffer is too small for one entry, -EFAULT, -ENOMEM, and those of node_list().
 */
int64_t file_list(struct file *f, struct iobuf *b);

void file_stat(struct node *n, struct lx_stat *ret);

/* A file of generated text (kernel memory, taken over, freed at close). */
int file_set_text(struct file *f, char *text, size_t length) MUST_CHECK;

/* devfs.c: the operations of a character device, or NULL. */
const struct file_ops *device_ops(uint64_t rdev);

#endif
