/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of records, as the agent reads it: header, body, and bodies decoded. */
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

static void take_answer(uint16_t type, const uint8_t *body, uint32_t length)
{
    struct ctl_tuned tuned;
    struct ctl_resized resized;
    if (type == CTL_TUNED && ctl_tuned_decode(body, length, &tuned) == 0) {
        CHECK(tuned.status <= 0);
        CHECK(tuned.text_length == length - 4);
    }
    if (type == CTL_RESIZED && ctl_resized_decode(body, length, &resized) == 0) {
        CHECK(resized.status <= 0);
        CHECK(length == CTL_RESIZED_BYTES);
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
        take_answer(header.type, data, header.length);
        data += header.length;
        size -= header.length;
    }
    return 0;
}
