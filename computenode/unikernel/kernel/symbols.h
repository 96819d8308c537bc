/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the kernel's functions. The build links dilos.elf twice: the first link has an empty
 * table (symbols_none.S), tools/symbols.py makes the table from it, and since the table is the
 * last thing before .data, nothing that it names moves in the second.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_SYMBOLS_H
#define DILOS_UNIKERNEL_KERNEL_SYMBOLS_H

#include <stdint.h>

struct symbol {
    uint32_t address; /* low half; the high half is all ones (the image is in the top 2 GiB) */
    uint32_t name;    /* offset in symbol_names */
};

extern const uint32_t symbol_count;
extern const struct symbol symbol_table[]; /* by address */
extern const char symbol_names[];

/* The function that holds `address`, or NULL. */
const char *symbol_find(uint64_t address, uint64_t *ret_offset);

#endif
