# SPDX-License-Identifier: Apache-2.0
"""Claims of `fabric`: what a 4 KiB page costs on its way, without a guest.

  verbs_read_depth1    a one-sided read, the median, against ib_read_lat, in the Soft-RoCE VM
  verbs_read_depth32   32 at a time, against ib_read_bw, in the same VM
  tcp_read_depth1      a read over loopback TCP, against a bare ping-pong of the same bytes (the
                       better of spinning and sleeping ends)
  tcp_read_depth32     32 at a time, against the best of nbdkit's memory plugin, qemu-nbd, memcached
                       and Redis serving 4 KiB values
  shm_read_depth1      a read of shared memory, against a memcpy by another thread
  revoke               p99 of revoking a written slab of 1 MiB until it is scrubbed, tcp and shm
  agent_share          a read through the agent's far device by a vhost-user client, less the same
                       read from shared memory without an agent, by turns in one process (medians,
                       bench/far_pair.c); and where it goes: agent_share_* (rows of one thread, from
                       bench/far_share.c), and what two threads take to hand one cache line, and
                       four, to each other: agent_share_floor, agent_share_floor4

Every page that dilos reads is compared with what was written, outside of the time.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from deploy.lab.lab import BUILD, SOURCE, Lab
from .lib.rows import BenchError, Refused, Table, best_variant

sys.path.insert(0, os.path.join(SOURCE, 'tests', 'rdma'))
import vm  # noqa: E402  pylint: disable=wrong-import-position

DILOS = 'dilos'
PAGES_PROGRAM = os.path.join(BUILD, 'bench/fabric-pages')
PEERS_PROGRAM = os.path.join(BUILD, 'bench/fabric-peers')
PAIR_PROGRAM = os.path.join(BUILD, 'bench/far-pair')
SHARE_PROGRAM = os.path.join(BUILD, 'bench/far-share')
FAR_CLIENT = os.path.join(BUILD, 'tests/rdma/far-client')
LIMIT_S = 120
DEPTH = 32
UNIT = 'ns/page'
CLAIMS = ('verbs_read_depth1', 'verbs_read_depth32', 'tcp_read_depth1', 'tcp_read_depth32',
          'shm_read_depth1', 'revoke', 'agent_share')


class Sizes:
    def __init__(self, options):
        self.runs = options.runs
        self.native_pages = 4000 if options.tiny else 40000 if options.quick else 200000
        self.vm_pages = 500 if options.tiny else 2000 if options.quick else 5000
        self.revokes = 50 if options.tiny else 500 if options.quick else 2000


def progress(text):
    print('bench/run: ' + text, file=sys.stderr, flush=True)


def program(*command):
    """The line of JSON that a program prints."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f'{" ".join(words)}: no end within {LIMIT_S} s') from None
    if done.returncode != 0:
        raise BenchError(f'{" ".join(words)}: {done.stderr.strip()}')
    return json.loads(done.stdout)


def pages(fabric, depth, sizes):
    return program(PAGES_PROGRAM, fabric, depth, sizes.native_pages)['ns']


# ---- the peers, each in a process of its own that ends with the `with`


class Server:
    """A daemon on a TCP port of its own."""

    def __init__(self, name, command, package):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix='dilos-bench-')
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self.port = probe.getsockname()[1]
        if not shutil.which(command[0]):
            raise Refused(f'{name}: no {command[0]}; remedy: apt-get install {package}')
        words = [word.format(port=self.port, folder=self.folder) for word in command]
        self.process = subprocess.Popen(words, cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(('127.0.0.1', self.port)) == 0:
                    return self
            time.sleep(0.05)
        self.__exit__()
        raise BenchError(f'{self.name} does not listen')

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def redis():
    return Server('redis', ['redis-server', '--port', '{port}', '--save', '', '--appendonly', 'no',
                            '--bind', '127.0.0.1', '--dir', '{folder}'], 'redis-server')


def memcached():
    return Server('memcached', ['memcached', '-l', '127.0.0.1', '-p', '{port}', '-U', '0', '-m',
                                '64', '-t', '2', '-u', 'nobody'], 'memcached')


def nbdkit():
    return Server('nbdkit', ['nbdkit', '-f', '-p', '{port}', '-i', '127.0.0.1', 'memory', '16M'],
                  'nbdkit')


def qemu_nbd():
    image = os.path.join('{folder}', 'image')
    server = Server('qemu-nbd', ['sh', '-c', f'truncate -s 16M {image}; exec qemu-nbd -f raw -t '
                                 f'-e 8 -b 127.0.0.1 -p {{port}} --cache=writeback {image}'],
                    'qemu-utils')
    return server


def store_ns(server, sizes):
    count = max(sizes.native_pages // 4, DEPTH)
    return program(PEERS_PROGRAM, server.name, server.port, DEPTH, count)['ns']


def nbd_ns(server, sizes):
    """qemu-img bench prints seconds."""
    count = max(sizes.native_pages // 4, DEPTH)
    done = subprocess.run(['qemu-img', 'bench', '-f', 'raw', '-c', str(count), '-d', str(DEPTH),
                           '-s', '4096', '-S', '4096', f'nbd://127.0.0.1:{server.port}'],
                          capture_output=True, text=True, timeout=LIMIT_S, check=False)
    words = done.stdout.split()
    if done.returncode != 0 or 'completed' not in words:
        raise BenchError(f'{server.name}: {done.stdout}{done.stderr}')
    return float(words[words.index('seconds.') - 1]) * 1e9 / count


# The calls that a turn of the agent's poller consists of.
STAGES = ('take', 'parse', 'find', 'post', 'complete', 'answer')

PEERS = ((redis, store_ns), (memcached, store_ns), (nbdkit, nbd_ns), (qemu_nbd, nbd_ns))


# ---- the claims


def verbs(table, sizes, claims):
    """Both verbs claims, in one VM (or on this machine if it has a device)."""
    command = [sys.executable, os.path.join(SOURCE, 'bench/fabric_vm.py'), str(sizes.runs),
               str(sizes.vm_pages)]
    progress('verbs: our fabric and perftest by turns in the VM')
    devices = '/sys/class/infiniband'
    limit_s = 120 + 120 * sizes.runs
    if os.path.isdir(devices) and os.listdir(devices):
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s,
                              check=False, env={**os.environ, 'DILOS_BUILD': BUILD})
        status, text = done.returncode, done.stdout + done.stderr
    else:
        try:
            status, text = vm.run(command, limit_s)
        except vm.Unavailable as reason:
            raise Refused(f'verbs: {reason}') from None
        except vm.Ended as reason:
            raise BenchError(str(reason)) from None
    if status != 0:
        raise BenchError(f'verbs: {text[-2000:]}')
    for line in text.splitlines():
        if line.startswith('{'):
            figure = json.loads(line)
            if figure['claim'] in claims:
                table.add(figure['claim'], None, figure['system'], figure['ns'], UNIT)


def tcp_depth1(table, sizes):
    count = max(sizes.native_pages // 10, 1000)
    best = min(program(PEERS_PROGRAM, 'pingpong', how, count)['ns'] for how in ('spin', 'block'))
    table.add('tcp_read_depth1', None, DILOS, pages('tcp', 1, sizes), UNIT)
    table.add('tcp_read_depth1', None, 'ping-pong', best, UNIT)


def tcp_depth32(table, sizes):
    figures = {}
    table.add('tcp_read_depth32', None, DILOS, pages('tcp', DEPTH, sizes), UNIT)
    for make, measure in PEERS:
        with make() as server:
            figures[server.name] = measure(server, sizes)
            table.add('tcp_read_depth32', None, server.name, figures[server.name], UNIT)
    table.add('tcp_read_depth32', None, 'best-peer', figures[best_variant(figures)], UNIT)


def shm_depth1(table, sizes):
    table.add('shm_read_depth1', None, DILOS, pages('shm', 1, sizes), UNIT)
    table.add('shm_read_depth1', None, 'memcpy',
              program(PEERS_PROGRAM, 'memcpy', sizes.native_pages)['ns'], UNIT)


def revoke(table, sizes):
    for fabric in ('tcp', 'shm'):
        result = program(PAGES_PROGRAM, 'revoke-' + fabric, sizes.revokes)
        table.add('revoke_p99_' + fabric, None, DILOS, result['p99'], 'ns')
        table.add('revoke_p50_' + fabric, None, DILOS, result['p50'], 'ns')


class Device:
    """A far device of an agent, one memory node over shared memory."""

    def __enter__(self):
        self.lab = Lab().__enter__()
        self.lab.start_controller()
        self.lab.start_memnode('mn1', memory='64M', fabrics=('shm',), flags=('--no-verbs',))
        self.lab.start_agent('a1', '--allow-foreign-guests')
        self.lab.wait_up(nodes=1, agents=1)
        self.count = 0
        return self

    def __exit__(self, *arguments):
        self.lab.__exit__(*arguments)

    def read_ns(self, sizes):
        self.count += 1
        name = f'share-{self.count}'
        done = self.lab.ctl('launch', '--name', name, '--device-only', '--local-memory', '16M',
                            '--far-memory', '32M', '--', 'bench')
        log = self.lab.ctl('logs', name, '--stream', 'kernel').stdout
        if done.returncode != 0 or 'socket=' not in log:
            raise BenchError(f'far device: {done.stderr}{log}')
        path = log.split('socket=')[1].split()[0]
        passes = max(1, sizes.native_pages // 4096)
        return program(FAR_CLIENT, path, 4096, passes, 1)['read_p50']


def add_difference(table, claim, ns):
    """What is a difference of two measured times may come out at 0, or below the noise."""
    table.add(claim, None, DILOS, max(ns, 1), UNIT)


def agent_share(table, sizes):
    with Device() as device:
        for _ in range(sizes.runs):
            table.add('far_read_depth1', None, DILOS, device.read_ns(sizes), UNIT)
            pair = program(PAIR_PROGRAM, sizes.native_pages)
            add_difference(table, 'agent_share', pair['share'])
            for claim, lines in (('agent_share_floor', 1), ('agent_share_floor4', 4)):
                figure = program(PEERS_PROGRAM, 'handover', lines, sizes.native_pages)
                table.add(claim, None, DILOS, figure['ns'], UNIT)
            breakdown(table, sizes, pair['far'])


def breakdown(table, sizes, far):
    """Of one turn on one thread, and what is left of a read by another thread: the hand-over."""
    parts = program(SHARE_PROGRAM, sizes.native_pages)
    turn, copy = parts['turn'], parts['copy']
    known = sum(parts[name] for name in STAGES)
    table.add('agent_share_copy', None, DILOS, copy, UNIT)
    for name in ('take', 'parse', 'find', 'answer'):
        add_difference(table, 'agent_share_' + name, parts[name])
    # The layer that connects again and the copy below it, beside which the bare copy is put: their
    # difference is smaller than the noise of either.
    add_difference(table, 'agent_share_fabric', parts['post'] + parts['complete'])
    add_difference(table, 'agent_share_rest', turn - known)
    add_difference(table, 'agent_share_work', turn - copy)
    add_difference(table, 'agent_share_handover', far - turn)


NATIVE = {'tcp_read_depth1': tcp_depth1, 'tcp_read_depth32': tcp_depth32,
          'shm_read_depth1': shm_depth1, 'revoke': revoke}
RATIOS = {'verbs_read_depth1': 'ib_read_lat', 'verbs_read_depth32': 'ib_read_bw',
          'tcp_read_depth1': 'ping-pong', 'tcp_read_depth32': 'best-peer',
          'shm_read_depth1': 'memcpy'}


def rows_of(table):
    """All systems, and the one ratio that the claim is about."""
    wanted = {(claim, f'{DILOS}/{system}') for claim, system in RATIOS.items()}
    return [r for r in table.rows(DILOS)
            if '/' not in r['system'] or (r['claim'], r['system']) in wanted]


def run(claims, options):
    sizes = Sizes(options)
    table = Table()
    refused = []
    chosen = [claim for claim in claims if claim.startswith('verbs_')]
    try:
        if chosen:
            verbs(table, sizes, chosen)
    except Refused as reason:
        refused += [f'{claim} ({reason})' for claim in chosen]
    for number in range(sizes.runs):
        for claim in claims:
            if claim in NATIVE:
                progress(f'{claim}: run {number + 1} of {sizes.runs}')
                NATIVE[claim](table, sizes)
    if 'agent_share' in claims:
        progress('agent_share')
        agent_share(table, sizes)
    return rows_of(table), refused
