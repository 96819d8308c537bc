/* SPDX-License-Identifier: Apache-2.0 */
/* Touches what its first argument says: null, kernel, text, noncanonical; or runs: jump, hlt. */
#include "tests/boot/guests/guest.h"

static uint64_t address_of(const char *what)
{
    switch (what[0]) {
    case 'k':
        return UINT64_C(0xffffffff80100000);
    case 't':
        return (uint64_t)&guest_main;
    case 'n':
        return what[1] == 'o' ? UINT64_C(0x8000000000000000) : 16;
    default:
        return 0;
    }
}

int guest_main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "null";
    if (what[0] == 'h') {
        __asm__ volatile("hlt");
    }
    if (what[0] == 'j') {
        __asm__ volatile("jmp *%0" : : "r"(UINT64_C(0x123456789000)));
    }
    *(volatile uint64_t *)address_of(what) = 1;
    return 0;
}
