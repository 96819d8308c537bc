#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernel proper: one boot for each behaviour, none of them runs a program. TAP."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import qemu  # noqa: E402
import tap   # noqa: E402

PROGRAM = ["/bin/none"]


def probe(machine):
    result = qemu.run(qemu.bootspec(mode=qemu.PROBE), machine=machine)
    return "dilos: probe ok\n" in result.text and result.status == 1, result


def refused(spec, words, **options):
    result = qemu.run(spec, **options)
    return result.kind == "refused" and words in result.reason, result


def selftest(name, **options):
    spec = qemu.bootspec(PROGRAM, vcpus=options.get("vcpus", 1))
    return qemu.run(spec, cmdline=f"selftest={name}", **options)


def panics(name, words, function, **options):
    result = selftest(name, **options)
    line = re.search(rf"^  at 0x[0-9a-f]+ {function}\+0x", result.text, re.M)
    return result.kind == "panic" and words in result.reason and line is not None, result


def succeeds(name, words, **options):
    result = selftest(name, **options)
    return result.kind == "exited" and words in result.reason, result


def cpus(count, words, asked=None, says="", **options):
    """Threads on each of `count` processors; the specification asks for `asked`."""
    spec = qemu.bootspec(PROGRAM, vcpus=asked or count)
    result = qemu.run(spec, cmdline="selftest=cpus", vcpus=count, **options)
    # On q35 the firmware has left the line unfinished.
    good = f"dilos: exit kind=exited code=0 reason={words}" in result.text
    return good and says in result.text, result


def random_differs():
    spec = qemu.bootspec(PROGRAM, seed=bytes(32))
    first, second = (qemu.run(spec, cmdline="selftest=random") for _ in range(2))
    good = all(re.fullmatch("[0-9a-f]{32}", run.reason) for run in (first, second))
    return good and first.reason != second.reason, f"{first}{second}"


def bench_device(queues):
    """The benchmark says its rows, then starts the program, which isn't there."""
    spec = qemu.bootspec(PROGRAM, mode=qemu.BENCH_DEVICE, far_bytes=64 * qemu.MIB,
                         slab_bytes=qemu.MIB)
    result = qemu.run(spec, far=True, far_queues=queues)
    rows = [json.loads(line) for line in result.text.splitlines() if line.startswith("{")]
    one, deep = rows if len(rows) == 2 else ({}, {})
    good = one.get("reads") == 20000
    order = [one.get(name, 0) for name in ("min", "median", "p99", "p999", "max")]
    good = good and order[0] > 0 and order == sorted(order)
    good = good and order[0] < one.get("mean", 0) < order[-1]
    good = good and deep["system"] == "device-depth-16" and deep["reads"] == 2000
    return good and deep["mean"] > 0 and result.kind == "refused", result


def cases():
    spec = qemu.bootspec(PROGRAM)
    yield "probe on microvm", lambda: probe("microvm")
    yield "probe on microvm with ACPI", lambda: probe("microvm,acpi=on")
    yield "probe on q35", lambda: probe("q35")
    yield "probe on pc", lambda: probe("pc")
    yield "no boot specification", lambda: refused(None, "there is none")
    yield "truncated boot specification", lambda: refused(spec[:-9], "malformed")
    yield "boot specification of another version", lambda: refused(
        spec[:4] + b"\7\0" + spec[6:], "version")
    yield "item that does not exist", lambda: refused(
        spec[:6] + b"\1\0" + qemu.item(77, "x"), "does not know")
    yield "boot specification over the limit", lambda: refused(spec + bytes(262144), "limit")
    yield "far memory without a device", lambda: refused(
        qemu.bootspec(PROGRAM, far_bytes=qemu.MIB, slab_bytes=qemu.MIB), "no far device")
    yield "too little local memory", lambda: refused(
        qemu.bootspec(PROGRAM, local_bytes=qemu.MIB), "too small")
    yield "prefetcher that does not exist", lambda: refused(
        qemu.bootspec(PROGRAM, prefetch="psychic"), "prefetcher")
    yield "panic has a backtrace with names", lambda: panics("panic", "asked for it", "test_panic")
    yield "failed check names the condition", lambda: panics("check", "one == 2", "test_check")
    yield "wild access of the kernel", lambda: panics("null", "page fault", "test_null")
    yield "kernel stack overflow hits the guard page", lambda: panics(
        "stack", "double fault", "overflow")
    yield "heap keeps its contents", lambda: succeeds("heap", "heap ok")
    yield "heap with 3.5 GiB, RAM above 4 GiB too", lambda: succeeds(
        "heap", "heap ok", memory="3584M")
    yield "sleep lasts as long as asked", lambda: succeeds("sleep", "sleep ok")
    yield "interrupts with ACPI tables", lambda: succeeds(
        "sleep", "sleep ok", machine="microvm,acpi=on", far=True)
    yield "two processors", lambda: cpus(2, "cpus=2 seen=0x3")
    yield "four processors on q35", lambda: cpus(4, "cpus=4 seen=0xf", machine="q35")
    yield "three processors with ACPI tables", lambda: cpus(
        3, "cpus=3 seen=0x7", machine="microvm,acpi=on")
    yield "one that does not come is left out", lambda: cpus(
        2, "cpus=2 seen=0x3", asked=4, says="processor 2 did not start: 2 of 4 run")
    yield "threads that yield to each other answer other processors", lambda: succeeds(
        "turns", "turns ok", vcpus=2, timeout_s=20)
    yield "panic with two processors", lambda: panics(
        "panic", "asked for it", "test_panic", vcpus=2)
    yield "random bytes differ between starts", random_differs
    yield "device benchmark checks 20000 reads, two queues", lambda: bench_device(2)
    yield "device benchmark, one queue", lambda: bench_device(1)


tap.run(cases())
