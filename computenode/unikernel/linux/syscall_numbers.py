#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a header with numbers and names of all system calls, from <asm/unistd_64.h>.

usage: syscall_numbers.py CC OUTPUT
"""
import re
import subprocess
import sys

compiler, output = sys.argv[1:3]
macros = subprocess.run(
    [compiler, "-E", "-dM", "-xc", "-"],
    input="#include <asm/unistd_64.h>\n",
    capture_output=True, text=True, check=True).stdout
names = {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)$", macros, re.M)}
if len(names) < 300:
    sys.exit("syscall_numbers.py: <asm/unistd_64.h> names only %d system calls" % len(names))
with open(output, "w") as f:
    f.write("/* SPDX-License-Identifier: Apache-2.0 */\n"
            "#ifndef DILOS_SYSCALL_NUMBERS_H\n#define DILOS_SYSCALL_NUMBERS_H\n")
    f.write("".join("#define NR_%s %d\n" % (names[n], n) for n in sorted(names)))
    f.write("#define SYSCALL_NAMES(X) " +
            " ".join("X(%d, %s)" % (n, names[n]) for n in sorted(names)) + "\n#endif\n")
