#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How programs end and what is refused: kind, code and reason for each.

usage: test_ends.py ENDS LARGE   (dynamically linked; LARGE wants 1.5 GiB)
"""
import os
import struct
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import image  # noqa: E402

MIB = 1 << 20


def write(path, data, mode=0o755):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)
    return path


def for_machine(path, machine):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    struct.pack_into("<H", data, 18, machine)
    return data


def make_files(folder, ends):
    """Programs that can't run, and scripts; (host, guest) pairs."""
    with open(ends, "rb") as file:
        program = file.read()
    made = {
        "arm": for_machine(ends, 183),
        "text": b"only text\n",
        "half": program[:400],
        "no-loader": program.replace(b"ld-linux-x86-64.so.2", b"ld-linux-x86-64.so.9"),
        "script": b"#!/bin/ends arguments\nignored\n",
        "script-of-script": b"#! /bin/script \n",
        "script-loop": b"#!/bin/script-loop\n",
        "script-lost": b"#!/not/there -x\n",
    }
    pairs = [(write(f"{folder}/{name}", data), f"/bin/{name}") for name, data in made.items()]
    pairs.append((write(f"{folder}/plain", program, 0o644), "/bin/plain"))
    return pairs


# As the C library takes for "not there": it does without, or says so.
REFUSALS = b"""clone3: ENOSYS
rseq: ENOSYS
clone of a process: ENOSYS
clone of half a thread: EINVAL
vfork: ENOSYS
execve: ENOSYS
wait4: ECHILD
FUTEX_WAIT_REQUEUE_PI: ENOSYS
FUTEX_CMP_REQUEUE_PI: ENOSYS
timer of used time: EOPNOTSUPP
timerfd of used time: EINVAL
ITIMER_VIRTUAL: EINVAL
ITIMER_PROF: EINVAL
socket: EAFNOSUPPORT
socketpair: EAFNOSUPPORT
"""

# name, arguments, kind, code, part of the reason, part of stdout, options
CASES = [
    ("null pointer", ["/bin/ends", "null"], "signaled", 11, "SIGSEGV at 0x0 (ip 0x", b"", {}),
    ("division by zero", ["/bin/ends", "divide"], "signaled", 8, "SIGFPE", b"", {}),
    ("illegal instruction", ["/bin/ends", "illegal"], "signaled", 4, "SIGILL", b"", {}),
    ("abort", ["/bin/ends", "abort"], "signaled", 6, "SIGABRT", b"", {}),
    ("privileged instruction", ["/bin/ends", "privileged"], "signaled", 11, "SIGSEGV", b"", {}),
    ("kernel memory", ["/bin/ends", "kernel"], "signaled", 11, "SIGSEGV at 0xffffc00000000000", b"",
     {}),
    ("past the end of a file", ["/bin/ends", "past-end"], "signaled", 7, "SIGBUS", b"", {}),
    ("deadlock", ["/bin/ends", "deadlock"], "signaled", 9, "the only thread waits", b"", {}),
    ("deadlock of threads", ["/bin/ends", "deadlock-threads"], "signaled", 9,
     "all 3 threads wait", b"", {}),
    ("deadlock by a mutex with an owner", ["/bin/ends", "deadlock-owned"], "signaled", 9,
     "all 3 threads wait for ever: futex", b"", {}),
    ("deadlock of those that are left", ["/bin/ends", "deadlock-left"], "signaled", 9, "deadlock",
     b"", {}),
    ("first thread ends first", ["/bin/ends", "first-thread-ends"], "exited", 0, "",
     b"last\nlast\n", {}),
    ("exit in a thread", ["/bin/ends", "exit-in-thread"], "exited", 6, "", b"", {}),
    ("null pointer in a thread", ["/bin/ends", "null-in-thread"], "signaled", 11, "SIGSEGV at 0x0",
     b"", {}),
    ("signal from outside", ["/bin/ends", "wait"], "signaled", 15, "SIGTERM", b"waiting",
     {"signal": 15}),
    ("signal with a handler", ["/bin/ends", "wait-handler"], "exited", 0, "",
     b"waiting\nhandled 15\n", {"signal": 15}),
    ("fork is refused", ["/bin/ends", "fork"], "exited", 5, "", b"", {}),
    ("what is refused, with which errno", ["/bin/ends", "refusals"], "exited", 0, "", REFUSALS, {}),
    ("exit status", ["/bin/ends"], "exited", 0, "", b"", {}),
    ("unknown call", ["/bin/ends", "unknown"], "exited", 1, "", b"", {}),
    ("another architecture", ["/bin/arm"], "refused", 0, "AArch64", b"", {}),
    ("not a program", ["/bin/text"], "refused", 0, "neither an ELF program nor a script", b"", {}),
    ("truncated", ["/bin/half"], "refused", 0, "truncated", b"", {}),
    ("not there", ["/bin/none"], "refused", 0, "/bin/none: not in the root image", b"", {}),
    ("not executable", ["/bin/plain"], "refused", 0, "chmod +x", b"", {}),
    ("a directory", ["/bin"], "refused", 0, "not executable", b"", {}),
    ("no dynamic linker", ["/bin/no-loader"], "refused", 0,
     "its dynamic linker /lib64/ld-linux-x86-64.so.9: not in the root image", b"", {}),
    ("search in PATH", ["ends", "arguments"], "exited", 0, "", b"[ends][arguments] in /\n", {}),
    ("not in PATH", ["none"], "refused", 0, "none: not in the root image", b"", {}),
    ("script", ["/bin/script", "a b"], "exited", 0, "",
     b"[/bin/ends][arguments][/bin/script][a b] in /\n", {}),
    ("script of a script", ["/bin/script-of-script"], "exited", 0, "",
     b"[/bin/ends][arguments][/bin/script][/bin/script-of-script] in /\n", {}),
    ("script that leads to itself", ["/bin/script-loop"], "refused", 0, "from script to script",
     b"", {}),
    ("script without interpreter", ["/bin/script-lost"], "refused", 0, "/not/there", b"", {}),
    ("working directory", ["/bin/ends", "arguments"], "exited", 0, "", b"in /etc\n",
     {"spec": {"directory": "/etc"}}),
    ("working directory not there", ["/bin/ends"], "refused", 0, "working directory", b"",
     {"spec": {"directory": "/nowhere"}}),
    ("larger than all memory", ["/bin/large"], "refused", 0, "raise --far-memory", b"", {}),
    ("pages to far memory", ["/bin/ends", "touch", "100"], "exited", 0, "", b"touched\n",
     {"far": True, "memory": "64M", "spec": {"far_bytes": 256 * MIB, "slab_bytes": MIB}}),
]


def complaints(root, arguments, kind, code, reason, out, options):
    got = guest.run(arguments, root, ["PATH=/usr/bin:/bin"], **options)
    bad = []
    if (got.kind, got.code) != (kind, code):
        bad.append(f"wanted kind={kind} code={code}")
    if reason not in got.reason:
        bad.append(f"wanted a reason with {reason!r}")
    if out not in got.out:
        bad.append(f"wanted output with {out!r}")
    if arguments[-1] == "unknown" and got.unknown != ["io_uring_setup"]:
        bad.append("the unknown call must be named exactly once")
    if arguments[-1] == "fork" and "refused=fork" not in "".join(got.log):
        bad.append("fork must be refused with a log line")
    return bad + [str(got)] if bad else []


def main():
    ends, large = map(os.path.abspath, sys.argv[1:3])
    failed = 0
    print(f"1..{len(CASES)}")
    with tempfile.TemporaryDirectory(prefix="dilos-ends-") as folder:
        libgcc = image.find_library("libgcc_s.so.1")  # pthread_exit() loads it
        root = image.make(f"{folder}/root.img", [], [(ends, "/bin/ends"), (large, "/bin/large")],
                          bare=make_files(folder, ends)
                          + [(libgcc, "/lib/x86_64-linux-gnu/libgcc_s.so.1")])
        for number, (name, *case) in enumerate(CASES, 1):
            bad = complaints(root, *case)
            for line in "\n".join(bad).splitlines():
                print(f"# {line}")
            failed += 1 if bad else 0
            print(f"{'not ok' if bad else 'ok'} {number} - {name}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
