/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the decoder of the verbs fabric's messages accepts must encode to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "lib/wire/verbsop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned to_node = 0; to_node < 2 && size >= VERBSOP_BYTES; to_node++) {
        uint8_t again[VERBSOP_BYTES];
        struct verbsop_message message;
        if (verbsop_decode(data, to_node != 0, &message) == 0) {
            verbsop_encode(&message, to_node != 0, again);
            if (memcmp(again, data, sizeof(again)) != 0) {
                abort();
            }
        }
    }
    return 0;
}
