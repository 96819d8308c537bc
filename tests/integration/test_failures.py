# SPDX-License-Identifier: Apache-2.0
"""Each daemon dies while it is needed; what depends on it says so, and everything else goes on."""
import os
import signal
import subprocess
import sys
import time

from support import (BEHAVE, FIRE, expect_good, hold, launch, main, run, start_pool, stdout_of,
                     wait_all_free)
from lab.lab import program
from lab.tap import expect, expect_equal, expect_in


def qemu_pids(agent_pid):
    """QEMU processes below the agent."""
    found = []
    for entry in os.listdir('/proc'):
        try:
            with open(f'/proc/{entry}/stat', encoding='utf-8', errors='replace') as f:
                before, _, after = f.read().rpartition(')')
        except (OSError, ValueError):
            continue
        if int(after.split()[1]) == agent_pid and 'qemu' in before:
            found.append(int(entry))
    return found


def gone(pid):
    return not os.path.exists(f'/proc/{pid}')


def fresh(lab, members):
    """Whatever a case before this one left: all daemons up, nothing running, all slabs free."""
    for daemon in members.values():
        if not daemon.alive():
            daemon.start()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer')
    lab.wait_up(nodes=2, agents=1, limit_s=60)
    running = [i['name'] for i in lab.json('ps')['instances']
               if i['state'] not in ('exited', 'failed')]
    if running:
        lab.ctl('stop', '--grace', '0', *running)
    wait_all_free(lab)


def test_controller_dies(lab, members):
    fresh(lab, members)
    hold(lab, 'survivor')
    before = lab.instance('survivor')
    nodes = {n: v['node_id'] for n, v in lab.nodes().items()}
    epoch = lab.json('status')['epoch']
    controller = members['controller']
    controller.kill()
    expect_equal(lab.ctl('status').returncode, 3, 'unreachable')
    time.sleep(2)
    controller.start()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer again')
    lab.wait_up(nodes=2, agents=1)
    after = lab.instance('survivor')
    expect_equal(after['instance_id'], before['instance_id'], 'the same instance')
    expect_equal({n: v['node_id'] for n, v in lab.nodes().items()}, nodes, 'the same nodes')
    expect(lab.json('status')['epoch'] > epoch, 'a new epoch')
    done = lab.ctl('wait', 'survivor', limit_s=90)
    expect_equal(done.returncode, 0, done.stderr)
    expect_equal(stdout_of(lab, 'survivor'), b'filled\nverified\n', 'output')
    wait_all_free(lab)


def test_wait_survives_the_controller(lab, members):
    fresh(lab, members)
    hold(lab, 'waited', seconds='6')
    waiting = subprocess.Popen([program('ctl'), '--controller', lab.address, 'wait', 'waited'],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    members['controller'].kill()
    time.sleep(1)
    members['controller'].start()
    _, errors = waiting.communicate(timeout=90)
    expect_equal(waiting.returncode, 0, errors)


def attach(lab, name, *options, seconds):
    """launch --attach, and its process once the program has filled its memory."""
    process = subprocess.Popen(
        [program('ctl'), '--controller', lab.address, 'launch', '--name', name, '--local-memory',
         '16M', '--far-memory', '48M', '--attach', *options, '--', BEHAVE, 'hold', '32', seconds],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    expect_equal(process.stdout.readline(), 'filled\n', 'its output')
    return process


def test_attached_when_the_controller_is_lost(lab, members):
    """Says so at once, tries again as long as it may, and then what to do; the program goes on."""
    fresh(lab, members)
    process = attach(lab, 'left', '--patience', '3', seconds='20')
    members['controller'].kill()
    expect_in('broke', process.stderr.readline(), 'told at once')
    out, errors = process.communicate(timeout=30)
    expect_equal((process.returncode, out), (3, ''), errors)
    expect_in('could not be made again within 3 s', errors, 'why')
    expect_in('left goes on without the controller', errors, 'what becomes of it')
    expect_in('dilosctl inspect left', errors, 'what to do')
    members['controller'].start()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer again')
    done = lab.ctl('wait', 'left', limit_s=90)
    expect_equal(done.returncode, 0, done.stderr)
    expect_equal(stdout_of(lab, 'left'), b'filled\nverified\n', 'it went on')


def test_attached_when_the_controller_comes_back(lab, members):
    fresh(lab, members)
    process = attach(lab, 'kept', seconds='8')
    members['controller'].kill()
    expect_in('kept goes on without it', process.stderr.readline(), 'told at once')
    members['controller'].start()
    out, errors = process.communicate(timeout=90)
    expect_equal((process.returncode, out), (0, 'verified\n'), errors)
    expect_in('connected to the controller again', errors, 'told')


def test_attached_when_the_controller_stands_still(lab, members):
    """Its connection stays, and nothing comes: that has a limit, too."""
    fresh(lab, members)
    process = attach(lab, 'waiting', seconds='45')
    members['controller'].signal(signal.SIGSTOP)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        members['controller'].signal(signal.SIGCONT)
    expect_equal(process.returncode, 3, errors)
    expect_in('waiting goes on without the controller', errors, 'what becomes of it')
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer again')
    done = lab.ctl('wait', 'waiting', limit_s=90)
    expect_equal(done.returncode, 0, done.stderr)


def test_qemu_dies(lab, members):
    fresh(lab, members)
    hold(lab, 'shot', seconds='60')
    hold(lab, 'bystander', mib='24', seconds='4')
    shot = members['agent']
    pids = qemu_pids(shot.pid)
    expect_equal(len(pids), 2, 'two instances run')
    os.kill(min(pids, key=lambda p: os.stat(f'/proc/{p}').st_ctime), signal.SIGKILL)
    outcomes = {name: lab.wait_state(name, ('exited', 'failed'), 90)
                for name in ('shot', 'bystander')}
    kinds = sorted(i['exit_kind'] for i in outcomes.values())
    lab.ctl('stop', 'shot', 'bystander')
    expect_equal(kinds, ['exited', 'vmm'], 'one fails, the other goes on')
    wait_all_free(lab)


def test_agent_dies(lab, members):
    fresh(lab, members)
    hold(lab, 'orphan', seconds='120')
    agent = members['agent']
    pids = qemu_pids(agent.pid)
    expect_equal(len(pids), 1, 'one instance runs')
    agent.kill()
    lab.wait_until(lambda: all(gone(p) for p in pids), 'QEMU to end with its agent', 15)
    lab.wait_until(lambda: lab.json('status')['agents_up'] == 0, 'the controller to see it')
    agent.start()
    lab.wait_up(nodes=2, agents=1, limit_s=60)
    instance = lab.wait_state('orphan', ('failed',), 60)
    expect_in('a1', instance['reason'], 'the agent is named')
    wait_all_free(lab)
    expect_good(run(lab, 'next', BEHAVE, 'exit', '0'))


def test_far_memory_runs_out(lab, members):
    """Both fit when they are launched; together they want more than the pool has."""
    fresh(lab, members)
    hold(lab, 'modest', mib='40', seconds='30', far='60M')
    instance = run(lab, 'greedy', BEHAVE, 'take', '110', far='80M')
    # At most what it may have: refused by mmap, or stopped when no frame was left.
    if instance['exit_kind'] == 'exited':
        expect_equal(stdout_of(lab, 'greedy'), b'ENOMEM\n', 'the program is told')
    else:
        expect_equal(instance['exit_kind'], 'no-memory', instance['reason'])
        expect(instance['reason'] != '', 'a reason')
    expect_equal(lab.ctl('wait', 'modest', limit_s=90).returncode, 0, 'nobody else is harmed')
    wait_all_free(lab)


def test_instance_outgrows_what_it_may_have(lab, members):
    """It ends with the reason, soon; it is not left to crawl, and nobody else is harmed."""
    fresh(lab, members)
    hold(lab, 'neighbour', mib='32', seconds='10')
    instance = run(lab, 'outgrown', BEHAVE, 'take', '110', local='20M', far='16M')
    expect_equal(instance['exit_kind'], 'no-memory', instance['reason'])
    expect_in('far memory', instance['reason'], 'the reason')
    expect_equal(lab.ctl('wait', 'neighbour', limit_s=90).returncode, 0, 'nobody else is harmed')
    wait_all_free(lab)


def test_memory_node_dies(lab, members):
    """The instance that used it fails and names it; one that doesn't use it goes on."""
    fresh(lab, members)
    members['mn2'].kill()
    lab.wait_until(lambda: lab.nodes()['mn2']['state'] != 'up', 'mn2 to be down')
    hold(lab, 'on-mn1', mib='58', seconds='60', far='62M')
    members['mn2'].start()
    lab.wait_up(nodes=2, agents=1)
    hold(lab, 'on-mn2', mib='24', seconds='12', far='32M')
    used = {e['node'] for e in lab.json('slab', 'list', '--instance', 'on-mn2')['extents']}
    expect_equal(used, {'mn2'}, 'the other instance is on the other node')
    before = lab.nodes()['mn1']
    members['mn1'].kill()
    instance = lab.wait_state('on-mn1', ('failed', 'exited'), 60)
    expect_equal(instance['exit_kind'], 'far-lost', instance['reason'])
    expect_in('mn1', instance['reason'], 'the node is named')
    expect_equal(lab.ctl('wait', 'on-mn2', limit_s=60).returncode, 0, 'the other goes on')
    # It comes back with other data: nothing of the old may be taken for good.
    members['mn1'].start()
    lab.wait_up(nodes=2, agents=1)
    after = lab.nodes()['mn1']
    expect_equal(after['node_id'], before['node_id'], 'the same node')
    expect(after['arena_id'] != before['arena_id'], 'another arena')
    wait_all_free(lab)
    expect_good(run(lab, 'again', BEHAVE, 'hold', '32', '0'))


def test_threads_whose_memory_is_gone(lab, members):
    """One thread faults on a page that is lost: all end with that reason, and nothing of what the
    others did meanwhile is taken for a result."""
    fresh(lab, members)
    done = launch(lab, 'burning', FIRE, '4', '3072', '100000000', '1', local='12M', far='62M',
                  options=('--vcpus', '3'))
    expect_equal(done.returncode, 0, done.stderr)
    lab.wait_until(lambda: b'round' in stdout_of(lab, 'burning'), 'its threads to run', 60)
    used = {e['node'] for e in lab.json('slab', 'list', '--instance', 'burning')['extents']}
    node = sorted(used)[0]
    members[node].kill()
    instance = lab.wait_state('burning', ('failed', 'exited'), 60)
    expect_equal(instance['exit_kind'], 'far-lost', instance['reason'])
    done = lab.ctl('wait', 'burning')
    expect_equal(done.returncode, 1, done.stderr)
    expect_in(node, done.stderr, 'the node is named to who waits')
    expect_in(node, instance['reason'], 'the node is named')
    output = stdout_of(lab, 'burning')
    expect(b'wrong' not in output and b'good' not in output, output[-500:])
    members[node].start()
    lab.wait_up(nodes=2, agents=1)
    wait_all_free(lab)


def make_pool(lab):
    # One host: so the slabs of a request go to the node with more room, and not to both.
    return dict(start_pool(lab, host='h'), controller=lab.daemons[0])


sys.exit(main(globals(), make_pool))
