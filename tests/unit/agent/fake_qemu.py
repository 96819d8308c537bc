#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays QEMU and the kernel for tests of the agent's instances. What it does is the instance's
name, which it finds as the host name in the boot specification (lib/wire/bootspec.h)."""
import signal
import socket
import struct
import sys
import time


def hostname():
    data = open('spec', 'rb').read()
    at = 8
    while at < len(data):
        kind, _, length = struct.unpack_from('<HHI', data, at)
        if kind == 4:
            return data[at + 8:at + 8 + length].decode()
        at += 8 + (length + 7) // 8 * 8
    return ''


def record(kind, body):
    return struct.pack('<HHI', 0xd105, kind, len(body)) + body


def end(kind, code, reason=b''):
    return record(4, struct.pack('<BBHi', kind, 0, 0, code) + reason)


HELLO = record(1, struct.pack('<IIQ', 1, 0, 0))


def connect(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def main():
    name = hostname()
    if name == 'dies':
        sys.stderr.write('no such machine\n')
        sys.exit(3)
    far = connect('far')
    ctl = connect('ctl')
    if name == 'garbage':
        ctl.sendall(b'this is not a record at all')
        time.sleep(20)
    elif name == 'silent-death':
        ctl.sendall(HELLO)
        signal.raise_signal(signal.SIGKILL)
    elif name == 'far-garbage':
        ctl.sendall(HELLO)
        far.sendall(b'x' * 64)
        time.sleep(20)
    elif name == 'output':
        ctl.sendall(HELLO + record(3, b'\x01out\n') + record(3, b'\x02err\n')
                    + record(2, b'\x02a line') + record(5, struct.pack('<I', 56) + b'clone')
                    + end(0, 7))
    elif name == 'segv':
        ctl.sendall(HELLO + end(1, 11, b'SIGSEGV at 0x0'))
    elif name == 'panic':
        ctl.sendall(HELLO + end(5, 0, b'page table is gone\n  #0 reclaim'))
    elif name == 'obeys':
        ctl.sendall(HELLO)
        stream = b''
        while record(64, struct.pack('<I', 15)) not in stream:
            stream += ctl.recv(4096)
        ctl.sendall(end(1, 15, b'SIGTERM'))
    elif name == 'deaf':
        ctl.sendall(HELLO)
        time.sleep(20)


main()
