/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/tcp_stash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

int tcp_stash_put(struct tcp_stash *stash, const struct iovec *iovecs, size_t skip, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    CHECK(tcp_stash_is_empty(stash));
    stash->data = malloc(bytes);
    if (stash->data == NULL) {
        return -ENOMEM;
    }
    size_t done = 0;
    for (uint32_t i = 0; done < bytes; i++) {
        size_t before = MIN(skip, iovecs[i].iov_len);
        size_t length = MIN(iovecs[i].iov_len - before, bytes - done);
        memcpy(stash->data + done, (const uint8_t *)iovecs[i].iov_base + before, length);
        skip -= before;
        done += length;
    }
    stash->start = 0;
    stash->end = bytes;
    return 0;
}

size_t tcp_stash_take(struct tcp_stash *stash, const struct iovec *iovecs, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t part = MIN(iovecs[i].iov_len, stash->end - stash->start);
        memcpy(iovecs[i].iov_base, stash->data + stash->start, part);
        stash->start += part;
        bytes += part;
    }
    if (stash->start == stash->end) {
        tcp_stash_clear(stash);
    }
    return bytes;
}

void tcp_stash_clear(struct tcp_stash *stash)
{
    free(stash->data);
    *stash = (struct tcp_stash){0};
}
