# SPDX-License-Identifier: Apache-2.0
"""TAP for the boot tests."""
import sys


def run(cases):
    """cases: (name, function) where function returns (is it good, what to show if not), or a text:
    why it is skipped. Ends the program."""
    failed = count = 0
    for name, function in cases:
        count += 1
        result = function()
        if isinstance(result, str):
            print(f"ok {count} - {name} # SKIP {result}", flush=True)
            continue
        good, detail = result
        if not good:
            failed += 1
            for line in str(detail).splitlines():
                print(f"# {line}")
        print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    print(f"1..{count}")
    sys.exit(1 if failed else 0)
