/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a system call that Linux does not have, twice; ENOSYS is the answer. */
#include "tests/boot/guests/guest.h"

int guest_main(int argc, char **argv)
{
    long first = guest_syscall(4000, 0, 0, 0, 0, 0, 0);
    long second = guest_syscall(4000, 0, 0, 0, 0, 0, 0);
    return first == -38 && second == -38 ? 0 : 1;
}
