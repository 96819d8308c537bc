/* SPDX-License-Identifier: Apache-2.0 */
/* Maps and fills a MiB at a time until the machine has no more, which should end it. */
#include "tests/boot/guests/guest.h"

#define MIB_COUNT_MAX 1000u

int guest_main(int argc, char **argv)
{
    for (uint64_t i = 0; i < MIB_COUNT_MAX; i++) {
        volatile uint8_t *memory = guest_map(1 << 20);
        if ((long)memory < 0) {
            guest_say_number("refused after MiB", i);
            return 3;
        }
        for (uint32_t at = 0; at < 1 << 20; at += 4096) {
            memory[at] = (uint8_t)(i + 1);
        }
        guest_say_number("mapped", i);
    }
    return 0;
}
