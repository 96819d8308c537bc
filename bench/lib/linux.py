# SPDX-License-Identifier: Apache-2.0
"""A Linux guest as the baseline: Debian's kernel in QEMU with the accelerator, processor and vCPUs
that the agent gives to its unikernels, swapping to the same far-memory device through the same
agent (`dilosctl launch --device-only`), or to zram, or not at all.

The program runs in a memory cgroup: memory.max is the number of bytes that it may have in memory.
Linux's own memory doesn't count there, and its VM has enough of it; the unikernel's own memory is
part of its local memory.
"""
import os
import re
import shlex
import shutil
import subprocess
import tempfile

from . import cpio
from .kernel import Kernel
from .rows import BenchError

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
MODULES = ('virtio_pci', 'virtio_blk', 'zram')
MEMORY_FREE = 384 * MIB   # for the kernel, the initramfs while it is unpacked, and to be idle
BOOT_LIMIT_S = 120
SWAP_FAR, SWAP_ZRAM, SWAP_NONE = 'far', 'zram', 'none'
END_LINE = re.compile(r'@end (\S+) status=(\d+) peak=(\d+) pswpin=(\d+) pswpout=(\d+) '
                      r'pgmajfault=(\d+)')


class Job:
    """One run of a program. local_bytes: the limit of its memory; 0: none. huge_pages: are
    transparent ones used?"""

    def __init__(self, name, command, local_bytes=0, page_cluster=3, environment=(),
                 huge_pages=False):
        self.name = name
        self.command = command
        self.local_bytes = local_bytes
        self.page_cluster = page_cluster
        self.environment = tuple(environment)
        self.huge_pages = huge_pages

    def line(self):
        limit = str(self.local_bytes) if self.local_bytes else 'max'
        words = ['job', self.name, limit, str(self.page_cluster),
                 'always' if self.huge_pages else 'never']
        words += ['env', *self.environment] if self.environment else []
        return ' '.join(shlex.quote(word) for word in words + self.command)


class Outcome:
    """What became of a job."""

    def __init__(self, output, status=None, figures=(0, 0, 0, 0)):
        self.output = output
        self.status = status
        self.peak_bytes, self.pages_in, self.pages_out, self.major_faults = figures


def parse(text):
    """({job name: Outcome}, [error lines]) of what a guest said on its serial port."""
    outcomes, errors = {}, []
    name, lines = None, []
    for line in text.replace('\r', '').split('\n'):
        end = END_LINE.search(line)
        if line.startswith('@begin '):
            name, lines = line.split()[1], []
        elif end is not None and end[1] == name:
            outcomes[name] = Outcome('\n'.join(lines), int(end[2]),
                                     tuple(int(end[i]) for i in (3, 4, 5, 6)))
            name = None
        elif line.startswith('@error'):
            errors.append(line)
        elif name is not None:
            lines.append(line)
    if name is not None:
        outcomes[name] = Outcome('\n'.join(lines))
    return outcomes, errors


class LinuxGuests:
    """Boots guests for one bench. pool: lib.pool.Pool. files: {name in the guest: path here}."""

    def __init__(self, pool, files):
        self.kernel = Kernel()
        self.pool = pool
        self.folder = tempfile.mkdtemp(prefix='dilos-linux-', dir=pool.lab.folder)
        self.base = os.path.join(self.folder, 'base.cpio')
        self.boots = 0
        self._write_base(files)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_base(self, files):
        paths = self.kernel.with_needed(MODULES)
        with open(self.base, 'wb') as out:
            archive = cpio.Archive(out)
            for name in ('bin', 'dev', 'proc', 'sys', 'modules', 'bench', 'tmp'):
                archive.folder(name)
            archive.device('dev/console', 5, 1)
            archive.file('bin/busybox', self.kernel.busybox)
            archive.link('bin/sh', 'busybox')
            archive.file('init', os.path.join(HERE, 'linux_init.sh'))
            for path in paths:
                archive.file('modules/' + os.path.basename(path), path)
            for name, path in sorted(files.items()):
                archive.file('bench/' + name, path)
            archive.close()
        self.module_files = [os.path.basename(path) for path in paths]

    def _write_jobs(self, path, jobs, module_options):
        order = ''.join(f'{name} {module_options.get(name, "")}\n' for name in self.module_files)
        with open(path, 'wb') as out, open(self.base, 'rb') as base:
            shutil.copyfileobj(base, out)
            out.write(b'\0' * (-out.tell() % 512))
            archive = cpio.Archive(out)
            archive.data('modules/order', order.encode())
            archive.data('jobs', ''.join(job.line() + '\n' for job in jobs).encode())
            archive.close()

    def command(self, initramfs, serial, memory_bytes, vcpus, append, far_socket):
        mib = memory_bytes // MIB
        command = [
            'qemu-system-x86_64', '-M', 'q35,memory-backend=mem',
            '-accel', self.pool.accelerator, '-cpu', self.pool.processor, '-smp', str(vcpus),
            '-m', f'{mib}M', '-object',
            f'memory-backend-memfd,id=mem,size={mib}M,share=on,prealloc=on',
            '-nodefaults', '-no-user-config', '-nographic', '-no-reboot',
            '-serial', f'file:{serial}', '-kernel', self.kernel.image, '-initrd', initramfs,
            '-append', append]
        if far_socket is not None:
            command += ['-chardev', f'socket,id=far,path={far_socket}', '-device',
                        'vhost-user-blk-pci,chardev=far,num-queues=4,disable-legacy=on']
        return command

    def run(self, jobs, swap, swap_bytes, vcpus=1, words=(), module_options=None, limit_s=600):
        """Boots once and runs the jobs one after the other. Returns {job name: Outcome}."""
        self.boots += 1
        name = f'linux-{self.boots}'
        initramfs = os.path.join(self.folder, f'{name}.cpio')
        serial = os.path.join(self.folder, f'{name}.serial')
        self._write_jobs(initramfs, jobs, module_options or {})
        zram = swap_bytes if swap == SWAP_ZRAM else 0
        memory = (MEMORY_FREE + 2 * os.path.getsize(initramfs) + zram
                  + max(job.local_bytes or swap_bytes for job in jobs)) // MIB * MIB
        append = ' '.join(['console=ttyS0', 'quiet', 'mitigations=off', 'panic=-1',
                           f'bench.swap={swap}', f'bench.swap_kib={swap_bytes // 1024}', *words])
        far = None
        try:
            if swap == SWAP_FAR:
                far = self.pool.open_device(name, memory, swap_bytes)
            self._boot(self.command(initramfs, serial, memory, vcpus, append, far), name,
                       BOOT_LIMIT_S + limit_s)
        finally:
            if far is not None:
                self.pool.close_device(name)
            os.unlink(initramfs)
        return self._outcomes(serial, jobs)

    def _boot(self, command, name, limit_s):
        log = os.path.join(self.folder, f'{name}.log')
        with open(log, 'wb') as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       cwd=self.folder)
            try:
                status = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                raise BenchError(f'the Linux guest did not end within {limit_s} s: '
                                 + _tail(os.path.join(self.folder, f'{name}.serial'))) from None
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if status != 0:
            raise BenchError(f'QEMU ended with {status}: {_tail(log)}')

    @staticmethod
    def _outcomes(serial, jobs):
        with open(serial, encoding='utf-8', errors='replace') as f:
            text = f.read()
        outcomes, errors = parse(text)
        if errors or '@ready' not in text:
            raise BenchError(f'the Linux guest did not come up: {"; ".join(errors)}\n'
                             + _tail(serial))
        for job in jobs:
            outcome = outcomes.get(job.name)
            if outcome is None or outcome.status != 0:
                status = 'no status' if outcome is None else f'status {outcome.status}'
                said = '' if outcome is None else outcome.output[-400:]
                raise BenchError(f'job {job.name} in Linux ended with {status}: {said}')
        return outcomes


def _tail(path, lines=15):
    try:
        with open(path, encoding='utf-8', errors='replace') as f:
            return '\n'.join(f.read().splitlines()[-lines:])
    except FileNotFoundError:
        return 'it said nothing'
