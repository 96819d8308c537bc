# SPDX-License-Identifier: Apache-2.0
"""Test cases that report in TAP: functions named test_*, run in the order of the file."""
import sys
import traceback


class Skip(Exception):
    """Raised by a case that can't be run here; the text says why."""


def diagnose(text):
    for line in str(text).splitlines():
        print('# ' + line)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def expect_equal(got, wanted, what):
    if got != wanted:
        raise AssertionError(f'{what}: got {got!r}, wanted {wanted!r}')


def expect_in(part, whole, what):
    if part not in whole:
        raise AssertionError(f'{what}: {part!r} is not in {whole!r}')


def run(module_globals, *arguments, on_failure=None):
    """Runs all test_* functions with the arguments; exits with 0 if none failed."""
    cases = [(name, function) for name, function in module_globals.items()
             if name.startswith('test_') and callable(function)]
    chosen = sys.argv[1:]
    cases = [case for case in cases if not chosen or case[0] in chosen]
    print(f'1..{len(cases)}', flush=True)
    failed = 0
    for number, (name, function) in enumerate(cases, 1):
        try:
            function(*arguments)
            print(f'ok {number} - {name}', flush=True)
        except Skip as skip:
            print(f'ok {number} - {name} # SKIP {skip}', flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            diagnose(traceback.format_exc())
            if on_failure is not None:
                diagnose(on_failure())
            print(f'not ok {number} - {name}', flush=True)
    return 1 if failed else 0
