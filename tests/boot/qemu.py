# SPDX-License-Identifier: Apache-2.0
"""Boots dilos.elf in QEMU for tests: encodes boot specifications (lib/wire/bootspec.h), builds the
command line that the agent uses too, runs it under a deadline, and reads what the guest said."""
import os
import re
import struct
import subprocess
import tempfile

ARGUMENT, ENVIRONMENT, DIRECTORY, HOSTNAME, LOCAL_BYTES, FAR_BYTES, SLAB_BYTES, SEED = range(1, 9)
REALTIME_NS, MODE, USER, PREFETCH, VCPUS = range(9, 14)
RUN, PROBE, BENCH_DEVICE = range(3)
MIB = 1 << 20
FAR_DEVICE_BYTES = 1 << 48


def item(kind, body):
    if isinstance(body, int):
        body = struct.pack("<Q", body)
    elif isinstance(body, str):
        body = body.encode()
    return struct.pack("<HHI", kind, 0, len(body)) + body + bytes(-len(body) % 8)


def bootspec(arguments=(), environment=(), **numbers):
    """numbers: any of the items above in lower case, for example local_bytes=16 * MIB."""
    items = [item(ARGUMENT, a) for a in arguments] + [item(ENVIRONMENT, e) for e in environment]
    numbers.setdefault("seed", os.urandom(32))
    items += [item(globals()[name.upper()], value) for name, value in numbers.items()]
    return struct.pack("<IHH", 0x50534244, 1, len(items)) + b"".join(items)


def elf_path():
    return os.path.join(os.environ["DILOS_BUILD"], "computenode/unikernel/dilos.elf")


class Result:
    """What a run left: text of the serial port, and the line that the guest ends with."""

    def __init__(self, text, status):
        self.text = text
        self.status = status  # of QEMU; None: it was still running at the deadline
        end = re.search(r"^dilos: exit kind=(\S+) code=(-?\d+) reason=(.*)", text, re.S | re.M)
        self.kind, self.code, self.reason = (
            (end[1], int(end[2]), end[3].strip()) if end else (None, None, ""))
        self.output = text[:end.start()] if end else text

    def __str__(self):
        return f"qemu status {self.status}\n{self.text}"


def command(folder, spec, machine="microvm", memory="128M", cmdline="", root=None, far=False,
            far_queues=None, vcpus=1, extra=()):
    """The command line; files that it needs are made in `folder`. far: True for a sparse file of
    the size that the far device has in production (on tmpfs; other file systems have no room)."""
    far_queues = 2 * vcpus if far_queues is None else far_queues
    if machine == "microvm":
        machine = "microvm,acpi=off"
    args = ["qemu-system-x86_64", "-M", machine, "-accel", "tcg", "-cpu", "max,-erms,-fsrm",
            "-smp", str(vcpus),
            "-m", memory, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
            "-global", "virtio-mmio.force-legacy=false",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel", elf_path(), "-serial", f"file:{folder}/serial"]
    if spec is not None:
        with open(f"{folder}/spec", "wb") as out:
            out.write(spec)
        args += ["-initrd", f"{folder}/spec"]
    if cmdline:
        args += ["-append", cmdline]
    if far:
        with open(f"{folder}/far", "wb") as out:
            out.truncate(FAR_DEVICE_BYTES)
        args += ["-drive", f"if=none,id=f,file={folder}/far,format=raw,discard=unmap,cache=unsafe",
                 "-device", f"virtio-blk-device,drive=f,serial=far,num-queues={far_queues}"]
    if root is not None:
        args += ["-drive", f"if=none,id=r,file={root},format=raw,readonly=on",
                 "-device", "virtio-blk-device,drive=r,serial=root"]
    return args + list(extra)


def parent(options):
    """Where the folder of a run belongs: the far device's file wants tmpfs."""
    return "/dev/shm" if options.get("far") and os.path.isdir("/dev/shm") else None


def run(spec, timeout_s=60, **options):
    """Boots, waits for the end or the deadline, returns a Result."""
    with tempfile.TemporaryDirectory(prefix="dilos-boot-", dir=parent(options)) as folder:
        try:
            done = subprocess.run(command(folder, spec, **options), timeout=timeout_s,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            status, said = done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            status, said = None, (late.stdout or b"").decode(errors="replace")
        serial = f"{folder}/serial"
        text = ""
        if os.path.exists(serial):
            with open(serial, "rb") as file:
                text = file.read().decode(errors="replace")
        return Result(text + (f"qemu: {said}" if said else ""), status)
