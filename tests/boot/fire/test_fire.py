#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An unmodified dynamic program that maps, moves, protects and discards memory at random while it
pages to the far device, and checks every page (map_fire.c): in much less local memory than it
uses, for several seeds, with and without readahead. TAP."""
import os
import sys
import tempfile

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TESTS, "boot"), os.path.join(TESTS, "abi")]
import image  # noqa: E402
import qemu   # noqa: E402

MIB = 1 << 20
# steps, pages a region (24 regions of half of that on average), local MiB, prefetcher
RUNS = [(6000, 600, 8, "none"), (6000, 600, 8, "readahead"), (4000, 1500, 8, "none")]


def main(program):
    failed = 0
    with tempfile.TemporaryDirectory(prefix="dilos-fire-") as folder:
        root = image.make(os.path.join(folder, "root"), [program])
        for number, (steps, pages, local, prefetch) in enumerate(RUNS, 1):
            spec = qemu.bootspec([program, str(steps), str(pages), str(number)],
                                 local_bytes=local * MIB, far_bytes=512 * MIB, slab_bytes=MIB,
                                 prefetch=prefetch)
            result = qemu.run(spec, timeout_s=120, memory=f"{local}M", root=root, far=True)
            good = (result.kind, result.code) == ("exited", 0) and \
                f"{steps} steps, every page right" in result.output
            failed += not good
            print(f"{'ok' if good else 'not ok'} {number} - {pages} pages a region in {local} MiB, "
                  f"prefetch {prefetch}", flush=True)
            if not good:
                print("\n".join("# " + line for line in str(result).splitlines()[-30:]))
    print(f"1..{len(RUNS)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
