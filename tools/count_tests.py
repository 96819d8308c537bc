#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the single cases in the test logs of meson, names what failed and why what was skipped,
and ends with "N passed, N failed, N skipped". Exit status 1 if anything failed or nothing ran.

A program that crashed, timed out, or ended with an error without a failed case counts as one
failure more: a test that can't finish has not passed.
"""
import json
import re
import sys

CASE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*-?\s*([^#]*)(?:#\s*(SKIP)\b\s*(.*))?", re.I)
PLAN_SKIP = re.compile(r"^1\.\.0\s*#\s*SKIP\b\s*(.*)", re.I)


def count_test(test):
    """(passed, [failed names], [(skipped name, reason)]) of one test program."""
    passed, failed, skipped = 0, [], []
    for line in test.get("stdout", "").splitlines():
        whole = PLAN_SKIP.match(line)
        if whole:
            skipped.append(("all", whole.group(1) or "no reason given"))
            continue
        case = CASE.match(line)
        if not case:
            continue
        name = case.group(3).strip() or case.group(2) or "?"
        if case.group(4):
            skipped.append((name, case.group(5).strip() or "no reason given"))
        elif case.group(1):
            failed.append(name)
        else:
            passed += 1
    result = test["result"]
    if result in ("OK", "EXPECTEDFAIL") and not passed and not skipped and not failed:
        passed = 1  # not TAP: the exit status was the result
    if result == "SKIP" and not skipped:
        skipped.append(("all", "exit status 77"))
    if result not in ("OK", "SKIP", "EXPECTEDFAIL") and not failed:
        failed.append(f"({result.lower()}, exit status {test.get('returncode')})")
    return passed, failed, skipped


def main(paths):
    passed, failed, skipped = 0, [], []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as log:
                tests = [json.loads(line) for line in log if line.strip()]
        except OSError as error:
            failed.append(f"{path}: no test log: {error.strerror}")
            continue
        if not tests:
            failed.append(f"{path}: no test ran")
        for test in tests:
            where = f"{path.split('/')[0]}: {test['name']}"
            p, f, s = count_test(test)
            passed += p
            failed += [f"{where}: {name}" for name in f]
            skipped += [(f"{where}: {name}", reason) for name, reason in s]
    for name, reason in skipped:
        print(f"skipped  {name}: {reason}")
    for name in failed:
        print(f"FAILED   {name}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
