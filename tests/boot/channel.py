# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the control channel (lib/wire/ctl.h), for tests: boots a guest with a console
and talks to it."""
import os
import socket
import struct
import subprocess
import tempfile
import time

import qemu

MAGIC = 0xd105
HELLO, LOG, OUTPUT, EXIT, SYSCALL, TUNED, RESIZED = 1, 2, 3, 4, 5, 6, 7
SIGNAL, INPUT, TUNE, RESIZE = 64, 65, 66, 67
KINDS = ["exited", "signaled", "far-lost", "no-memory", "refused", "panic"]


def record(kind, body=b""):
    return struct.pack("<HHI", MAGIC, kind, len(body)) + body


class Channel:
    """What came so far: records by type, and the program's output by descriptor."""

    def __init__(self, connection, deadline):
        self.connection = connection
        self.deadline = deadline
        self.records = []
        self.output = {1: b"", 2: b""}
        self.end = None  # (kind, code, reason)
        self.malformed = None

    def _read(self, length):
        data = b""
        while len(data) < length:
            self.connection.settimeout(max(0.01, self.deadline - time.monotonic()))
            part = self.connection.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def read_record(self):
        magic, kind, length = struct.unpack("<HHI", self._read(8))
        if magic != MAGIC or length > 65536:
            self.malformed = (magic, kind, length)
            raise EOFError
        body = self._read(length)
        self.records.append((kind, body))
        if kind == OUTPUT:
            self.output[body[0]] += body[1:]
        elif kind == EXIT:
            exit_kind, _, _, code = struct.unpack("<BBHi", body[:8])
            self.end = (KINDS[exit_kind], code, body[8:].decode(errors="replace"))
        return kind, body

    def read_until(self, done):
        """Reads records until done(self), the end, or the deadline."""
        try:
            while not done(self):
                self.read_record()
        except (EOFError, TimeoutError, socket.timeout, ConnectionError):
            pass

    def send(self, data):
        try:
            self.connection.sendall(data)
        except (BrokenPipeError, ConnectionError, TimeoutError):
            pass

    def of(self, kind):
        return [body for k, body in self.records if k == kind]

    def __str__(self):
        return f"end {self.end}, malformed {self.malformed}, records {self.records[-20:]}"


def run(spec, talk, timeout_s=60, **options):
    """Boots with a control channel; talk(channel) says what the agent would; then reads to the
    end. Returns the channel, with .status of QEMU (None: still running at the deadline)."""
    with tempfile.TemporaryDirectory(prefix="dilos-boot-", dir=qemu.parent(options)) as folder:
        path = os.path.join(folder, "control")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(timeout_s)
        args = qemu.command(folder, spec, **options) + [
            "-chardev", f"socket,id=ctl,path={path}",
            "-device", "virtio-serial-device,max_ports=2",
            "-device", "virtserialport,chardev=ctl,nr=1"]
        guest = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            channel = Channel(connection, time.monotonic() + timeout_s)
            talk(channel)
            channel.read_until(lambda c: c.end is not None)
            try:
                channel.status = guest.wait(timeout=10)
            except subprocess.TimeoutExpired:
                channel.status = None
            return channel
        finally:
            guest.kill()
            guest.wait()
            listener.close()
