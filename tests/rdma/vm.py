# SPDX-License-Identifier: Apache-2.0
"""A VM with real verbs and no RDMA card: Debian's kernel with Soft-RoCE (rdma_rxe) under QEMU.

    status, text = run(['tests/rdma/rdma_guest.py'], limit_s=120)

The VM's root is this machine's own root, read-only through 9p with a tmpfs over it, so whatever is
installed and built here runs there, and nothing that it writes comes back. The kernel comes from
Debian's package, which is fetched (not installed) into a cache. Unavailable says why there is none.
"""
import glob
import os
import re
import shlex
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = os.environ.get('DILOS_SOURCE') or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('DILOS_BUILD') or os.path.join(SOURCE, 'build')
CACHE = os.environ.get('DILOS_CACHE') or os.path.join(
    os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'dilos')
META_PACKAGE = 'linux-image-amd64'
FETCH_LIMIT_S = 180
BUSYBOX = '/bin/busybox'
MEMORY = '1536M'
# Of itself Linux takes the HPET as clock under emulation: a system call and a device for each look.
KERNEL_WORDS = ('console=ttyS0 loglevel=5 panic=-1 mitigations=off '
                'tsc=reliable clocksource=tsc')
# 4,200 bytes carry a RoCE MTU of 4,096.
LINK_MTU = 4200
DEVICES = (('rxe0', 'dummy0', '10.77.0.1'), ('rxe1', 'dummy1', '10.77.1.1'))
MODULES = ('virtio_pci', '9pnet_virtio', '9p', 'overlay', 'crc32_generic', 'ib_core', 'ib_uverbs',
           'rdma_rxe', 'rdma_cm', 'rdma_ucm', 'dummy', 'veth')


class Unavailable(Exception):
    """This machine can't start the VM; the text says why and what to do."""


# ---- the kernel


def _kernel_package():
    done = subprocess.run(['apt-cache', 'depends', META_PACKAGE], capture_output=True, text=True,
                          check=False)
    found = re.search(r'Depends: (linux-image-[0-9]\S*-amd64)$', done.stdout, re.M)
    return found[1] if found else None


def _cached():
    """The newest kernel in the cache: (folder with the extracted package, its version)."""
    found = sorted(glob.glob(os.path.join(CACHE, 'linux-image-*', 'boot', 'vmlinuz-*')),
                   key=os.path.getmtime)
    if not found:
        return None
    return os.path.dirname(os.path.dirname(found[-1])), os.path.basename(found[-1])[8:]


def fetch_kernel():
    """Fetches and unpacks Debian's kernel into the cache unless one is there."""
    if _cached():
        return _cached()
    if not shutil.which('apt-get') or not shutil.which('dpkg-deb'):
        raise Unavailable('no apt-get here: the kernel is taken from Debian')
    package = _kernel_package()
    if package is None:
        raise Unavailable(f'apt knows no {META_PACKAGE}; remedy: apt-get update')
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        try:
            done = subprocess.run(['apt-get', 'download', '-qq', package], cwd=folder,
                                  capture_output=True, text=True, timeout=FETCH_LIMIT_S,
                                  check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f'apt-get download {package}: no end') from None
        packages = glob.glob(os.path.join(folder, '*.deb'))
        if done.returncode != 0 or not packages:
            reason = (done.stderr.strip().splitlines() or ['no reason given'])[-1]
            raise Unavailable(f'apt-get download {package} failed: {reason}')
        unpacked = os.path.join(folder, 'unpacked')
        subprocess.run(['dpkg-deb', '-x', packages[0], unpacked], check=True)
        try:
            os.rename(unpacked, os.path.join(CACHE, package))
        except OSError:
            pass  # another process was faster
    if not _cached():
        raise Unavailable(f'{package} holds no kernel')
    return _cached()


def _module_index(root, version):
    """name -> path of each module."""
    index = {}
    for folder, _, files in os.walk(os.path.join(root, 'lib/modules', version)):
        for name in files:
            if name.endswith('.ko'):
                index[name[:-3].replace('-', '_')] = os.path.join(folder, name)
    return index


def _module_order(index, wanted):
    """Paths of the wanted modules and what they depend on, dependencies first."""
    order, seen = [], set()

    def add(name):
        name = name.replace('-', '_')
        if name in seen or name not in index:
            return  # what isn't there is built in
        seen.add(name)
        with open(index[name], 'rb') as f:
            depends = re.search(rb'\0depends=([^\0]*)\0', f.read())
        for other in (depends[1].decode().split(',') if depends and depends[1] else []):
            add(other)
        order.append(index[name])

    for name in wanted:
        add(name)
    return order


# ---- the initial RAM disk


class Archive:
    """A cpio archive in the "newc" format (Linux, driver-api/early-userspace/buffer-format)."""

    def __init__(self):
        self.data = bytearray()
        self.count = 0

    def _entry(self, name, mode, body=b''):
        self.count += 1
        path = name.encode() + b'\0'
        fields = (self.count, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(path), 0)
        self.data += b'070701' + b''.join(b'%08x' % field for field in fields) + path
        self.data += bytes(-len(self.data) % 4) + body
        self.data += bytes(-len(self.data) % 4)

    def folder(self, name):
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, body, mode=0o644):
        self._entry(name, stat.S_IFREG | mode, body)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def finish(self):
        self._entry('TRAILER!!!', 0)
        return bytes(self.data)


INIT = r'''#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules/order); do
    insmod /modules/$module || echo "# insmod $module failed"
done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose host /lower &&
mount -t tmpfs -o size=75% upper /upper && mkdir /upper/data /upper/work &&
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /root ||
    { echo "# the root can't be mounted"; poweroff -f; }
for folder in dev proc sys; do mount --move /$folder /root/$folder; done
for folder in run tmp.vm dev/shm; do
    mkdir -p /root/$folder; mount -t tmpfs tmpfs /root/$folder
done
mkdir -p /root/dev/pts; mount -t devpts devpts /root/dev/pts
ip link set lo up
cp /job /root/tmp.vm/job
chroot /root /bin/sh /tmp.vm/job
echo "@@STATUS $?"
poweroff -f
'''


def _job(argv, environment):
    """What runs in the VM: the links, their devices, then the program."""
    lines = ['export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root',
             'ulimit -l unlimited; ulimit -n 65536']
    for device, link, address in DEVICES:
        lines += [f'ip link show {link} >/dev/null 2>&1 || ip link add {link} type dummy',
                  f'ip link set {link} mtu {LINK_MTU} up',
                  f'ip address add {address}/24 dev {link}',
                  f'rdma link add {device} type rxe netdev {link}']
    lines += [f'export {name}={shlex.quote(value)}' for name, value in environment.items()]
    lines += [f'cd {shlex.quote(SOURCE)}', 'echo @@BEGIN',
              ' '.join(shlex.quote(a) for a in argv)]
    return '\n'.join(lines) + '\n'


def _initramfs(root, version, job):
    archive = Archive()
    for name in ('bin', 'dev', 'proc', 'sys', 'lower', 'upper', 'root', 'modules'):
        archive.folder(name)
    with open(BUSYBOX, 'rb') as f:
        archive.file('bin/busybox', f.read(), 0o755)
    for name in ('sh', 'mount', 'cat', 'insmod', 'echo', 'mkdir', 'ip', 'chroot', 'poweroff', 'cp',
                 'stty'):
        archive.link('bin/' + name, 'busybox')
    order = _module_order(_module_index(root, version), MODULES)
    for path in order:
        with open(path, 'rb') as f:
            archive.file('modules/' + os.path.basename(path), f.read())
    archive.file('modules/order', '\n'.join(os.path.basename(p) for p in order).encode())
    archive.file('init', INIT.encode(), 0o755)
    archive.file('job', job.encode())
    return archive.finish()


# ---- the machine


def _command(folder, kernel, cpus):
    return ['qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg,thread=multi',
            '-cpu', 'max,-erms,-fsrm', '-m', MEMORY, '-smp', str(cpus), '-nodefaults',
            '-no-user-config', '-nographic', '-no-reboot',
            '-kernel', kernel, '-initrd', f'{folder}/initrd',
            '-append', KERNEL_WORDS,
            '-fsdev', 'local,id=root,path=/,security_model=none,readonly=on,multidevs=remap',
            '-device', 'virtio-9p-pci,fsdev=root,mount_tag=host',
            '-serial', f'file:{folder}/console', '-serial', 'stdio', '-monitor', 'none']


def check():
    """Raises Unavailable unless run() has what it needs; fetches the kernel."""
    if not shutil.which('qemu-system-x86_64'):
        raise Unavailable('no qemu-system-x86_64; remedy: deploy/setup --tests')
    if not os.access(BUSYBOX, os.X_OK):
        raise Unavailable(f'no {BUSYBOX}; remedy: deploy/setup --tests')
    if not shutil.which('rdma'):
        raise Unavailable('no rdma (iproute2); remedy: deploy/setup --tests')
    return fetch_kernel()


class Ended(Exception):
    """The VM did not come to the end of its job; the text has the end of its console."""


def run(argv, limit_s, cpus=2, environment=None, on_line=None):
    """Runs a command in the VM, in the source folder. Returns (exit status, output). `on_line` gets
    each line as it comes. Raises Unavailable, or Ended."""
    root, version = check()
    job = _job(argv, {'DILOS_SOURCE': SOURCE, 'DILOS_BUILD': BUILD, 'DILOS_VM': '1',
                      'TMPDIR': '/tmp.vm', **(environment or {})})
    with tempfile.TemporaryDirectory(prefix='dilos-vm-') as folder:
        with open(f'{folder}/initrd', 'wb') as f:
            f.write(_initramfs(root, version, job))
        kernel = os.path.join(root, 'boot', 'vmlinuz-' + version)
        qemu = subprocess.Popen(_command(folder, kernel, cpus), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            lines, status = _follow(qemu, time.monotonic() + limit_s, on_line)
        finally:
            qemu.kill()
            qemu.wait()
        if status is None:
            with open(f'{folder}/console', encoding='utf-8', errors='replace') as f:
                console = f.read().splitlines()[-25:]
            raise Ended(f'the VM did not end within {limit_s} s\n'
                        + '\n'.join(lines[-25:] + ['--- console'] + console))
        return status, '\n'.join(lines)


def _follow(qemu, deadline, on_line):
    lines, begun, rest = [], False, b''
    os.set_blocking(qemu.stdout.fileno(), False)
    while time.monotonic() < deadline:
        data = qemu.stdout.read()
        if data is None:
            time.sleep(0.02)
            continue
        if not data:
            break
        *whole, rest = (rest + data).split(b'\n')
        for raw in whole:
            line = raw.decode(errors='replace').rstrip('\r')
            ended = re.fullmatch(r'@@STATUS (\d+)', line)
            if ended:
                return lines, int(ended[1])
            if line == '@@BEGIN':
                begun = True
                continue
            lines.append(line)
            if on_line and begun:
                on_line(line)
    return lines, None


def main():
    """vm.py COMMAND...: runs it in the VM; vm.py --fetch: only fetches the kernel."""
    try:
        if sys.argv[1:] == ['--fetch']:
            print('kernel:', fetch_kernel()[0])
            return 0
        status, _ = run(sys.argv[1:], int(os.environ.get('DILOS_VM_LIMIT_S', '300')),
                        on_line=lambda line: print(line, flush=True))
        return status
    except (Unavailable, Ended) as error:
        print(f'vm.py: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
