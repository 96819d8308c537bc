/* SPDX-License-Identifier: Apache-2.0 */
/* Writes its arguments, a line each, to standard output; then a line to standard error. */
#include "tests/boot/guests/guest.h"

int guest_main(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        guest_say(argv[i]);
        guest_say("\n");
    }
    return guest_write(2, "to stderr\n", 10) == 10 ? 0 : 1;
}
