#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peers that mean harm, against real daemons: noise, cut and huge frames, silent and half-open
connections, thousands of them. Every daemon lives on, serves others, logs little, and keeps its
descriptors and memory within bounds."""
import os
import random
import resource
import socket
import struct
import sys
import time

from support import BEHAVE, SOURCE, Lab, launch, start_pool, tap, wire
from lab.tap import expect, expect_equal

SCHEMA = wire.Schema(os.path.join(SOURCE, 'proto', 'dilos.proto'))
HELLO = SCHEMA.value('MESSAGE_HELLO')
STATUS = SCHEMA.value('MESSAGE_STATUS')
PAGE_HELLO = struct.pack('<IHHQ', 0x4f504c44, 1, 0, 0)
RPC_CONNECTIONS_MAX = 1024
LOG_LINES_MAX = 40
GROWTH_BYTES_MAX = 48 << 20


def hello(role='ROLE_OPERATOR'):
    return wire.frame(HELLO, SCHEMA.encode('Hello', {
        'role': role, 'name': 'hostile', 'version_min': 1, 'version_max': 1, 'build': 'x'}))


class Watch:
    """One daemon: alive, its descriptors, memory and log lines since the watch began."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.descriptors = self.count_descriptors()
        self.memory = self.resident()
        self.lines = len(daemon.log().splitlines())

    def count_descriptors(self):
        return len(os.listdir(f'/proc/{self.daemon.pid}/fd'))

    def resident(self):
        with open(f'/proc/{self.daemon.pid}/statm', encoding='ascii') as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    def new_lines(self):
        return self.daemon.log().splitlines()[self.lines:]

    def expect_unharmed(self, lab, lines_max=LOG_LINES_MAX):
        expect(self.daemon.alive(), f'{self.daemon.name} lives')
        lab.wait_until(lambda: self.count_descriptors() <= self.descriptors + 4,
                       f'{self.daemon.name} to close the descriptors', 20)
        lines = self.new_lines()
        expect(len(lines) <= lines_max,
               f'{self.daemon.name} logged {len(lines)} lines, e.g. {lines[-1:]}')
        grown = self.resident() - self.memory
        with open(f'/proc/{self.daemon.pid}/maps', encoding='utf-8') as f:
            sanitized = 'libasan' in f.read() # keeps what was freed
        expect(sanitized or grown <= GROWTH_BYTES_MAX, f'{self.daemon.name} grew by {grown} bytes')


def connect_control(lab):
    """A unix socket whose queue of connections is full says so at once, with or without timeout."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)

    def connected():
        try:
            s.connect(lab.address[len('unix:'):])
            return True
        except BlockingIOError:
            return False
    lab.wait_until(connected, 'room in the queue of the controller', 20)
    return s


def export_address(lab):
    host, _, port = lab.nodes()['mn1']['endpoint']['tcp_address'].rpartition(':')
    return host, int(port)


def connect_pages(address, greet=False):
    s = socket.create_connection(address, 20)
    if greet:
        s.sendall(PAGE_HELLO)
        expect_equal(s.recv(16, socket.MSG_WAITALL), PAGE_HELLO, 'hello')
    return s


def push(s, data):
    try:
        s.sendall(data)
    except OSError:
        pass


def ended(s):
    try:
        while s.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True


def drop(s):
    """Ends a connection by a reset."""
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except OSError:
        pass
    s.close()


def served(lab):
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to serve dilosctl', 20)


def test_noise_to_the_controller(lab, members):
    rng = random.Random(7)
    watch = Watch(members['controller'])
    good = hello() + wire.frame(STATUS, b'', request_id=2)
    for i in range(600):
        data = [rng.randbytes(rng.randrange(1, 200)),
                good[:rng.randrange(1, len(good))],
                hello() + wire.frame(rng.randrange(1, 100), rng.randbytes(60), rng.randrange(8), 9),
                hello() + wire.frame(STATUS, b'', length=0xffffff),
                wire.frame(STATUS) + hello()][i % 5]
        with connect_control(lab) as s:
            push(s, data)
    served(lab)
    watch.expect_unharmed(lab)
    expect(any('connection-closed' in line for line in watch.new_lines()), 'it is logged')
    expect(any('dropped=' in line for line in watch.new_lines()) or
           len(watch.new_lines()) < LOG_LINES_MAX, 'what was not logged is counted')


def test_requests_as_notices(lab, members):
    """Nobody waits for the answer of a notice: a handler that answers would have nowhere to."""
    watch = Watch(members['controller'])
    for role in ('ROLE_OPERATOR', 'ROLE_AGENT', 'ROLE_MEMNODE'):
        with connect_control(lab) as s:
            s.sendall(hello(role))
            wire.read_frame(s)
            for kind in range(2, 100):
                push(s, wire.frame(kind, b'', wire.NOTICE, 0))
            s.shutdown(socket.SHUT_WR)
            expect(ended(s), 'the connection ends')
    served(lab)
    watch.expect_unharmed(lab)


def test_requests_without_reading(lab, members):
    """A peer that asks for much and reads nothing is cut off at a bound."""
    watch = Watch(members['controller'])
    with connect_control(lab) as s:
        s.sendall(hello())
        s.setblocking(False)
        frames = b''.join(wire.frame(STATUS, b'', request_id=i) for i in range(2, 2000))
        end = time.monotonic() + 5
        sent = 0
        while time.monotonic() < end:
            try:
                sent += s.send(frames[sent % len(frames):])
            except BlockingIOError:
                break
            except OSError:
                break
        served(lab)
    watch.expect_unharmed(lab)


def test_crowd_at_the_controller(lab, members):
    """Silent connections fill the server; members work on, and the crowd is sent away."""
    watch = Watch(members['controller'])
    crowd = []
    for _ in range(RPC_CONNECTIONS_MAX + 200):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(lab.address[len('unix:'):])
        except BlockingIOError:
            s.close()
            time.sleep(0.01)
            continue
        push(s, hello()[:10])
        crowd.append(s)
    expect(len(crowd) > RPC_CONNECTIONS_MAX // 2, f'{len(crowd)} connections')
    served(lab) # no later than when the first did not say HELLO in time
    status = lab.json('status')
    expect_equal((status['nodes_up'], status['agents_up']), (2, 1), 'members stay up')
    for s in crowd:
        s.settimeout(20)
        expect(ended(s), 'the silent one is sent away')
        s.close()
    watch.expect_unharmed(lab)


def test_noise_to_the_pages(lab, members):
    rng = random.Random(8)
    watch = Watch(members['mn1'])
    address = export_address(lab)
    for i in range(300):
        s = connect_pages(address, greet=i % 2 == 0)
        push(s, [rng.randbytes(300), PAGE_HELLO[:7], bytes(4096),
                 struct.pack('<BBHIQQII', 3, 0, 0, 5, i, 1 << 60, 4096, 0) * 20,
                 struct.pack('<BBHIQQII', 4, 0, 0, 5, i, 0, 0xffffffff, 0)][i % 5])
        drop(s)
    # A write that is announced and never comes, to a handle that does not exist.
    with connect_pages(address, greet=True) as s:
        s.sendall(struct.pack('<BBHIQQII', 4, 0, 0, 9, 1, 0, 1 << 20, 0) + bytes(100))
        s.settimeout(0.5)
        try:
            expect_equal(s.recv(1), b'', 'no answer before all of it came')
        except socket.timeout:
            pass
    watch.expect_unharmed(lab)
    lab.wait_until(lambda: any('export-refused' in line for line in watch.new_lines()),
                   'the memory node to log that it refused clients')


def test_crowd_at_the_pages(lab, members):
    """More connections than are served, none of which says hello: gone after two seconds."""
    watch = Watch(members['mn1'])
    address = export_address(lab)
    crowd = []
    for _ in range(1200):
        try:
            crowd.append(connect_pages(address))
        except OSError:
            break
    expect(len(crowd) > 500, f'{len(crowd)} connections')
    for s in crowd:
        expect(ended(s), 'the silent one is sent away')
        s.close()
    with connect_pages(address, greet=True):
        pass
    watch.expect_unharmed(lab)


def test_strangers_at_the_device(lab, members):
    """The far device of a running instance has one front end: its QEMU."""
    launch(lab, 'victim', BEHAVE, 'hold', '1', '60')
    instance = lab.wait_state('victim', ('running',))
    path = [os.path.join(folder, 'far') for folder, _, files in os.walk(lab.path('a1'))
            if 'far' in files and instance['instance_id'] in folder][0]
    watch = Watch(members['agent'])
    rng = random.Random(9)
    crowd = []
    for i in range(500):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        try:
            s.connect(path)
        except OSError:
            s.close()
            continue
        push(s, rng.randbytes(40) if i % 2 else struct.pack('<III', 1, 1, 0))
        crowd.append(s)
    for s in crowd:
        expect(ended(s), 'sent away')
        s.close()
    expect_equal(lab.instance('victim')['state'], 'running', 'the instance')
    watch.expect_unharmed(lab)
    lab.ctl('stop', 'victim')


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with Lab() as lab:
        members = start_pool(lab)
        members['controller'] = lab.daemons[0]
        return tap.run(globals(), lab, members, on_failure=lab.tails)


sys.exit(main())
