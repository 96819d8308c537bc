/* SPDX-License-Identifier: Apache-2.0 */
/* Who called whom, by frame pointers. Any context. */
#ifndef DILOS_UNIKERNEL_KERNEL_BACKTRACE_H
#define DILOS_UNIKERNEL_KERNEL_BACKTRACE_H

#include <stddef.h>
#include <stdint.h>

/* The next backtrace starts at an interrupted place, not at its caller. */
void backtrace_start_at(uint64_t rip, uint64_t rbp);

/*
 * Writes one line for each frame, "  at 0x... name+0x...". The name comes from the table that the
 * build puts into the image (tools/symbols.py); `addr2line -e dilos.elf` gives file and line.
 * Returns the length; the text is ended by a NUL and cut where `to` ends.
 */
size_t backtrace_format(char *to, size_t capacity);

#endif
