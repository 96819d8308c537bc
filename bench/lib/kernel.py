# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernel and a static busybox for the Linux guests: fetched as packages into a cache
outside of the tree, never installed on the host."""
import glob
import os
import re
import shutil
import subprocess
import tempfile

from .rows import BenchError, Refused

META_PACKAGE = 'linux-image-amd64'
SHELL_PACKAGE = 'busybox-static'
REMEDY = 'Remedy: deploy/setup --bench'
DEPENDS = re.compile(rb'\0depends=([^\0]*)\0')


def cache_folder():
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return os.environ.get('DILOS_BENCH_CACHE') or os.path.join(base, 'dilos', 'bench')


def _kernel_package():
    done = subprocess.run(['apt-cache', 'depends', META_PACKAGE], capture_output=True, text=True,
                          check=False)
    found = re.search(r'Depends: (linux-image-\S+)', done.stdout)
    if found is None:
        raise BenchError(f'apt knows no {META_PACKAGE}. Remedy: apt-get update, as root')
    return found[1]


def _download(packages, folder):
    done = subprocess.run(['apt-get', 'download', '-qq', *packages], cwd=folder, check=False,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f'apt-get download {" ".join(packages)}: {done.stderr.strip()}')
    for path in sorted(glob.glob(os.path.join(folder, '*.deb'))):
        subprocess.run(['dpkg-deb', '-x', path, os.path.join(folder, 'root')], check=True)
        os.unlink(path)


def fetch(say):
    """Puts what is missing into the cache. Doing it again does nothing."""
    package = _kernel_package()
    final = os.path.join(cache_folder(), package)
    if os.path.isdir(final):
        say(f'{final} is there')
        return
    os.makedirs(cache_folder(), exist_ok=True)
    say(f'fetching {package} and {SHELL_PACKAGE} into {cache_folder()}')
    folder = tempfile.mkdtemp(prefix='.fetch-', dir=cache_folder())
    try:
        _download([package, SHELL_PACKAGE], folder)
        os.rename(os.path.join(folder, 'root'), final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Kernel:
    """The newest kernel in the cache."""

    def __init__(self):
        images = glob.glob(os.path.join(cache_folder(), '*', 'boot', 'vmlinuz-*'))
        if not images:
            raise Refused(f'there is no Linux kernel in {cache_folder()}. {REMEDY}')
        self.image = max(images, key=_version_key)
        self.version = os.path.basename(self.image).removeprefix('vmlinuz-')
        self.root = os.path.dirname(os.path.dirname(self.image))
        self.busybox = os.path.join(self.root, 'bin', 'busybox')
        if not os.path.exists(self.busybox):
            raise Refused(f'{self.busybox} is not there. {REMEDY}')
        pattern = os.path.join(self.root, 'lib/modules', self.version, 'kernel/**/*.ko')
        self.modules = {_module_name(path): path for path in glob.glob(pattern, recursive=True)}

    def with_needed(self, names):
        """Paths of the modules and of all that they need, each after what it needs."""
        found = []
        for name in names:
            self._add(name, found, 0)
        return found

    def _add(self, name, found, depth):
        path = self.modules.get(_module_name(name))
        if path is None or depth > 16:
            raise BenchError(f'the kernel {self.version} has no module {name}')
        if path in found:
            return
        with open(path, 'rb') as f:
            depends = DEPENDS.search(f.read())
        for needed in (depends[1].decode().split(',') if depends and depends[1] else []):
            self._add(needed, found, depth + 1)
        found.append(path)


def _module_name(path):
    return os.path.basename(path).removesuffix('.ko').replace('-', '_')


def _version_key(path):
    return [int(part) for part in re.findall(r'\d+', os.path.basename(path))]
