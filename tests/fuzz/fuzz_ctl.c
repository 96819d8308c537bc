/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of records, as the agent reads it: header, body, and bodies of CTL_EXIT decoded. */
#include "lib/base/check.h"
#include "lib/wire/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_exit(const uint8_t *body, uint32_t length)
{
    struct ctl_exit exit;
    if (ctl_exit_decode(body, length, &exit) == 0) {
        CHECK(exit.kind <= CTL_PANIC);
        CHECK(exit.reason_length == length - 8);
        CHECK(exit.reason_length == 0 || exit.reason == (const char *)body + 8);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ctl_header header;
    while (size >= CTL_HEADER_BYTES && ctl_header_decode(data, &header) == 0) {
        CHECK(header.length <= CTL_BODY_BYTES_MAX);
        data += CTL_HEADER_BYTES;
        size -= CTL_HEADER_BYTES;
        if (header.length > size) {
            break;
        }
        if (header.type == CTL_EXIT) {
            take_exit(data, header.length);
        }
        data += header.length;
        size -= header.length;
    }
    return 0;
}
