#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a C array of system call names by number, from the system's own <asm/unistd_64.h>.

usage: syscall_names.py CC OUTPUT
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
    sys.exit("syscall_names.py: <asm/unistd_64.h> names only %d system calls" % len(names))
with open(output, "w") as f:
    for number in sorted(names):
        f.write('[%d] = "%s",\n' % (number, names[number]))
