# SPDX-License-Identifier: Apache-2.0
"""Settings and sizes that change while a program runs that verifies its memory."""
import os
import re
import sys

from support import BEHAVE, hold, launch, main, run, start_pool, stdout_of, wait_all_free
from lab import tap
from lab.tap import expect, expect_equal, expect_in


def verified(lab, name):
    done = lab.ctl('wait', name, limit_s=90)
    expect_equal(done.returncode, 0, done.stdout + done.stderr)
    expect_equal(stdout_of(lab, name), b'filled\nverified\n', f'output of {name}')
    wait_all_free(lab)


def change(lab, *words):
    done = lab.ctl(*words)
    expect_equal(done.returncode, 0, f'{words}: {done.stderr}')


def refused(lab, *words, because):
    done = lab.ctl(*words)
    expect_equal(done.returncode, 4, f'{words}: {done.stdout}{done.stderr}')
    expect_in(because, done.stderr, f'{words}')


def test_prefetcher(lab, _):
    hold(lab, 'tuned', seconds='25')
    expect_equal(lab.instance('tuned')['live']['prefetch'], 'readahead', 'at first')
    lab.wait_until(lambda: lab.instance('tuned')['live']['counters']['prefetch_issued'] > 1000,
                   'pages to be asked for ahead')
    refused(lab, 'tune', 'tuned', 'prefetch=clairvoyant', because='readahead')
    refused(lab, 'tune', 'tuned', 'color=red', because='prefetch')
    expect_equal(lab.instance('tuned')['live']['prefetch'], 'readahead', 'afterwards')
    change(lab, 'tune', 'tuned', 'prefetch=none')
    expect_equal(lab.instance('tuned')['live']['prefetch'], 'none', 'off')
    expect_equal(lab.instance('tuned')['spec']['prefetch'], 'none', 'at the controller')
    controller = lab.daemons[0]
    controller.kill()
    controller.start()
    lab.wait_until(lambda: lab.ctl_quiet('status'), 'the controller to answer again')
    lab.wait_up(nodes=2, agents=1)
    expect_equal(lab.instance('tuned')['spec']['prefetch'], 'none', 'after a restart')
    expect_equal(lab.instance('tuned')['live']['prefetch'], 'none', 'where it runs')
    change(lab, 'tune', 'tuned', 'prefetch=trend')
    expect_equal(lab.instance('tuned')['spec']['prefetch'], 'trend', 'at last')
    verified(lab, 'tuned')


def test_far_memory_grows(lab, _):
    hold(lab, 'far', seconds='6', far='36M')
    change(lab, 'resize', 'far', '--far-memory', '64M')
    instance = lab.instance('far')
    expect_equal((instance['spec']['far_bytes'], instance['live']['far_bytes']),
                 (64 << 20, 64 << 20), 'at the controller and at the agent')
    refused(lab, 'resize', 'far', '--far-memory', '8M', because='holds')
    verified(lab, 'far')


def test_growth_reaches_the_program(lab, _):
    """mmap refuses what could never fit, until it can; meminfo tells the same."""
    launch(lab, 'grows', BEHAVE, 'grow', '64', far='24M')
    lab.wait_until(lambda: b'ENOMEM' in stdout_of(lab, 'grows'), 'the refusal', 30)
    change(lab, 'resize', 'grows', '--far-memory', '80M')
    done = lab.ctl('wait', 'grows', limit_s=90)
    expect_equal(done.returncode, 0, done.stdout + done.stderr)
    expect_equal(stdout_of(lab, 'grows'), b'ENOMEM\nfar memory 80 MiB\nfilled\nverified\n',
                 'output')
    wait_all_free(lab)


def frames_mib(lab, name):
    return lab.instance(name)['live']['counters']['frames_total'] * 4096 >> 20


def test_local_memory_up_and_down(lab, _):
    hold(lab, 'local', mib='40', seconds='15')
    refused(lab, 'resize', 'local', '--local-memory', '33M', because='room for 32M')
    done = lab.ctl('resize', 'local', '--local-memory', '32M')
    if done.returncode == 4 and 'can\'t do that' in done.stderr:
        lab.ctl('stop', '--grace', '0', 'local')
        raise tap.Skip('the kernel of this build does not resize local memory')
    expect_equal(done.returncode, 0, done.stderr)
    for size in (20, 32, 17, 24):
        change(lab, 'resize', 'local', '--local-memory', f'{size}M')
        expect_equal(lab.instance('local')['spec']['local_bytes'], size << 20, 'as is told')
        expect(abs(frames_mib(lab, 'local') - size) <= 2, f'{size}M: {frames_mib(lab, "local")}')
    done = lab.ctl('resize', 'local', '--local-memory', '1M')
    expect_equal(done.returncode, 4, done.stderr)
    least = re.search(r'remedy: --local-memory (\w+)', done.stderr)[1]
    change(lab, 'resize', 'local', '--local-memory', least)
    change(lab, 'resize', 'local', '--local-memory', '20M')
    verified(lab, 'local')


def test_pinned_pages(lab, _):
    """A shared mapping is pinned: no resize below it; more than half of local memory is refused."""
    launch(lab, 'pins', BEHAVE, 'share', '6', '8', local='20M')
    lab.wait_until(lambda: b'filled' in stdout_of(lab, 'pins'), 'the mapping to be written', 30)
    refused(lab, 'resize', 'pins', '--local-memory', '8M', because='at least')
    least = int(re.search(r'remedy: --local-memory (\d+)M', lab.ctl(
        'resize', 'pins', '--local-memory', '8M').stderr)[1])
    expect(8 < least < 20, f'at least {least}M')
    change(lab, 'resize', 'pins', '--local-memory', f'{least}M')
    verified(lab, 'pins')
    done = launch(lab, 'greedy', BEHAVE, 'share', '12', '0', local='16M', options=('--wait',))
    expect_equal(done.returncode, 1, done.stderr)
    expect_in('--local-memory', done.stderr, 'what helps')
    ended = lab.instance('greedy')
    expect_equal(ended['exit_kind'], 'no-memory', ended['reason'])
    expect_in('--local-memory', ended['reason'], 'the reason')
    kernel = lab.ctl('logs', 'greedy', '--stream', 'kernel').stdout
    expect_in('pinned by shared file mappings', kernel, 'the cause')
    wait_all_free(lab)


def test_no_such_prefetcher(lab, _):
    done = launch(lab, 'odd', '/bin/true', options=('--wait', '--prefetch', 'clairvoyant'))
    expect_equal(done.returncode, 4, done.stdout + done.stderr)
    expect_in('clairvoyant', done.stderr, 'what is wrong')
    expect_in('none, readahead, trend', done.stderr, 'what there is')


def test_more_processors_than_the_host_has(lab, _):
    count = os.cpu_count() + 1
    if count > 16:
        raise tap.Skip('the kernel manages 16 processors, and this host has as many')
    done = launch(lab, 'many', BEHAVE, 'hold', '24', '0',
                  options=('--wait', '--vcpus', str(count)))
    expect_equal(done.returncode, 0, done.stderr)
    expect_in('they take turns', done.stderr, 'the warning')
    expect_equal(stdout_of(lab, 'many'), b'filled\nverified\n', 'output')
    refused(lab, 'launch', '--far-memory', '16M', '--vcpus', '1000', '/bin/true', because='--vcpus')
    wait_all_free(lab)


sys.exit(main(globals(), start_pool))
