# SPDX-License-Identifier: Apache-2.0
"""Runs a program in the unikernel and collects what it said through the control channel: streams
apart, exit, log, unknown system calls (lib/wire/ctl.h)."""
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "boot"))
import qemu  # noqa: E402

MAGIC = 0xd105
HELLO, LOG, OUTPUT, EXIT, SYSCALL = range(1, 6)
SIGNAL, INPUT = 64, 65
KINDS = ["exited", "signaled", "far-lost", "no-memory", "refused", "panic"]


class Run:
    """What one run left. kind is None when the guest never said how it ended."""

    def __init__(self):
        self.out, self.err, self.log, self.unknown = b"", b"", [], []
        self.kind, self.code, self.reason = None, None, ""
        self.serial = ""

    def __str__(self):
        return (f"kind={self.kind} code={self.code} reason={self.reason!r}\n"
                f"log={self.log}\nunknown={self.unknown}\nstderr={self.err[-2000:]!r}\n"
                f"stdout={self.out[-2000:]!r}\nserial={self.serial[-2000:]}")

    def take(self, kind, body):
        if kind == OUTPUT and body[0] == 1:
            self.out += body[1:]
        elif kind == OUTPUT:
            self.err += body[1:]
        elif kind == LOG:
            self.log.append(body[1:].decode(errors="replace"))
        elif kind == SYSCALL:
            self.unknown.append(body[4:].decode())
        elif kind == EXIT:
            self.kind = KINDS[body[0]]
            self.code, = struct.unpack_from("<i", body, 4)
            self.reason = body[8:].decode(errors="replace")


def record(kind, body):
    return struct.pack("<HHI", MAGIC, kind, len(body)) + body


def _serve(listener, stdin, signal, result):
    connection, _ = listener.accept()
    data = b""
    started = False
    with connection:
        while True:
            while len(data) >= 8:
                magic, kind, length = struct.unpack_from("<HHI", data)
                assert magic == MAGIC, data[:16]
                if len(data) < 8 + length:
                    break
                result.take(kind, data[8:8 + length])
                data = data[8 + length:]
                if not started and kind == HELLO:
                    started = True
                    threading.Thread(target=_feed, args=(connection, stdin), daemon=True).start()
                if signal and kind == OUTPUT:
                    connection.sendall(record(SIGNAL, struct.pack("<I", signal)))
                    signal = None
            try:
                more = connection.recv(65536)
            except ConnectionResetError:
                return
            if not more:
                return
            data += more


def _feed(connection, stdin):
    try:
        for at in range(0, len(stdin), 4096):
            connection.sendall(record(INPUT, stdin[at:at + 4096]))
        connection.sendall(record(INPUT, b""))
    except OSError:
        pass  # the guest ended first


def run(arguments, root, environment=(), stdin=b"", signal=None, timeout_s=120, spec=None,
        **options):
    """signal: sent once, after the program's first output."""
    result = Run()
    numbers = dict(spec or {}, vcpus=options.get("vcpus", 1))
    with tempfile.TemporaryDirectory(prefix="dilos-abi-") as folder, \
            socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/control")
        listener.listen(1)
        extra = ["-chardev", f"socket,id=ctl,path={folder}/control",
                 "-device", "virtio-serial-device,max_ports=2",
                 "-device", "virtserialport,chardev=ctl,nr=1"]
        server = threading.Thread(target=_serve, args=(listener, stdin, signal, result),
                                  daemon=True)
        server.start()
        far = options.get("far")
        far_folder = tempfile.TemporaryDirectory(prefix="dilos-abi-", dir="/dev/shm" if far else
                                                 None)
        with far_folder:
            boot = qemu.bootspec(arguments, environment, **numbers)
            command = qemu.command(far_folder.name, boot, root=root, extra=extra, **options)
            try:
                subprocess.run(command, timeout=timeout_s, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            except subprocess.TimeoutExpired:
                result.reason = f"still running after {timeout_s} s"
            if os.path.exists(f"{far_folder.name}/serial"):
                with open(f"{far_folder.name}/serial", "rb") as file:
                    result.serial = file.read().decode(errors="replace")
        server.join(timeout=5)
    return result
