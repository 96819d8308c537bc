/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of a read or write: a range of user memory, or of kernel memory for reads that the
 * kernel does for itself. Each function moves `bytes` (at most what is left) and advances.
 *
 * Context: not in fault context; user memory may page, so no lock and no half-changed structure
 * may be held. All give 0 or -EFAULT.
 */
#ifndef DILOS_UNIKERNEL_FS_IOBUF_H
#define DILOS_UNIKERNEL_FS_IOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

struct iobuf {
    uint64_t address;
    uint64_t left; /* bytes */
    bool kernel;   /* address is a kernel address */
};

/* Into the buffer, from kernel memory; zeros; from the pageable kernel window. */
int iobuf_put(struct iobuf *b, const void *from, size_t bytes) MUST_CHECK;
int iobuf_put_zeros(struct iobuf *b, size_t bytes) MUST_CHECK;
int iobuf_put_window(struct iobuf *b, uint64_t window_va, size_t bytes) MUST_CHECK;
/* Out of the buffer, to kernel memory; to the pageable kernel window. */
int iobuf_get(struct iobuf *b, void *to, size_t bytes) MUST_CHECK;
int iobuf_get_window(struct iobuf *b, uint64_t window_va, size_t bytes) MUST_CHECK;

#endif
