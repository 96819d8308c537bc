# SPDX-License-Identifier: Apache-2.0
"""Agents that can't start instances, or whose VMs die; programs larger than their local memory."""
import os
import re
import subprocess
import sys

from support import (BEHAVE, BIG, LARGE, expect_good, launch, main, run, start_pool, stdout_of,
                     wait_all_free)
from lab.lab import program
from lab.tap import expect, expect_equal, expect_in


def start_agent(lab, name, *flags):
    agent = lab.start_agent(name, '--accel', 'tcg', *flags)
    lab.wait_until(lambda: any(a['name'] == name and a['up'] for a in lab.json('status')['agents']),
                   f'{name} to be up')
    return agent


def script(lab, name, text):
    path = lab.path(name)
    with open(path, 'w', encoding='utf-8') as f:
        f.write('#!/bin/sh\n' + text)
    os.chmod(path, 0o755)
    return path


def test_no_qemu(lab, _):
    start_agent(lab, 'bare', '--qemu', '/none')
    health = [h for a in lab.json('status')['agents'] if a['name'] == 'bare' for h in a['health']]
    expect_equal([h['code'] for h in health], ['QEMU_MISSING'], 'health')
    expect_in('apt-get install qemu-system-x86', health[0]['remedy'], 'its remedy')
    done = launch(lab, 'nowhere', '/bin/true', options=('--agent', 'bare', '--wait'))
    expect_equal(done.returncode, 4, done.stderr)
    expect_in('apt-get install qemu-system-x86', done.stderr, 'what helps')


def test_qemu_dies_at_once(lab, _):
    path = script(lab, 'qemu-dies', "echo 'qemu: -M microvm: unsupported machine' >&2; exit 3\n")
    start_agent(lab, 'dying', '--qemu', path)
    for i in range(3):
        done = launch(lab, f'dead-{i}', '/bin/true', options=('--agent', 'dying', '--wait'))
        expect_equal(done.returncode, 1, done.stderr)
        expect_in('unsupported machine', done.stderr, 'what QEMU said')
        instance = lab.instance(f'dead-{i}')
        expect_equal((instance['state'], instance['exit_kind']), ('failed', 'vmm'), 'outcome')
    wait_all_free(lab)


def test_qemu_that_never_speaks(lab, _):
    """It is stopped like any other: the operator need not wait for the limit of a boot."""
    start_agent(lab, 'mute', '--qemu', script(lab, 'qemu-mute', 'exec sleep 600\n'))
    with subprocess.Popen([program('ctl'), '--controller', lab.address, 'launch', '--name',
                           'silent', '--agent', 'mute', '--local-memory', '16M', '--far-memory',
                           '16M', '--', '/bin/true'],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launching:
        lab.wait_until(lambda: any(i['name'] == 'silent' and i['state'] == 'starting'
                                   for i in lab.json('ps')['instances']), 'silent to start')
        stop_silent(lab)
        launching.wait(30)


def stop_silent(lab):
    done = lab.ctl('stop', '--grace', '0.2', 'silent')
    expect_equal(done.returncode, 0, done.stderr)
    expect_equal(lab.instance('silent')['exit_kind'], 'stopped', 'outcome')


def test_state_folder_in_use(lab, members):
    second = lab.start('agent-second', members['agent'].command)
    expect(second.wait_end() != 0, 'it fails')
    lab.daemons.remove(second)
    expect_in(f'process {members["agent"].pid} uses this state folder', second.log(), 'who has it')


def test_leftovers_do_not_hinder(lab, members):
    """After kill -9 the lock file, sockets and instance folders stay behind."""
    launch(lab, 'left', BIG, '600')
    members['agent'].kill()
    members['agent'].start()
    lab.wait_up(nodes=2, agents=1)
    lab.wait_state('left', ('failed',), 60)
    expect_good(run(lab, 'after', '/bin/true', options=('--agent', 'a1')))
    expect_equal(os.listdir(lab.path('a1', 'i')), [lab.instance('after')['instance_id']],
                 'folders of instances')


def test_larger_than_local_memory(lab, _):
    """Initialized data of 24 MiB in 16 MiB: read from the image, changed, sent away, checked."""
    instance = run(lab, 'big', BIG, '0', local='16M', options=('--agent', 'a1'))
    expect_good(instance)
    expect_equal(stdout_of(lab, 'big'), b'good\n', 'output')
    expect(instance['live']['counters']['far_pages_written'] > 1000, 'it did not fit')
    wait_all_free(lab)


def test_far_delay(lab, _):
    """Each access takes as long as was asked for, and the program gets right data."""
    start_agent(lab, 'distant', '--far-delay', '300')
    instance = run(lab, 'far-away', BEHAVE, 'hold', '24', '0', local='16M',
                   options=('--agent', 'distant'))
    expect_good(instance)
    expect_equal(stdout_of(lab, 'far-away'), b'filled\nverified\n', 'output')
    latency = lab.json('inspect', 'far-away')['latency']['device_read']
    expect(latency['count'] > 0 and latency['p50_ns'] >= 300_000, f'{latency} is held back')


def test_far_delay_too_long(lab, _):
    done = subprocess.run([program('agent'), '--name', 'endless', '--state', lab.path('endless'),
                           '--far-delay', '100001'],
                          capture_output=True, text=True, timeout=10, check=False)
    expect_equal(done.returncode, 2, done.stderr)
    expect_in('--far-delay has to be at most 100000 microseconds', done.stderr, 'what helps')


def test_larger_than_all_memory(lab, _):
    instance = run(lab, 'large', LARGE, options=('--agent', 'a1'))
    expect_equal((instance['state'], instance['exit_kind']), ('failed', 'refused'),
                 instance['reason'])
    expect_in('raise --far-memory', instance['reason'], 'what helps')


def test_local_memory_too_small(lab, _):
    for size in ('64K', '1M', '4M'):
        done = launch(lab, 'tiny', '/bin/true', local=size, options=('--agent', 'a1', '--wait'))
        expect_equal(done.returncode, 4, done.stderr)
        expect_in('local memory is too small: the kernel needs', done.stderr, 'why')
    least = re.search(r'give --local-memory (\w+) or more', done.stderr)[1]
    instance = run(lab, 'smallest', BEHAVE, 'hold', '8', '0', local=least,
                   options=('--agent', 'a1'))
    expect_good(instance)
    expect_equal(stdout_of(lab, 'smallest'), b'filled\nverified\n', 'it pages in that')


sys.exit(main(globals(), start_pool))
