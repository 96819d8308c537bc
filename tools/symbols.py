#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the kernel's table of function names (computenode/unikernel/kernel/symbols.h).

usage: symbols.py NM STAGE1_ELF OUTPUT_S
"""
import re
import subprocess
import sys

# What gcc appends to the names of copies and parts of a function.
COPY = re.compile(r"\.(lto_priv|isra|constprop|part|cold|localalias)\b.*")


def text_symbols(nm, elf):
    listing = subprocess.run([nm, elf], check=True, capture_output=True, text=True).stdout
    found = {}
    for line in listing.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "tTwW" and int(fields[0], 16) >= 0xffffffff80000000:
            found.setdefault(int(fields[0], 16), COPY.sub("", fields[2]))
    return sorted(found.items())


def main():
    nm, elf, output = sys.argv[1:]
    symbols = text_symbols(nm, elf)
    with open(output, "w") as out:
        out.write('    .section .symbols, "a", @progbits\n')
        out.write("    .globl symbol_count, symbol_table, symbol_names\n    .balign 8\n")
        out.write(f"symbol_count:\n    .long {len(symbols)}, 0\nsymbol_table:\n")
        offset = 0
        for address, name in symbols:
            out.write(f"    .long {address & 0xffffffff:#x}, {offset}\n")
            offset += len(name) + 1
        out.write("symbol_names:\n")
        for _, name in symbols:
            out.write(f'    .asciz "{name}"\n')
        out.write('    .section .note.GNU-stack, "", @progbits\n')


main()
