/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a page-operation decoder accepts must encode to the same bytes again. */
#include <stdlib.h>
#include <string.h>

#include "lib/wire/pageop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_same(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    if (memcmp(a, b, bytes) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[PAGEOP_REQUEST_BYTES];
    struct pageop_request request;
    struct pageop_reply reply;
    struct pageop_attach attach;
    if (size >= PAGEOP_HELLO_BYTES && pageop_hello_decode(data) == 0) {
        pageop_hello_encode(again);
        expect_same(again, data, PAGEOP_HELLO_BYTES);
    }
    if (size >= PAGEOP_REQUEST_BYTES && pageop_request_decode(data, &request) == 0) {
        pageop_request_encode(&request, again);
        expect_same(again, data, PAGEOP_REQUEST_BYTES);
    }
    if (size >= PAGEOP_REPLY_BYTES && pageop_reply_decode(data, &reply) == 0) {
        pageop_reply_encode(&reply, again);
        expect_same(again, data, PAGEOP_REPLY_BYTES);
    }
    if (size >= PAGEOP_ATTACH_BYTES) {
        pageop_attach_decode(data, &attach);
        pageop_attach_encode(&attach, again);
        expect_same(again, data, PAGEOP_ATTACH_BYTES);
    }
    return 0;
}
