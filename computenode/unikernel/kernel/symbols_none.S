/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the first link (symbols.h). */
    .section .symbols, "a", @progbits
    .globl symbol_count, symbol_table, symbol_names
    .balign 8
symbol_count:
    .long 0
    .long 0
symbol_table:
symbol_names:
    .byte 0
    .section .note.GNU-stack, "", @progbits
