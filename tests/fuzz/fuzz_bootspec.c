/* SPDX-License-Identifier: Apache-2.0 */
/* What decodes must encode again, and decode to the same numbers. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/wire/bootspec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bootspec spec, again;
    static uint8_t encoded[BOOTSPEC_BYTES_MAX];
    size_t length;
    if (bootspec_decode(data, size, &spec) != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < spec.argument_count; i++) {
        CHECK(spec.arguments[i].length ==
              strnlen(spec.arguments[i].data, spec.arguments[i].length));
    }
    if (bootspec_encode(&spec, encoded, sizeof(encoded), &length) != 0) {
        return 0;
    }
    CHECK(bootspec_decode(encoded, length, &again) == 0);
    CHECK(again.argument_count == spec.argument_count);
    CHECK(again.environment_count == spec.environment_count);
    CHECK(again.local_bytes == spec.local_bytes);
    CHECK(again.mode == spec.mode);
    return 0;
}
