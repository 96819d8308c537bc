#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs with threads: what they compute natively they compute in the unikernel, with one virtual
CPU and with several, with all their memory local and with little of it.

usage: test_threads.py PROGRAM...
"""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import image  # noqa: E402

MIB = 1 << 20
LITTLE = {"far": True, "spec": {"far_bytes": 256 * MIB, "slab_bytes": MIB, "local_bytes": 10 * MIB}}

# program, arguments, options of each run
CASES = [
    ("threads-dynamic", [], [{}, {"vcpus": 2}]),
    ("threads-static", [], [{}, {"vcpus": 2}, LITTLE]),
    ("threads-musl", [], [{}, {"vcpus": 2}]),
    ("threads-musl-dynamic", [], [{}, {"vcpus": 4}]),
    ("futex", [], [{}, {"vcpus": 2}]),
    ("tasks", [], [{}, {"vcpus": 2}]),
    ("timers", [], [{}, {"vcpus": 2}]),
    ("signals", [], [{}, {"vcpus": 2}, LITTLE]),
    ("signals-musl", [], [{"vcpus": 2}]),
    ("fpu", ["1"], [{}, {"vcpus": 2}]),
    ("fpu", ["20"], [LITTLE, dict(LITTLE, vcpus=2)]),
    ("fpu", ["1", "400", "avx512"], [{}, {"vcpus": 2}]),
    ("openmp", [], [{}, {"vcpus": 2}]),
    ("memory-threads", ["4", "1024", "4000"], [LITTLE, dict(LITTLE, vcpus=2)]),
]


def describe(options):
    parts = [f"{options.get('vcpus', 1)} vCPU"]
    if options.get("far"):
        parts.append("10 MiB local")
    return ", ".join(parts)


def check(root, name, arguments, options, native):
    got = guest.run([f"/bin/{name}"] + arguments, root, ["PATH=/usr/bin:/bin"], timeout_s=100,
                    **options)
    bad = []
    if got.kind == "exited" and got.out.startswith(b"skipped: "):
        return [], got.out.decode().strip()
    if got.kind != "exited" or got.code != native.returncode:
        bad.append(f"wanted exit status {native.returncode}")
    if got.out != native.stdout:
        bad.append(f"natively it says {native.stdout[-500:]!r}")
    if got.unknown:
        bad.append(f"unknown system calls: {got.unknown}")
    return (bad + [str(got)] if bad else []), ""


def main():
    programs = {os.path.basename(path): os.path.abspath(path) for path in sys.argv[1:]}
    number = failed = 0
    with tempfile.TemporaryDirectory(prefix="dilos-threads-") as folder:
        libgcc = image.find_library("libgcc_s.so.1")
        root = image.make(f"{folder}/root.img", [], [(p, f"/bin/{n}") for n, p in programs.items()],
                          bare=[(libgcc, "/lib/x86_64-linux-gnu/libgcc_s.so.1")])
        for name, arguments, runs in CASES:
            if name not in programs:
                continue
            native = subprocess.run([programs[name]] + arguments, stdout=subprocess.PIPE,
                                    timeout=100, check=False)
            for options in runs:
                number += 1
                words = " ".join([name] + arguments)
                bad, skip = check(root, name, arguments, options, native)
                for line in "\n".join(bad).splitlines():
                    print(f"# {line}")
                print(f"{'not ' if bad else ''}ok {number} - {words} ({describe(options)})"
                      + (f" # SKIP {skip.removeprefix('skipped: ')}" if skip else ""))
                sys.stdout.flush()
                failed += 1 if bad else 0
    print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())
