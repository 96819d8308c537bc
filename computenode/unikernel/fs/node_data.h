/* SPDX-License-Identifier: Apache-2.0 */
/* Contents of regular files: what the image holds, with the pages that were written above it. */
#ifndef DILOS_UNIKERNEL_FS_NODE_DATA_H
#define DILOS_UNIKERNEL_FS_NODE_DATA_H

#include <stdint.h>

#include "computenode/unikernel/fs/iobuf.h"
#include "computenode/unikernel/fs/node.h"

/*
 * Moves up to b->left bytes between the file at `offset` and the buffer; the count moved (short at
 * the end of the file, or when an error comes after the first bytes). Errors: -EFAULT, -EIO,
 * -ENOSPC, -ENOMEM, -EFBIG.
 */
int64_t node_read(struct node *n, uint64_t offset, struct iobuf *b);
int64_t node_write(struct node *n, uint64_t offset, struct iobuf *b);

/* Errors: -EFBIG, -EIO, -ENOSPC, -ENOMEM. */
int node_truncate(struct node *n, uint64_t bytes) MUST_CHECK;

/* Reads into kernel memory; exactly `bytes`, else -ENOEXEC (the file is shorter) or -EIO. */
int node_read_exact(struct node *n, uint64_t offset, void *to, size_t bytes) MUST_CHECK;

/* Makes zeros (fallocate punch hole / zero range) or memory (allocate) of a range. */
int node_zero_range(struct node *n, uint64_t offset, uint64_t bytes) MUST_CHECK;
int node_allocate(struct node *n, uint64_t offset, uint64_t bytes) MUST_CHECK;

/*
 * Makes every page of the file mappable shared and writable, from now on and as it grows.
 * Errors: -ENOSPC, -ENOMEM, -EIO.
 */
int node_share(struct node *n) MUST_CHECK;

extern const struct mm_backing_ops node_backing_ops;

#endif
