/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's logged commands: what is decoded must be in range, and encode to the same. */
#include <stdlib.h>
#include <string.h>

#include "controller/core/codec.h"
#include "lib/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct command command;
    static uint8_t again[CODEC_BYTES_MAX];
    if (size > CODEC_BYTES_MAX || command_decode(data, (uint32_t)size, &command) != 0) {
        return 0;
    }
    CHECK(command.kind < COMMAND_KIND_COUNT);
    CHECK(command.extent_count <= CORE_EXTENTS_MAX);
    CHECK(command.node < CORE_NODES_MAX && command.instance < CORE_INSTANCES_MAX);
    CHECK(command_encode(&command, again) == size);
    CHECK(memcmp(again, data, size) == 0);
    return 0;
}
