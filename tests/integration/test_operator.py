# SPDX-License-Identifier: Apache-2.0
"""dilosctl, controller and memory nodes with an agent that is played: every path of an instance's
life without an emulator."""
import json
import os
import socket
import struct
import subprocess
import sys

from fake_agent import FakeAgent, Refused, SCHEMA, ask
from support import Lab, launch, start_pool, tap, wait_all_free
from lab.lab import program
from lab.tap import expect, expect_equal, expect_in


def in_background(lab, *words):
    return subprocess.Popen([program('ctl'), '--controller', lab.address, *words], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=lab.folder)


def begin(lab, agent, name, *options):
    """Launches with --detach; the instance runs when it returns: its id."""
    process = in_background(lab, 'launch', '--name', name, *options, '--far-memory', '16M', '--',
                            'prog', 'arg')
    instance_id = agent.wait_started(name)
    agent.report(instance_id, 'INSTANCE_RUNNING')
    out, errors = process.communicate(timeout=30)
    expect_equal((process.returncode, out), (0, f'{name} running on a1\n'), errors)
    return instance_id


def test_a_life(lab, shared):
    agent = shared['agent']
    agent.on['INSTANCE_LIVE'] = lambda _: {
        'counters': [{'name': 'faults_remote', 'value': 5, 'unit': 'faults'}],
        'unknown_syscalls': ['io_uring_setup']}
    agent.on['LOG_READ'] = lambda r: {'data': b'hello'[r['offset']:], 'next_offset': 5,
                                      'end': True}
    instance_id = begin(lab, agent, 'life', '--file', 'x.txt', '--env', 'A=b')
    spec = agent.started[instance_id]
    expect_equal((spec['arguments'], spec['environment']), (['prog', 'arg'], ['A=b']), 'spec')
    expect_equal(spec['files'], [{'host_path': lab.path('x.txt'), 'guest_path': '/x.txt'}], 'files')
    expect_equal(lab.instance('life')['live']['counters'], {'faults_remote': 5}, 'live')
    expect_equal(lab.ctl('logs', 'life').stdout, 'hello', 'logs')
    waiting = in_background(lab, 'wait', 'life', '--exit-status')
    agent.report(instance_id, 'INSTANCE_EXITED', 'exited', 3)
    _, errors = waiting.communicate(timeout=30)
    expect_equal(waiting.returncode, 3, errors)
    instance = lab.instance('life')
    expect_equal((instance['state'], instance['exit_code']), ('exited', 3), 'afterwards')
    expect(instance['ended_ns'] >= instance['started_ns'] >= instance['created_ns'] > 0, 'times')
    kinds = [line.split()[3] for line in lab.ctl('events').stdout.splitlines() if ' life ' in line]
    expect_equal(kinds[-1], 'instance.exited', 'events')


def test_slabs_of_an_instance(lab, shared):
    agent = shared['agent']
    instance_id = begin(lab, agent, 'slabs')
    key = os.urandom(16)
    slabs = agent.acquire(instance_id, 6, key)
    expect_equal(len(slabs), 6, 'slabs')
    expect_equal(len({bytes(s['key']) for s in slabs}), 6, 'a key for each')
    expect_equal(agent.acquire(instance_id, 6, key), slabs, 'the same key, the same slabs')
    extents = lab.json('slab', 'list', '--instance', 'slabs')['extents']
    expect_equal(sum(e['slab_count'] for e in extents), 6, 'as dilosctl shows them')
    expect_equal({e['node'] for e in extents}, {'mn1', 'mn2'}, 'spread')
    pages, at = [], {}
    while at is not None:
        page = ask(lab, 'SLAB_LIST', 'SlabFilter', {'count_max': 1, **at}, 'SlabList')
        expect(len(page['extents']) <= 1, 'one at a time')
        pages += page['extents']
        at = {'from_node': page['next_node'], 'from_slab': page['next_slab']} \
            if page['next_node'] else None
    expect_equal([(e['node'], e['slab_first'], e['slab_count']) for e in pages],
                 [(e['node'], e['slab_first'], e['slab_count'])
                  for e in lab.json('slab', 'list')['extents']], 'in pages')
    agent.release(instance_id, slabs[:2])
    lab.wait_until(lambda: lab.slabs_in_use() == 4, 'two to be free')
    rest = agent.acquire(instance_id, 32, os.urandom(16))
    # 16 for the far memory, and 3 since address ranges begin and end inside slabs.
    expect(12 <= len(rest) <= 16, f'no more than --far-memory: {len(rest)}')
    try:
        agent.acquire(instance_id, 1, os.urandom(16))
        raise AssertionError('more than --far-memory was granted')
    except Refused as refused:
        expect_equal(refused.error['code'], SCHEMA.value('ERROR_REFUSED'), 'code')
        expect_in('--far-memory', refused.error['remedy'], 'remedy')
    agent.report(instance_id, 'INSTANCE_EXITED', 'exited', 0)
    wait_all_free(lab)


def attach_over_tcp(s, handle, slab_index, generation, key):
    """The status that the memory node answers (lib/wire/pageop.h)."""
    s.sendall(struct.pack('<BBHIQQII', 1, 0, 0, handle, 7, 0, 32, 0)
              + struct.pack('<IIQ', slab_index, 0, generation) + key)
    return struct.unpack('<BBHIQII', s.recv(24, socket.MSG_WAITALL))[2]


def test_an_event_names_who_misuses_keys(lab, shared):
    """An instance shows a good key, then uses it for another slab, then after it was taken back."""
    agent = shared['agent']
    instance_id = begin(lab, agent, 'thief')
    slab = agent.acquire(instance_id, 1, os.urandom(16))[0]
    key = bytes(slab['key'])
    host, port = lab.nodes()[slab['node']]['endpoint']['tcp_address'].rsplit(':', 1)
    hello = struct.pack('<IHHQ', 0x4f504c44, 1, 0, 0)
    with socket.create_connection((host, int(port)), timeout=30) as s:
        s.sendall(hello)
        expect_equal(s.recv(16, socket.MSG_WAITALL), hello, 'hello')
        other = (slab['slab_index'] + 1) % 8
        expect_equal(attach_over_tcp(s, 1, slab['slab_index'], slab['generation'], key), 0, 'own')
        expect(attach_over_tcp(s, 2, other, slab['generation'], key) != 0, "another's slab")
        agent.report(instance_id, 'INSTANCE_EXITED', 'exited', 0)
        wait_all_free(lab)
        expect(attach_over_tcp(s, 3, slab['slab_index'], slab['generation'], key) != 0, 'old key')

    def told():
        lines = lab.ctl('--output', 'json', 'events').stdout.splitlines()
        return [e for e in map(json.loads, lines)
                if e['kind'] == 'access.refused' and e['subject'] == 'thief']
    lab.wait_until(lambda: len(told()) == 2, 'two events')
    for event, index, what in zip(told(), (other, slab['slab_index']), ("not the slab's", 'back')):
        expect_in(f'memory node {slab["node"]} refused slab {index} over tcp: ', event['detail'],
                  'event')
        expect_in(what, event['detail'], 'event')
    expect(key.hex() not in lab.ctl('events').stdout + lab.tails(), 'no key is shown')


def test_a_program_that_is_refused(lab, shared):
    agent = shared['agent']
    process = in_background(lab, 'launch', '--name', 'refused', '--far-memory', '16M', 'x')
    agent.report(agent.wait_started('refused'), 'INSTANCE_FAILED', 'refused', 0,
                 'x is not an ELF file')
    _, errors = process.communicate(timeout=30)
    expect_equal(process.returncode, 4, errors)
    expect_in('x is not an ELF file', errors, 'reason')


def test_stop(lab, shared):
    agent = shared['agent']
    signals = []
    agent.on['INSTANCE_SIGNAL'] = lambda request: signals.append(request) or {}
    instance_id = begin(lab, agent, 'stopped')
    process = in_background(lab, 'stop', 'stopped', '--grace', '2')
    lab.wait_until(lambda: signals, 'the agent to be told')
    expect_equal((signals[0]['instance_id'], signals[0]['signal'], signals[0]['grace_ms']),
                 (instance_id, 15, 2000), 'the signal')
    expect_equal(lab.instance('stopped')['state'], 'stopping', 'meanwhile')
    agent.report(instance_id, 'INSTANCE_EXITED', 'signaled', 15)
    _, errors = process.communicate(timeout=30)
    expect_equal(process.returncode, 0, errors)


def test_refusals(lab, shared):
    instance_id = begin(lab, shared['agent'], 'taken')
    for words, code in ((('launch', '--name', 'taken', 'x'), 4),
                        (('launch', '--name', 'big', '--far-memory', '1T', 'x'), 4),
                        (('launch', '--name', 'none', '--agent', 'nobody', 'x'), 5),
                        (('rm', 'taken'), 4), (('rm', 'nobody'), 5)):
        done = lab.ctl(*words)
        expect_equal(done.returncode, code, f'{words}: {done.stderr}')
        expect_in('remedy: ', done.stderr, f'{words}')
    shared['agent'].report(instance_id, 'INSTANCE_EXITED', 'exited', 0)
    expect_equal(lab.ctl('rm', 'taken').returncode, 0, 'rm')
    expect_equal(lab.ctl('inspect', 'taken').returncode, 5, 'forgotten')


def come_back(lab, shared, instance_id, slabs):
    """The controller dies and starts again; the agent, which tells what runs, registers again."""
    lab.daemons[0].kill()
    shared['agent'].close()
    lab.daemons[0].start()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer')
    held = [{'slab_index': s['slab_index'], 'generation': s['generation'],
             'instance_id': instance_id} for s in slabs]
    shared['agent'] = FakeAgent(lab, instances=[{
        'instance_id': instance_id, 'state': 'INSTANCE_RUNNING', 'held': held,
        'held_nodes': [s['node'] for s in slabs]}])
    return shared['agent']


def test_resize(lab, shared):
    """What an agent has done is kept, also over the death of the controller."""
    agent = shared['agent']
    asked = []
    agent.on['INSTANCE_RESIZE'] = lambda r: asked.append(r) or {
        'local_bytes': r['local_bytes'] or 64 << 20}
    agent.on['INSTANCE_TUNE'] = lambda r: asked.append(r) or {}
    instance_id = begin(lab, agent, 'sized')
    done = lab.ctl('tune', 'sized', 'prefetch=trend')
    expect_equal(done.returncode, 0, done.stderr)
    expect_equal(asked.pop(), {'instance_id': instance_id, 'setting': 'prefetch=trend'}, 'asked')
    done = lab.ctl('resize', 'sized', '--local-memory', '80M', '--far-memory', '20M')
    expect_equal((done.returncode, done.stdout),
                 (0, 'sized: 80M of local memory, 20M of far memory at most\n'), done.stderr)
    expect_equal(asked.pop(), {'instance_id': instance_id, 'local_bytes': 80 << 20,
                               'far_bytes': 20 << 20}, 'asked')
    slabs = agent.acquire(instance_id, 32, os.urandom(16))
    expect(20 <= len(slabs) <= 23, f'as many slabs as it may have now: {len(slabs)}')
    done = lab.ctl('resize', 'sized', '--far-memory', '16M')
    expect_equal(done.returncode, 4, 'less than is held')
    expect_equal(lab.ctl('resize', 'sized', '--far-memory', '1T').returncode, 4, 'does not fit')
    expect_equal(asked, [], 'the agent was not asked')
    agent = come_back(lab, shared, instance_id, slabs)
    lab.wait_up(nodes=2, agents=1)
    spec = lab.instance('sized')['spec']
    expect_equal((spec['local_bytes'], spec['far_bytes']), (80 << 20, 20 << 20), 'sizes')
    agent.report(instance_id, 'INSTANCE_EXITED', 'exited', 0)
    done = lab.ctl('resize', 'sized', '--far-memory', '32M')
    expect_equal(done.returncode, 4, 'it has ended')
    wait_all_free(lab)


def test_controller_is_killed(lab, shared):
    """Slabs, instance and generations are after a restart what they were."""
    agent = shared['agent']
    instance_id = begin(lab, agent, 'kept')
    slabs = agent.acquire(instance_id, 4, os.urandom(16))
    before = lab.json('slab', 'list', '--instance', 'kept')
    agent = come_back(lab, shared, instance_id, slabs)
    expect_equal(agent.registered['unknown_instances'], [], 'it knows the instance')
    lab.wait_up(nodes=2, agents=1)
    expect_equal(lab.json('slab', 'list', '--instance', 'kept'), before, 'slabs')
    expect_equal(lab.instance('kept')['state'], 'running', 'state')
    agent.report(instance_id, 'INSTANCE_EXITED', 'exited', 0)
    wait_all_free(lab)


def test_instances_that_nobody_knows(lab, shared):
    shared['agent'].close()
    shared['agent'] = FakeAgent(lab, instances=[{'instance_id': 'e' * 32,
                                                 'state': 'INSTANCE_RUNNING'}])
    expect_equal(shared['agent'].registered['unknown_instances'], ['e' * 32], 'to be ended')


def test_agent_is_lost(lab, shared):
    agent = shared['agent']
    instance_id = begin(lab, agent, 'orphan')
    agent.acquire(instance_id, 4, os.urandom(16))
    agent.close()
    instance = lab.wait_state('orphan', ('failed',), 40)
    expect_in('a1', instance['reason'], 'the agent is named')
    wait_all_free(lab)
    done = launch(lab, 'nowhere', 'x', far='16M')
    expect_equal(done.returncode, 4, done.stderr)
    shared['agent'] = FakeAgent(lab)


def test_memory_node_is_lost(lab, shared):
    agent = shared['agent']
    instance_id = begin(lab, agent, 'far')
    nodes = {s['node'] for s in agent.acquire(instance_id, 8, os.urandom(16))}
    expect_equal(nodes, {'mn1', 'mn2'}, 'on both')
    shared['mn2'].kill()
    lab.wait_until(lambda: lab.nodes()['mn2']['state'] == 'down', 'mn2 to be down')
    shared['mn2'].start()  # with another arena: what it had is lost
    lab.wait_up(nodes=2, agents=1)
    instance = lab.wait_state('far', ('failed',), 40)
    expect_equal(instance['exit_kind'], 'far-lost', instance['reason'])
    expect_in('mn2', instance['reason'], 'the node is named')
    wait_all_free(lab)


def main():
    with Lab() as lab:
        shared = start_pool(lab, agent=False)
        shared['agent'] = FakeAgent(lab)
        return tap.run(globals(), lab, shared, on_failure=lab.tails)


sys.exit(main())
