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
    if name == 'early-end':
        with open('serial', 'w', encoding='ascii') as f:
            f.write('dilos: boot\ndilos: exit kind=refused code=1 '
                    'reason=local memory of 4096 KiB is too small: the kernel needs 4756 KiB\n')
        sys.exit(9)
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
    elif name == 'tunable':
        # Answers each question in order: knows prefetch=none, and sizes of 20 MiB and more.
        ctl.sendall(HELLO)
        data = b''
        while True:
            data += ctl.recv(4096)
            while len(data) >= 8 and len(data) >= 8 + struct.unpack_from('<I', data, 4)[0]:
                kind, length = struct.unpack_from('<HI', data, 2)
                body, data = data[8:8 + length], data[8 + length:]
                if kind == 66:
                    good = body == b'prefetch=none'
                    ctl.sendall(record(6, struct.pack('<i', 0 if good else -22)
                                       + (b'' if good else b'there are: none')))
                elif kind == 67:
                    wanted, = struct.unpack('<Q', body)
                    good = wanted >= 20 << 20
                    ctl.sendall(record(7, struct.pack('<iQ', 0 if good else -34,
                                                      wanted if good else 20 << 20)))
                elif kind == 64:
                    ctl.sendall(end(1, 15, b'SIGTERM'))
                    return
    elif name == 'unasked':
        ctl.sendall(HELLO + record(6, struct.pack('<i', 0)))
        time.sleep(20)
    elif name == 'deaf':
        ctl.sendall(HELLO)
        time.sleep(20)


main()
