# SPDX-License-Identifier: Apache-2.0
"""The pool that a bench runs over: controller, one memory node reached over shared memory, one
agent, all on this machine, and programs in unikernels on it."""
import os
import re
import sys
import time

from deploy.lab.lab import BUILD, Lab

from .rows import BenchError, Refused, result_line

MIB = 1 << 20
SLAB_BYTES = MIB
LOCAL_BYTES_MIN = 16 * MIB  # below this the agent starts no unikernel
SCRUB_LIMIT_S = 60
# Exit codes of dilosctl for an option that isn't there (2) and a launch that is refused (4), which
# is also what a bench program says when the system lacks what it needs.
REFUSALS = (2, 4)
# What the agent gives to QEMU (computenode/agent/vmm.c): the Linux guest gets the same.
PROCESSORS = {'kvm': 'host', 'tcg': 'max,-erms,-fsrm'}
START_S = time.monotonic()
SOCKET_LINE = re.compile(r'far device queues=\d+ socket=(\S+)')


def progress(text):
    """text, and the seconds since the start."""
    elapsed_s = time.monotonic() - START_S
    print(f'bench: {elapsed_s:.0f} s: {text}', file=sys.stderr, flush=True)


def program(name):
    """The path of a guest program of bench/guest."""
    path = os.path.join(BUILD, 'bench', name)
    if not os.path.exists(path):
        raise Refused(f'{path} was not built. Remedy: deploy/setup --bench, then build again')
    return path


def round_up(value, unit):
    return -(-value // unit) * unit


class Pool:
    """far_bytes: what the memory node lends; an instance needs up to its working set. far_delay_us:
    so much later comes each answer from far memory."""

    def __init__(self, far_bytes, far_delay_us=0):
        self.lab = Lab()
        self.far_delay_us = far_delay_us
        self.far_bytes = round_up(far_bytes, SLAB_BYTES)
        self.launches = 0
        self.accelerator = None
        self.processor = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.lab.close()
            raise
        return self

    def __exit__(self, *_):
        self.lab.close()

    def _start(self):
        self.lab.start_controller()
        self.lab.start_memnode('mn1', memory=f'{self.far_bytes // MIB + 16}M')
        self.lab.start_agent('a1', '--allow-foreign-guests', '--far-delay', str(self.far_delay_us))
        self.lab.wait_up(nodes=1, agents=1)
        self.accelerator = self.lab.json('status')['agents'][0]['accelerator']
        self.processor = PROCESSORS[self.accelerator]

    def run(self, command, local_bytes, far_bytes, flags=(), limit_s=900, may_be_refused=False):
        """Runs a program in a unikernel until its end; returns what it printed. may_be_refused:
        then Refused says that something isn't there, else that is an error as any other."""
        self.launches += 1
        name = f'bench-{self.launches}'
        local_mib = round_up(local_bytes, MIB) // MIB
        far_mib = round_up(far_bytes, MIB) // MIB
        done = self.lab.ctl('launch', '--name', name, '--local-memory', f'{local_mib}M',
                            '--far-memory', f'{far_mib}M', *flags, '--attach', '--exit-status',
                            '--', *command, limit_s=limit_s)
        if done.returncode in REFUSALS and may_be_refused:
            self._forget(name)
            raise Refused(done.stderr.strip())
        if done.returncode != 0:
            raise BenchError(f'{" ".join(command)} in dilos: {done.stderr.strip()}\n{done.stdout}')
        self._forget(name)
        return done.stdout

    def open_device(self, name, memory_bytes, far_bytes):
        """A far device without a unikernel, for a Linux guest. Returns its socket's path."""
        done = self.lab.ctl('launch', '--name', name, '--device-only', '--local-memory',
                            f'{memory_bytes // MIB}M', '--far-memory',
                            f'{round_up(far_bytes, MIB) // MIB}M', '--', 'linux')
        if done.returncode != 0:
            raise BenchError(f'far device for Linux: {done.stderr.strip()}')
        log = self.lab.ctl('logs', name, '--stream', 'kernel').stdout
        found = SOCKET_LINE.search(log)
        if found is None:
            raise BenchError(f'the agent names no socket of the far device:\n{log}')
        return found[1]

    def close_device(self, name):
        self.lab.ctl('stop', name)
        self.lab.wait_until(lambda: self.lab.instance(name)['state'] in ('exited', 'failed'),
                            f'{name} to end')
        self._forget(name)

    def _forget(self, name):
        """The next instance needs the memory that this one had."""
        self.lab.ctl('rm', name)
        self.lab.wait_until(lambda: self.lab.slabs_in_use() == 0, 'all slabs to be free',
                            SCRUB_LIMIT_S)


def checked_result(text, checksum, what):
    """The figures of a program that did its work: refused when its result is another one."""
    result = result_line(text)
    if result is None or result.get('ns', 0) <= 0:
        raise BenchError(f'{what} printed no result: {text[-400:]}')
    if checksum is not None and result.get('checksum') != checksum:
        raise BenchError(f'{what}: checksum {result.get("checksum")}, natively it is {checksum}: '
                         'wrong results give no figure')
    return result
