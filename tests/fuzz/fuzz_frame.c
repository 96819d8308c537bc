/* SPDX-License-Identifier: Apache-2.0 */
/* A header that is accepted is encoded again to the same bytes. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_header header;
    uint8_t again[FRAME_HEADER_BYTES];
    if (size < FRAME_HEADER_BYTES || frame_decode(data, &header) != 0) {
        return 0;
    }
    frame_encode(&header, again);
    CHECK(memcmp(again, data, sizeof(again)) == 0);
    return 0;
}
