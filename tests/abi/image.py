# SPDX-License-Identifier: Apache-2.0
"""Root images for tests: a program, the libraries that its ELF headers name, extra files, and
mkfs.erofs. Nothing of the program is run to find out."""
import os
import shutil
import struct
import subprocess

LIBRARY_FOLDERS = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib",
                   "/usr/lib"]
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def elf_needs(path):
    """(interpreter or None, [names of needed libraries]) of an ELF file; (None, []) of others."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\x7fELF":
        return None, []
    offset, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    if offset + 56 * count > len(data):
        return None, []  # truncated: the kernel under test must say so
    interpreter, needed, strings, names = None, [], 0, []
    headers = [struct.unpack_from("<IIQQQQQQ", data, offset + 56 * i) for i in range(count)]
    for kind, _, at, _, _, size, _, _ in headers:
        if kind == PT_INTERP:
            interpreter = data[at:at + size].split(b"\0")[0].decode()
        if kind == PT_DYNAMIC:
            for entry in range(at, at + size, 16):
                tag, value = struct.unpack_from("<QQ", data, entry)
                if tag == DT_NULL:
                    break
                if tag == DT_NEEDED:
                    needed.append(value)
                if tag == DT_STRTAB:
                    strings = value
    for kind, _, at, va, _, size, _, _ in headers:
        if kind == PT_LOAD and va <= strings < va + size:
            table = at + strings - va
            names = [data[table + n:data.index(b"\0", table + n)].decode() for n in needed]
    return interpreter, names


def find_library(name):
    for folder in LIBRARY_FOLDERS:
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    raise FileNotFoundError(f"library {name} is in none of {LIBRARY_FOLDERS}")


def closure(path):
    """Paths of an ELF file's interpreter and libraries, as the programs themselves name them."""
    found, todo = [], [path]
    while todo:
        interpreter, names = elf_needs(todo.pop())
        for library in ([interpreter] if interpreter else []) + [find_library(n) for n in names]:
            if library not in found:
                found.append(library)
                todo.append(library)
    return found


def put(tree, host, guest=None):
    """Copies a file or folder of the host, with what links point to, to its place in the tree."""
    target = tree + (guest or host)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(host):
        shutil.copytree(host, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(
            "__pycache__", "test", "idlelib", "lib2to3", "ensurepip", "pydoc_data"))
    else:
        shutil.copy2(host, target)


def make(image, programs, files=(), folders=(), bare=()):
    """programs: host paths. files: (host, guest) pairs. folders: empty ones. bare: pairs too, whose
    libraries are not looked for."""
    tree = image + ".tree"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ["/tmp", "/run", "/proc", "/sys", "/dev", "/etc", *folders]:
        os.makedirs(tree + folder)
    wanted = [(p, p) for p in programs] + list(files)
    for host, guest in wanted:
        put(tree, host, guest)
        for part in _files(host):
            for library in closure(part):
                if not os.path.exists(tree + library):
                    put(tree, library)
    for host, guest in bare:
        put(tree, host, guest)
    with open(tree + "/etc/passwd", "w") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\n")
    with open(tree + "/etc/group", "w") as file:
        file.write("root:x:0:\n")
    if os.path.exists(image):
        os.unlink(image)
    subprocess.run(["mkfs.erofs", "-T0", "--all-root", image, tree], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return image


def _files(host):
    if not os.path.isdir(host):
        return [host]
    return [os.path.join(base, name) for base, _, names in os.walk(host) for name in names
            if name.endswith(".so") or ".so." in name]
