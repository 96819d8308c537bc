#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The counting of deploy/test, held against logs that were written by hand."""
import json
import os
import subprocess
import sys
import tempfile

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "count_tests.py")
CASES = []


def count(*tests):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "testlog.json")
        with open(path, "w", encoding="utf-8") as log:
            for test in tests:
                log.write(json.dumps(test) + "\n")
        done = subprocess.run([sys.executable, TOOL, path], capture_output=True, text=True,
                              timeout=60, check=False)
    return done.stdout.splitlines()[-1], done.returncode


def case(name, got, wanted):
    CASES.append(got == wanted)
    print(f"{'ok' if got == wanted else 'not ok'} {len(CASES)} - {name}")
    if got != wanted:
        print(f"#   got {got}, wanted {wanted}")


def log(stdout, result="OK", returncode=0):
    return {"name": "t", "stdout": stdout, "result": result, "returncode": returncode}


case("each case counts", count(log("1..2\nok 1 - a\nok 2 - b\n")),
     ("2 passed, 0 failed, 0 skipped", 0))
case("a failed case fails all", count(log("ok 1 - a\nnot ok 2 - b\n", "FAIL", 1)),
     ("1 passed, 1 failed, 0 skipped", 1))
case("skips are no passes", count(log("ok 1 - a\nok 2 - b # SKIP no KVM\n")),
     ("1 passed, 0 failed, 1 skipped", 0))
case("a crash after good cases fails", count(log("ok 1 - a\n", "ERROR", -11)),
     ("1 passed, 1 failed, 0 skipped", 1))
case("a time-out fails", count(log("", "TIMEOUT", None)), ("0 passed, 1 failed, 0 skipped", 1))
case("nothing run is a failure", count(), ("0 passed, 1 failed, 0 skipped", 1))
case("only skips is a failure", count(log("1..0 # SKIP no QEMU\n", "SKIP")),
     ("0 passed, 0 failed, 1 skipped", 1))
print(f"1..{len(CASES)}")
sys.exit(0 if all(CASES) else 1)
