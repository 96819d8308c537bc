/* SPDX-License-Identifier: Apache-2.0 */
/* Says that it is there, then computes for ever, or (with an argument) waits for input for ever. */
#include "tests/boot/guests/guest.h"

int guest_main(int argc, char **argv)
{
    char byte;
    guest_say("spinning\n");
    while (argc == 1) {
    }
    return (int)guest_syscall(SYS_READ, 0, (long)&byte, 1, 0, 0, 0);
}
