# SPDX-License-Identifier: Apache-2.0
"""Writes cpio archives of the form "newc" (Linux, Documentation/driver-api/early-userspace/
buffer-format.rst), which a kernel unpacks as its first root file system. Archives may follow each
other in one file: what is common to all boots is written once."""

DIRECTORY = 0o040755
PROGRAM = 0o100755
LINK = 0o120777
DEVICE = 0o020600
HEADER = '070701'
ALIGN = 4


def _pad(out, length):
    out.write(b'\0' * (-length % ALIGN))


class Archive:
    """out: a binary file, written at once."""

    def __init__(self, out):
        self.out = out
        self.inode = 0

    def _header(self, name, mode, size, device=(0, 0)):
        self.inode += 1
        data = name.encode() + b'\0'
        links = 2 if mode == DIRECTORY else 1
        fields = (self.inode, mode, 0, 0, links, 0, size, 0, 0, *device, len(data), 0)
        header = HEADER + ''.join(f'{field:08x}' for field in fields)
        self.out.write(header.encode() + data)
        _pad(self.out, len(header) + len(data))

    def folder(self, name):
        self._header(name, DIRECTORY, 0)

    def device(self, name, major, minor):
        self._header(name, DEVICE, 0, (major, minor))

    def link(self, name, target):
        self.data(name, target.encode(), LINK)

    def data(self, name, data, mode=PROGRAM):
        self._header(name, mode, len(data))
        self.out.write(data)
        _pad(self.out, len(data))

    def file(self, name, path):
        with open(path, 'rb') as f:
            self.data(name, f.read())

    def close(self):
        self.inode = -1
        self._header('TRAILER!!!', 0, 0)
