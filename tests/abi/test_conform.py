#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs conformance programs natively and in the unikernel; every check must hold in both.

usage: test_conform.py PROGRAM...
"""
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import image  # noqa: E402


class Tap:
    """Puts the cases of several runs under one count."""

    def __init__(self):
        self.count = self.failed = 0

    def case(self, ok, name, detail=""):
        self.count += 1
        self.failed += 0 if ok else 1
        for line in "" if ok else detail.splitlines():
            print(f"# {line}")
        print(f"{'ok' if ok else 'not ok'} {self.count} - {name}", flush=True)

    def take(self, where, text):
        """One program's output; whether it was complete."""
        detail, cases = [], 0
        for line in text.splitlines():
            match = re.match(r"(not )?ok \d+ - (.*)", line)
            if match:
                self.case(not match[1], f"{where}: {match[2]}", "\n".join(detail))
                detail, cases = [], cases + 1
            elif line.startswith("#"):
                detail.append(line[2:])
        plan = re.search(r"^1\.\.(\d+)$", text, re.M)
        return plan is not None and int(plan[1]) == cases


def main():
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="dilos-conform-") as folder:
        for program in map(os.path.abspath, sys.argv[1:]):
            name = os.path.basename(program)
            native = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, timeout=60, check=False)
            complete = tap.take(f"{name} native", native.stdout)
            tap.case(complete and native.returncode == 0, f"{name} native: all of it",
                     native.stdout + native.stderr)
            root = image.make(f"{folder}/root.img", [program])
            got = guest.run([program], root, ["PATH=/usr/bin:/bin", "HOME=/"], memory="128M")
            complete = tap.take(f"{name} unikernel", got.out.decode(errors="replace"))
            tap.case(complete and (got.kind, got.code) == ("exited", 0),
                     f"{name} unikernel: all of it", str(got))
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
