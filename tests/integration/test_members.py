# SPDX-License-Identifier: Apache-2.0
"""Memory nodes and controller without an agent: names, ports, leftovers, malformed frames."""
import os
import random
import socket
import struct
import subprocess
import sys

from support import SOURCE, Lab, free_port, start_pool, tap, wire
from lab.lab import program
from lab.tap import expect, expect_equal, expect_in

SCHEMA = wire.Schema(os.path.join(SOURCE, 'proto', 'dilos.proto'))
HELLO = SCHEMA.value('MESSAGE_HELLO')
OPERATOR = SCHEMA.encode('Hello', {'role': 'ROLE_OPERATOR', 'name': 'test', 'version_min': 1,
                                   'version_max': 1, 'build': 'test'})


def connect(lab):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(lab.address[len('unix:'):])
    return s


def send(s, data):
    """The controller may close before all was sent."""
    try:
        s.sendall(data)
        return True
    except OSError:
        return False


def closed(s):
    """Whether the other side closes; what it says before is read."""
    try:
        while s.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except socket.timeout:
        return False


def test_two_nodes_under_one_name(lab, members):
    first = lab.nodes()['mn1']
    command = lab.memnode_command('mn1', memory='32M')
    command[command.index('--state') + 1] = lab.path('mn1-second')
    second = lab.start('memnode-mn1-second', command)
    lab.wait_until(lambda: not second.alive() or 'mn1' in second.log() and
                   ('name' in second.log() or 'exists' in second.log()), 'a refusal', 30)
    lab.wait_until(lambda: 'refus' in second.log() or 'already' in second.log() or
                   'another' in second.log(), 'the reason in its log', 30)
    now = lab.nodes()
    expect_equal(sorted(now), ['mn1', 'mn2'], 'nodes')
    expect_equal(now['mn1']['node_id'], first['node_id'], 'the first keeps the name')
    expect_equal((now['mn1']['state'], now['mn1']['slab_count']), ('up', 64), 'and is up')
    second.stop()
    lab.daemons.remove(second)
    expect(members['mn1'].alive(), 'the first still runs')


def test_port_in_use(lab, _):
    port = free_port()
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', port))
        taken.listen()
        node = lab.start('memnode-port', lab.memnode_command(
            'port', flags=('--listen-tcp', f'127.0.0.1:{port}')))
        expect(node.wait_end() != 0, 'it fails')
    lab.daemons.remove(node)
    expect_in(f'127.0.0.1:{port}', node.log(), 'the address is named')
    expect_in('use', node.log(), 'and what is wrong with it')


def test_port_of_the_controller_in_use(lab, _):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        address = '127.0.0.1:' + str(taken.getsockname()[1])
        second = lab.start('controller-port', [
            lab.daemons[0].command[0], '--listen', address, '--state', lab.path('port-state')])
        expect(second.wait_end() != 0, 'it fails')
    lab.daemons.remove(second)
    expect_in(address, second.log(), 'the address is named')
    expect_in('use', second.log(), 'and what is wrong with it')


def test_no_agent(lab, _):
    for words in (('image', 'build', 'x', '/bin/true'), ('launch', '--name', 'x', '/bin/true')):
        done = lab.ctl(*words)
        expect_equal(done.returncode, 4, f'{words}: {done.stderr}')
        expect_in('remedy: ', done.stderr, f'{words}')
        expect_in('agent', done.stderr, f'{words}')
    expect_equal(lab.ctl('image', 'build', '--agent', 'nobody', 'x', '/bin/true').returncode, 5,
                 'an agent that does not exist')


def test_example_configurations(lab, _):
    """Every line of deploy/conf, those that are commented out too, is one that its daemon knows."""
    for name in ('controller', 'memnode', 'agent'):
        with open(os.path.join(SOURCE, 'deploy', 'conf', name + '.conf'), encoding='utf-8') as f:
            lines = [line.lstrip('# ') for line in f if '=' in line]
        expect(len(lines) >= 5, f'{name}.conf has examples')
        with open(lab.path('example.conf'), 'w', encoding='utf-8') as f:
            f.writelines(lines)
        # The file is read before the flags.
        done = subprocess.run([program(name), '--config', lab.path('example.conf'), '--no-such'],
                              capture_output=True, text=True, timeout=20, check=False)
        expect_in('--no-such', done.stderr, f'{name}.conf is fine, only the flag is not')


def test_controller_twice(lab, _):
    second = lab.start('controller-second', [
        lab.daemons[0].command[0], '--listen', lab.address, '--state', lab.path('second')])
    expect(second.wait_end() != 0, 'it fails')
    lab.daemons.remove(second)
    expect_in('controller.sock', second.log(), 'the socket is named')
    third = lab.start('controller-third', [
        lab.daemons[0].command[0], '--listen', 'unix:' + lab.path('third.sock'),
        '--state', lab.path('controller')])
    expect(third.wait_end() != 0, 'it fails')
    lab.daemons.remove(third)
    expect_in(str(lab.daemons[0].pid), third.log(), 'the process that has the state is named')
    expect(lab.ctl_quiet('status'), 'the first still answers')


def test_leftovers_do_not_hinder(lab, members):
    """After kill -9 sockets and pid files stay behind."""
    for daemon in (lab.daemons[0], members['mn1']):
        daemon.kill()
        daemon.start()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer')
    lab.wait_up(nodes=2, agents=0)


def test_arena_larger_than_the_machine(lab, _):
    node = lab.start('memnode-huge', lab.memnode_command('huge', memory='16T', slab='1G'))
    expect(node.wait_end() != 0, 'it fails')
    lab.daemons.remove(node)
    expect_in('16T', node.log(), 'the size is named')


def test_malformed_frames(lab, _):
    rng = random.Random(1)
    status = SCHEMA.value('MESSAGE_STATUS')
    hello = wire.frame(HELLO, OPERATOR)
    bad = {
        'noise': rng.randbytes(4096),
        'http': b'GET / HTTP/1.1\r\nHost: x\r\n\r\n' * 4,
        'zeros': bytes(4096),
        'magic': wire.frame(HELLO, OPERATOR, magic=0x12345678),
        'version of frames': wire.frame(HELLO, OPERATOR, version=9),
        'type 0': wire.frame(0, OPERATOR),
        'too long': wire.frame(HELLO, OPERATOR, length=0xffffffff),
        'flags': wire.frame(HELLO, OPERATOR, flags=0xffff),
        'request before hello': wire.frame(status),
        'reply that nobody asked for': hello + wire.frame(status, b'', wire.REPLY, 77),
        'hello twice': hello + hello,
        'body that is not protobuf': hello + wire.frame(
            SCHEMA.value('MESSAGE_NODE_INSPECT'), b'\xff' * 40, request_id=2),
    }
    for name, data in bad.items():
        with connect(lab) as s:
            send(s, data)
            expect(closed(s), f'{name}: the connection is closed')
        expect(lab.ctl_quiet('status'), f'{name}: others are served')


def test_frames_in_pieces_and_unknown(lab, _):
    with connect(lab) as s:
        for byte in wire.frame(HELLO, OPERATOR):
            s.sendall(bytes([byte]))
        expect_equal(wire.read_frame(s)[1], wire.REPLY, 'hello')
        # An unknown type, and one that an operator may not send: an error, the connection stays.
        for kind in (9999, SCHEMA.value('MESSAGE_NODE_REGISTER')):
            s.sendall(wire.frame(kind, b'', request_id=kind))
            got = wire.read_frame(s)
            expect_equal((got[1], got[2]), (wire.REPLY | wire.ERROR, kind), 'refused')
        s.sendall(wire.frame(SCHEMA.value('MESSAGE_STATUS'), b'', request_id=5))
        expect_equal(wire.read_frame(s)[1:3], (wire.REPLY, 5), 'served')


def test_versions(lab, _):
    future = SCHEMA.encode('Hello', {'role': 'ROLE_OPERATOR', 'name': 'test', 'version_min': 50,
                                     'version_max': 60})
    with connect(lab) as s:
        s.sendall(wire.frame(HELLO, future))
        got = wire.read_frame(s)
        expect_equal(got[1], wire.REPLY | wire.ERROR, 'refused')
        error = SCHEMA.decode('Error', got[3])
        expect_equal(error['code'], SCHEMA.value('ERROR_VERSION'), 'code')
        expect(error['message'] != '', 'message')


def test_cut_off_frames(lab, _):
    whole = wire.frame(HELLO, OPERATOR)
    for length in range(1, len(whole), 7):
        with connect(lab) as s:
            send(s, whole[:length])
    for _ in range(20):
        with connect(lab) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            send(s, whole)
    expect(lab.ctl_quiet('status'), 'others are served')


def test_many_connections(lab, _):
    """More than anybody needs: some may be refused, dilosctl is served afterwards."""
    crowd = []
    for _ in range(300):
        try:
            crowd.append(connect(lab))
        except OSError:
            break
    for s in crowd:
        s.close()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer')


def main():
    with Lab() as lab:
        members = start_pool(lab, agent=False)
        return tap.run(globals(), lab, members, on_failure=lab.tails)


sys.exit(main())
