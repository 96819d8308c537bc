# SPDX-License-Identifier: Apache-2.0
"""Runs TAP programs where there are verbs: on this machine if it has a device, else in the VM.

usage: run.py [--limit SECONDS] 'PROGRAM ARGUMENT...'...

PROGRAM is relative to the build folder (or, for .py, to the source folder). All programs run one
after the other; their cases become one TAP stream.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vm  # noqa: E402

CASE = re.compile(r'(ok|not ok) \d+ - (.*)')


class Merger:
    """Cases of several streams under one numbering."""

    def __init__(self):
        self.count = self.failed = 0
        self.part = ''
        self.part_count = 0

    def line(self, line):
        case = CASE.fullmatch(line)
        if line.startswith('@@PART '):
            self.part, self.part_count = line[7:], 0
        elif line.startswith('@@END '):
            status = int(line[6:])
            if self.part_count == 0 or status not in (0, 1):
                self.case(False, f'{self.part} ended with status {status} after '
                          f'{self.part_count} cases')
        elif case:
            self.case(case[1] == 'ok', f'{self.part}: {case[2]}')
        elif not re.fullmatch(r'1\.\.\d+', line):
            print('# ' + line, flush=True)

    def case(self, good, name):
        self.count += 1
        self.part_count += 1
        self.failed += 0 if good else 1
        print(f'{"ok" if good else "not ok"} {self.count} - {name}', flush=True)


def command(text):
    program, *arguments = shlex.split(text)
    if program.endswith('.py'):
        return [sys.executable, os.path.join(vm.SOURCE, program), *arguments]
    return [os.path.join(vm.BUILD, program), *arguments]


def script(programs):
    """A shell script that says where each program's output begins and ends."""
    lines = []
    for text in programs:
        words = ' '.join(shlex.quote(word) for word in command(text))
        name = os.path.basename(text.split()[0]) + ' '.join([''] + text.split()[1:3])
        lines += [f'echo "@@PART {name}"', f'{words} 2>&1', 'echo "@@END $?"']
    return '\n'.join(lines) + '\n'


def run_here(text, limit_s, merger):
    done = subprocess.run(['sh', '-c', text], stdout=subprocess.PIPE, text=True, errors='replace',
                          timeout=limit_s, check=False)
    for line in done.stdout.splitlines():
        merger.line(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--limit', type=int, default=240)
    parser.add_argument('programs', nargs='+')
    arguments = parser.parse_args()
    merger = Merger()
    text = script(arguments.programs)
    devices = '/sys/class/infiniband'
    try:
        if os.path.isdir(devices) and os.listdir(devices):
            run_here(text, arguments.limit, merger)
        else:
            vm.run(['sh', '-c', text], arguments.limit, on_line=merger.line)
    except vm.Unavailable as reason:
        print(f'1..0 # SKIP {reason}')
        return 0
    except (vm.Ended, subprocess.TimeoutExpired) as reason:
        for line in str(reason).splitlines():
            print('# ' + line)
        merger.case(False, 'the machine came to the end of its job')
    print(f'1..{merger.count}')
    return 1 if merger.failed else 0


if __name__ == '__main__':
    sys.exit(main())
