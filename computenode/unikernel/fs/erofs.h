/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reader of uncompressed EROFS images (Linux Documentation/filesystems/erofs.rst and the on-disk
 * format description of the erofs project): blocks of 4 KiB, compact and extended inodes, flat
 * plain and flat inline layouts, which is what mkfs.erofs makes unless told otherwise.
 *
 * The image is a peer's bytes: every field is checked against the size of the image, and a corrupt
 * image gives -EUCLEAN, never a read outside of it. Nothing is allocated and nothing is cached
 * here: `read` does both if it wants to.
 *
 * Context: any in which `read` may be called.
 */
#ifndef DILOS_UNIKERNEL_FS_EROFS_H
#define DILOS_UNIKERNEL_FS_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define EROFS_BLOCK_BYTES      4096u
#define EROFS_NAME_BYTES_MAX   255u
#define EROFS_TARGET_BYTES_MAX 4095u /* of a symbolic link */

struct erofs {
    /* Reads `bytes` bytes at `offset` of the image; 0 or -EIO. The range lies in the image. */
    int (*read)(void *context, uint64_t offset, void *to, size_t bytes);
    void *context;
    uint64_t image_bytes;
    uint64_t meta_offset; /* byte offset that node numbers count from */
    uint64_t root_nid;
    uint64_t block_count;
    uint64_t inode_count;
    uint64_t build_time_s;
    uint32_t build_time_ns;
};

struct erofs_inode {
    uint64_t nid;
    uint64_t bytes;         /* size of the contents */
    uint64_t block_offset;  /* byte offset of the first whole block */
    uint64_t inline_offset; /* byte offset of the tail, if inline_bytes is not 0 */
    uint32_t inline_bytes;
    uint32_t mode; /* type and permissions as in stat(2) */
    uint32_t uid;
    uint32_t gid;
    uint32_t link_count;
    uint32_t device; /* of device nodes, as encoded by the image */
    uint32_t ino;
    int64_t mtime_s;
    uint32_t mtime_ns;
};

/*
 * Reads and checks the superblock. `ret` has read, context and image_bytes set by the caller.
 * ret_why: a sentence for the user when it fails. Errors: -EIO, -EUCLEAN not an EROFS image or a
 * corrupt one, -ENOTSUP a feature that is not supported (compression, chunks, other block sizes).
 */
int erofs_open(struct erofs *ret, const char **ret_why) MUST_CHECK;

/* Errors: -EIO, -EUCLEAN, -ENOTSUP (layout). */
int erofs_inode_read(const struct erofs *fs, uint64_t nid, struct erofs_inode *ret) MUST_CHECK;

/*
 * Where byte `offset` (below inode->bytes) of the contents lies: the byte offset in the image, and
 * how many bytes from there on are contiguous and inside the image.
 */
void erofs_map(const struct erofs_inode *inode, uint64_t offset, uint64_t *ret_image_offset,
               uint64_t *ret_bytes);

/* Reads a part of the contents; it must lie below inode->bytes. Errors: -EIO. */
int erofs_read(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset, void *to,
               size_t bytes) MUST_CHECK;

struct erofs_entry {
    uint64_t nid;
    uint8_t type; /* DT_* as in getdents64(2) */
    uint32_t name_length;
    char name[EROFS_NAME_BYTES_MAX + 1];
};

/*
 * Calls `each` for every entry of a directory, "." and ".." left out, until it returns non-zero,
 * which is then returned. Errors: -ENOTDIR, -EIO, -EUCLEAN.
 */
int erofs_list(const struct erofs *fs, const struct erofs_inode *dir,
               int (*each)(void *context, const struct erofs_entry *entry),
               void *context) MUST_CHECK;

/* Errors: -ENOENT, -ENOTDIR, -EIO, -EUCLEAN. */
int erofs_lookup(const struct erofs *fs, const struct erofs_inode *dir, const char *name,
                 size_t name_length, uint64_t *ret_nid) MUST_CHECK;

#endif
