/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a stream that were received into the wrong places, to be taken once more. */
#ifndef DILOS_LIB_FABRIC_TCP_STASH_H
#define DILOS_LIB_FABRIC_TCP_STASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/compiler.h"

/* All zero: empty. */
struct tcp_stash {
    uint8_t *data;
    size_t start;
    size_t end;
};

static inline bool tcp_stash_is_empty(const struct tcp_stash *stash)
{
    return stash->data == NULL;
}

/*
 * Copies `bytes` that lie in the iovecs behind the first `skip`; they must lie there. The stash
 * must be empty. Errors: -ENOMEM.
 */
int tcp_stash_put(struct tcp_stash *stash, const struct iovec *iovecs, size_t skip,
                  size_t bytes) MUST_CHECK;
/* As readv(2) from it: fills the iovecs as far as there is something, and returns how much. */
size_t tcp_stash_take(struct tcp_stash *stash, const struct iovec *iovecs, uint32_t count);
void tcp_stash_clear(struct tcp_stash *stash);

#endif
