/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves with the number of its arguments, the program's name not counted. */
#include "tests/boot/guests/guest.h"

int guest_main(int argc, char **argv)
{
    return argc - 1;
}
