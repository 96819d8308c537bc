#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiny programs in the unikernel, one boot for each behaviour; those of the control channel with a
played agent. TAP."""
import errno
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import channel  # noqa: E402
import qemu     # noqa: E402
import tap      # noqa: E402

ROOT = os.path.join(os.environ["DILOS_BUILD"], "tests/boot/guests/guests.erofs")
SIGTERM, SIGKILL, SIGSEGV = 15, 9, 11


def ends(words, kind, code, text="", **options):
    """The program `words` ends so (code None: any); `text`: in its output or in the reason."""
    numbers = {k: options.pop(k) for k in ("local_bytes", "far_bytes", "slab_bytes", "prefetch",
                                           "mode") if k in options}
    result = qemu.run(qemu.bootspec(words, **numbers), root=ROOT, **options)
    return (result.kind == kind and code in (None, result.code) and
            text in result.output + result.reason and result.status is not None), result


def pages(far_queues=2, prefetch="readahead", local_mib=12):
    return ends(["/pages"], "exited", 0, "checked=12288", local_bytes=local_mib * qemu.MIB,
                far_bytes=128 * qemu.MIB, slab_bytes=qemu.MIB, prefetch=prefetch, far=True,
                far_queues=far_queues, timeout_s=120)


def talk_to(words, talk, **options):
    return channel.run(qemu.bootspec(words), talk, root=ROOT, **options)


def nothing(_):
    pass


def says(text):
    return lambda c: text in c.output[1]


def records_of_a_run():
    c = talk_to(["/write", "one"], nothing)
    hello = c.of(channel.HELLO)
    good = (len(hello) == 1 and struct.unpack("<II", hello[0][:8]) == (1, 0) and
            struct.unpack("<Q", hello[0][8:])[0] % 4096 == 0 and c.records[0][0] == channel.HELLO)
    return (good and c.output == {1: b"/write\none\n", 2: b"to stderr\n"} and
            c.end == ("exited", 0, "") and c.status == 1 and c.malformed is None), c


def unknown_call():
    c = talk_to(["/unknown_call"], nothing)
    return (c.end == ("exited", 0, "") and len(c.of(channel.SYSCALL)) == 1 and
            struct.unpack("<I", c.of(channel.SYSCALL)[0][:4])[0] == 4000), c


def input_echo():
    """Odd pieces, an empty buffer now and then, and more than any buffer on the way holds."""
    data = bytes((i * 7 + i // 256) % 256 for i in range(300000))

    def talk(c):
        at, size = 0, 1
        while at < len(data):
            part = data[at:at + size]
            c.send(channel.record(channel.INPUT, part))
            at += len(part)
            size = size * 3 % 65536 + 1
            c.read_until(lambda c: len(c.output[1]) >= at)
        c.send(channel.record(channel.INPUT))

    c = talk_to(["/echo_input"], talk)
    return c.output[1] == data + b"total=300000\n" and c.end == ("exited", 0, ""), c


def signal(words, number):
    def talk(c):
        c.read_until(says(b"spinning\n"))
        c.send(channel.record(channel.SIGNAL, struct.pack("<I", number)))

    c = talk_to(words, talk)
    return c.end is not None and c.end[:2] == ("signaled", number) and c.status == 3, c


def tuned_and_resized():
    """While a program pages: another prefetcher, less memory, more; what can't be is refused."""
    sizes = (8, 1, 24, 10, 1 << 20)

    def talk(c):
        for text in (b"prefetch=trend", b"prefetch=magic", b"magic=1", b"prefetch=none",
                     b"prefetch=readahead"):
            c.send(channel.record(channel.TUNE, text))
        for mib in sizes:
            c.send(channel.record(channel.RESIZE, struct.pack("<Q", mib * qemu.MIB)))

    spec = qemu.bootspec(["/pages"], local_bytes=12 * qemu.MIB, far_bytes=128 * qemu.MIB,
                         slab_bytes=qemu.MIB)
    c = channel.run(spec, talk, root=ROOT, far=True, timeout_s=120)
    tuned = [struct.unpack("<i", body[:4])[0] for body in c.of(channel.TUNED)]
    answers = [struct.unpack("<iQ", body) for body in c.of(channel.RESIZED)]
    statuses = [status for status, _ in answers]
    good = tuned == [0, -errno.EINVAL, -errno.ENOENT, 0, 0] and \
        statuses == [0, -errno.ERANGE, 0, 0, -errno.ERANGE] and \
        all(size == mib * qemu.MIB for (status, size), mib in zip(answers, sizes)
            if status == 0) and \
        qemu.MIB < answers[1][1] < 8 * qemu.MIB and answers[4][1] > 24 * qemu.MIB
    return (good and c.end == ("exited", 0, "") and b"checked=12288" in c.output[1]), c


def broken_record(data):
    """The guest ignores the channel from then on: stdin ends, the program goes on."""
    def talk(c):
        c.send(channel.record(channel.INPUT, b"kept") + data)

    c = talk_to(["/echo_input"], talk)
    logged = any(b"control channel closed" in body for body in c.of(channel.LOG))
    return c.output[1] == b"kepttotal=4\n" and c.end == ("exited", 0, "") and logged, c


def refused_over_channel():
    c = channel.run(qemu.bootspec(["/none"])[:-8], nothing, root=ROOT)
    return c.end is not None and c.end[0] == "refused" and "malformed" in c.end[2], c


def panic_over_channel():
    c = channel.run(qemu.bootspec(["/none"]), nothing, root=ROOT, cmdline="selftest=panic")
    return c.end is not None and c.end[0] == "panic" and "test_panic+0x" in c.end[2], c


def cases():
    yield "exit status", lambda: ends(["/exit_status", "a", "b", "c"], "exited", 3)
    yield "arguments and output", lambda: ends(["/write", "x y", ""], "exited", 0,
                                               "/write\nx y\n\nto stderr\n")
    for what in ("null", "kernel", "text", "noncanonical", "jump"):
        yield f"wild pointer: {what}", lambda what=what: ends(
            ["/wild", what], "signaled", SIGSEGV, "SIGSEGV")
    yield "privileged instruction", lambda: ends(["/wild", "hlt"], "signaled", SIGSEGV, "SIGSEGV")
    yield "registers survive", lambda: ends(["/registers"], "exited", 0, memory="256M")
    yield "four times the local memory, two queues", pages
    yield "the same, one queue, no prefetch", lambda: pages(1, "none")
    yield "six times the local memory", lambda: pages(2, "readahead", 8)
    yield "one mapping larger than all memory fails", lambda: ends(
        ["/pages"], "exited", 2, local_bytes=12 * qemu.MIB)
    yield "local memory runs out, no far memory", lambda: ends(
        ["/greedy"], "no-memory", None, "mapped", local_bytes=12 * qemu.MIB)
    yield "no root device", lambda: refused_without_root()
    yield "program that is not there", lambda: ends(["/nowhere"], "refused", None, "/nowhere")
    yield "program that is not an ELF", lambda: ends(["/not-an-elf"], "refused", None, "not-an-elf")
    yield "records of a run", records_of_a_run
    yield "system call that does not exist", unknown_call
    yield "standard input, 300000 bytes in odd pieces", input_echo
    yield "SIGTERM ends a computing program", lambda: signal(["/spin"], SIGTERM)
    yield "SIGTERM ends a waiting program", lambda: signal(["/spin", "wait"], SIGTERM)
    yield "SIGKILL", lambda: signal(["/spin"], SIGKILL)
    yield "prefetcher and local memory change while it runs", tuned_and_resized
    yield "record with bad magic", lambda: broken_record(b"garbage garbage ")
    yield "record that is too long", lambda: broken_record(
        struct.pack("<HHI", channel.MAGIC, channel.INPUT, 65537))
    yield "record of the guest's own kind", lambda: broken_record(channel.record(channel.EXIT))
    yield "signal that does not exist", lambda: broken_record(
        channel.record(channel.SIGNAL, struct.pack("<I", 65)))
    yield "refusal reaches the agent", refused_over_channel
    yield "panic reaches the agent with a backtrace", panic_over_channel


def refused_without_root():
    result = qemu.run(qemu.bootspec(["/write"]))
    return result.kind == "refused" and "root" in result.reason, result


tap.run(cases())
