/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/iobuf.h"

#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

static void *kernel_address(const struct iobuf *b)
{
    return (void *)(uintptr_t)b->address;
}

static int advance(struct iobuf *b, size_t bytes, int rc)
{
    CHECK(bytes <= b->left);
    if (rc == 0) {
        b->address += bytes;
        b->left -= bytes;
    }
    return rc;
}

int iobuf_put(struct iobuf *b, const void *from, size_t bytes)
{
    if (b->kernel) {
        memcpy(kernel_address(b), from, bytes);
        return advance(b, bytes, 0);
    }
    return advance(b, bytes, copy_to_user(b->address, from, bytes));
}

int iobuf_put_zeros(struct iobuf *b, size_t bytes)
{
    if (b->kernel) {
        memset(kernel_address(b), 0, bytes);
        return advance(b, bytes, 0);
    }
    return advance(b, bytes, clear_user(b->address, bytes));
}

int iobuf_put_window(struct iobuf *b, uint64_t window_va, size_t bytes)
{
    if (b->kernel) {
        return advance(b, bytes, copy_from_window(kernel_address(b), window_va, bytes));
    }
    return advance(b, bytes, copy_pageable(b->address, window_va, bytes));
}

int iobuf_get(struct iobuf *b, void *to, size_t bytes)
{
    if (b->kernel) {
        memcpy(to, kernel_address(b), bytes);
        return advance(b, bytes, 0);
    }
    return advance(b, bytes, copy_from_user(to, b->address, bytes));
}

int iobuf_get_window(struct iobuf *b, uint64_t window_va, size_t bytes)
{
    if (b->kernel) {
        return advance(b, bytes, copy_to_window(window_va, kernel_address(b), bytes));
    }
    return advance(b, bytes, copy_pageable(window_va, b->address, bytes));
}
