#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts programs into an EROFS image: pack.py MKFS OUTPUT PROGRAM...; guest-NAME becomes /NAME."""
import os
import shutil
import subprocess
import sys
import tempfile

mkfs, output, *programs = sys.argv[1:]
with tempfile.TemporaryDirectory() as root:
    for folder in ("dev", "proc", "tmp"):
        os.mkdir(os.path.join(root, folder))
    with open(os.path.join(root, "not-an-elf"), "w") as text:
        text.write("just text\n")
    os.chmod(os.path.join(root, "not-an-elf"), 0o755)
    for program in programs:
        shutil.copy(program, os.path.join(root, os.path.basename(program).removeprefix("guest-")))
    subprocess.run([mkfs, "-T0", output, root], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
