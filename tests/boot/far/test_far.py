#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pager on the emulated machine: memory four times the local one, every byte checked."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ["DILOS_SOURCE"], "tests/boot"))
import qemu  # noqa: E402

qemu.elf_path = lambda: os.path.join(os.environ["DILOS_BUILD"], "tests/boot/far/far-guest.elf")


def phases(text):
    found = {}
    for line in re.findall(r"^far: (.*)", text, re.M):
        fields = dict(field.split("=") for field in line.split())
        phase = fields.pop("phase")
        found[phase] = {name: int(value) for name, value in fields.items()}
    return found


def check(name, **options):
    prefetch = options.pop("prefetch", None)
    items = {"prefetch": prefetch} if prefetch else {}
    items["vcpus"] = options.get("vcpus", 1)
    spec = qemu.bootspec(["/guest"], local_bytes=16 * qemu.MIB, far_bytes=256 * qemu.MIB,
                         slab_bytes=qemu.MIB, **items)
    result = qemu.run(spec, timeout_s=100, memory="64M", far=True, **options)
    seen = phases(result.text)
    faults = 100 if prefetch else 1000  # most pages cost no fault when they are read ahead
    return [
        (f"{name}: every byte is right", result.kind is not None and result.code == 0, result),
        (f"{name}: pages went to the far device and came back",
         all(seen.get(p, {}).get("remote", 0) > faults
             for p in ("fill", "random", "read")), result),
        (f"{name}: no device error, and far memory is given back",
         seen.get("mappings", {}).get("errors") == 0 and
         seen.get("mappings", {}).get("discarded", 0) > 1000, result),
    ], seen


def main():
    rows, seen = check("two queues")
    for phase, fields in seen.items():
        print(f"# {phase}: {fields}")
    rows += check("one queue, readahead", far_queues=1, prefetch="readahead")[0]
    for vcpus, queues, prefetch in ((2, 4, "readahead"), (3, 2, "trend")):
        more, seen = check(f"{vcpus} processors, {queues} queues, {prefetch}", vcpus=vcpus,
                           far_queues=queues, prefetch=prefetch)
        rows += more
        print(f"# processors: {seen.get('processors')}")
    failed = 0
    for number, (name, good, detail) in enumerate(rows, 1):
        if not good:
            failed += 1
            print("\n".join("# " + line for line in str(detail).splitlines()[-30:]))
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
    print(f"1..{len(rows)}")
    return 1 if failed else 0


sys.exit(main())
