# SPDX-License-Identifier: Apache-2.0
"""The verbs claims of bench/fabric.py, where there are verbs: our fabric and perftest by turns.

usage: fabric_vm.py RUNS PAGES

A line of JSON a figure: {"claim", "system", "ns"}.
"""
import json
import os
import re
import subprocess
import sys
import time

PAGES_PROGRAM = os.path.join(os.environ['DILOS_BUILD'], 'bench/fabric-pages')
LIMIT_S = 120
DEPTH = 32
ATTEMPTS = 5
PAGE = 4096
MIB = 1 << 20


def device():
    """(name, index of its RoCE v2 GID that is an IPv4 address, that address)."""
    root = '/sys/class/infiniband'
    for name in sorted(os.listdir(root)):
        gids = f'{root}/{name}/ports/1/gids'
        for index in sorted(os.listdir(gids), key=int):
            try:
                with open(f'{gids}/{index}', encoding='ascii') as f:
                    gid = f.read().strip().replace(':', '')
                with open(f'{root}/{name}/ports/1/gid_attrs/types/{index}', encoding='ascii') as f:
                    kind = f.read().strip()
            except OSError:
                continue
            if gid.startswith('0' * 20 + 'ffff') and kind == 'RoCE v2':
                return name, index, '.'.join(str(b) for b in bytes.fromhex(gid[24:]))
    raise SystemExit('fabric_vm: no RoCE v2 device with an IPv4 address')


def ours(depth, pages):
    done = subprocess.run([PAGES_PROGRAM, 'verbs', str(depth), str(pages)], capture_output=True,
                          text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise SystemExit('fabric_vm: ' + done.stderr)
    result = json.loads(done.stdout)
    return result['p50'] if depth == 1 else result['ns']


def perftest_once(program, where, arguments):
    """(the numbers of its one line of figures or None, what it said)"""
    name, index, address = where
    command = [program, '-d', name, '-x', index, '-s', str(PAGE), *arguments]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(50):
            time.sleep(0.2)
            done = subprocess.run([*command, address], capture_output=True, text=True,
                                  timeout=LIMIT_S, check=False)
            found = re.search(rf'^ {PAGE}\s+(\d.*)$', done.stdout, re.M)
            if found:
                return [float(word) for word in found[1].split()], ''
            if server.poll() is not None:
                break
    finally:
        server.kill()
        server.wait()
    return None, done.stdout + done.stderr


def perftest(program, where, *arguments):
    """It refuses to report when a pause of the machine falls into its calibration of the TSC."""
    for _ in range(ATTEMPTS):
        numbers, text = perftest_once(program, where, arguments)
        if numbers is not None:
            return numbers
    raise SystemExit(f'fabric_vm: {program}: {text}')


def main():
    runs, pages = int(sys.argv[1]), int(sys.argv[2])
    where = device()

    def say(claim, system, ns):
        print(json.dumps({'claim': claim, 'system': system, 'ns': ns}), flush=True)

    for _ in range(runs):
        say('verbs_read_depth1', 'dilos', ours(1, pages))
        # iterations t_min t_max t_typical ...: the median, as ours
        say('verbs_read_depth1', 'ib_read_lat',
            1000 * perftest('ib_read_lat', where, '-n', str(pages))[3])
        say('verbs_read_depth32', 'dilos', ours(DEPTH, pages))
        # iterations, peak and average bandwidth in MiB/s
        rate = perftest('ib_read_bw', where, '-t', str(DEPTH), '-n', str(pages))[2]
        say('verbs_read_depth32', 'ib_read_bw', PAGE / (rate * MIB) * 1e9)


if __name__ == '__main__':
    main()
