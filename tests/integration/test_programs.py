# SPDX-License-Identifier: Apache-2.0
"""Programs in the pool: output, status, signals, what can't be run, no slab left behind."""
import os
import sys

from support import (BEHAVE, LOCAL, MEMCHECK, THREADS, expect_good, launch, main, native, run,
                     start_pool, stdout_of, wait_all_free)
from lab.tap import expect, expect_equal, expect_in


def test_the_pool_is_up(lab, _):
    status = lab.json('status')
    expect_equal((status['nodes_up'], status['agents_up']), (2, 1), 'members')
    expect_equal(status['bytes_free'], 128 << 20, 'free memory')
    nodes = lab.nodes()
    expect_equal(sorted(nodes), ['mn1', 'mn2'], 'nodes')
    expect_equal([n['slabs_free'] for n in nodes.values()], [64, 64], 'slabs')


def test_output_equals_native(lab, _):
    with open(lab.path('numbers.txt'), 'w', encoding='utf-8') as f:
        f.writelines(f'{i * 7919 % 10007} line {i}\n' for i in range(20000))
    script = '{ n[$1] = n[$1] $3 } END { PROCINFO["sorted_in"] = "@ind_num_asc"; ' \
             'for (k in n) print k, n[k] }'
    instance = run(lab, 'awk', 'gawk', script, 'numbers.txt',
                   options=('--file', 'numbers.txt', '--env', 'LC_ALL=C'))
    expect_good(instance)
    expect(stdout_of(lab, 'awk') == native('gawk', script, lab.path('numbers.txt')),
           'the output differs from the native run')


def test_memory_keeps_what_was_written(lab, _):
    """A working set of 8 times the local memory. Slabs are for address ranges: those of the working
    set, and some for image, heap and stacks, have to be there."""
    arguments = ('112', '3', '20260101')
    instance = run(lab, 'memcheck', MEMCHECK, *arguments, local='14M', far='124M')
    expect_good(instance)
    expect(stdout_of(lab, 'memcheck') == native(MEMCHECK, *arguments), 'output')


def test_threads_on_two_processors(lab, _):
    """Each with queues of its own, in an eighth of the memory that the threads use."""
    arguments = ('4', '4096', '3000')
    instance = run(lab, 'threads', THREADS, *arguments, far='112M', options=('--vcpus', '2'))
    expect_good(instance)
    expect_equal(stdout_of(lab, 'threads'), b'threads=4 failures=0\n', 'output')
    expect(instance['live']['counters']['faults_remote'] > 1000, 'it paged')


def test_processors_are_limited(lab, _):
    done = launch(lab, 'many', BEHAVE, 'exit', '0', options=('--vcpus', '17', '--wait'))
    expect(done.returncode != 0, 'refused')
    expect_in('--vcpus 16 or fewer', done.stdout + done.stderr, 'the remedy')
    done = launch(lab, 'eight', BEHAVE, 'exit', '0', options=('--vcpus', '8', '--wait'))
    expect_equal(done.returncode, 0, 'more than the host has')
    if os.cpu_count() < 8:
        logged = lab.ctl('logs', 'eight', '--stream', 'kernel').stdout
        expect_in('8 virtual CPUs take turns', logged, 'the warning')


def test_exit_status(lab, _):
    done = launch(lab, 'status', BEHAVE, 'exit', '7', options=('--wait',))
    expect_equal(done.returncode, 1, 'exit code of dilosctl')
    expect_in('exited with status 7', done.stderr, 'reason')
    done = lab.ctl('wait', 'status', '--exit-status')
    expect_equal(done.returncode, 7, 'the program\'s own')


def test_signal(lab, _):
    instance = run(lab, 'fault', BEHAVE, 'segfault')
    expect_equal((instance['exit_kind'], instance['exit_code']), ('signaled', 11), 'outcome')
    expect_in('SIGSEGV', instance['reason'], 'reason')
    instance = run(lab, 'abort', BEHAVE, 'signal', '6')
    expect_equal((instance['exit_kind'], instance['exit_code']), ('signaled', 6), 'outcome')


def test_streams_are_apart(lab, _):
    done = launch(lab, 'streams', BEHAVE, 'streams', options=('--attach',))
    expect_equal((done.returncode, done.stdout, done.stderr), (0, 'to stdout\n', 'to stderr\n'),
                 'attached')
    expect_equal(lab.ctl('logs', 'streams', '--stream', 'stderr').stdout, 'to stderr\n', 'logs')


def test_unknown_syscalls_are_named(lab, _):
    instance = run(lab, 'unknown', BEHAVE, 'unknown')
    expect_good(instance)
    expect_equal(stdout_of(lab, 'unknown'), b'ENOSYS\n', 'the answer')
    named = lab.ctl('logs', 'unknown', '--stream', 'kernel').stdout
    expect_in('io_uring_setup', named, 'the name in the log')
    expect_in('io_uring_setup', ' '.join(instance['live']['unknown_syscalls']), 'in inspect')


def test_figures_after_the_end(lab, _):
    """What an instance did is known after its end, not only in the moments when it was asked."""
    instance = run(lab, 'figures', BEHAVE, 'hold', '24', '0', options=('--prefetch', 'none'))
    expect_good(instance)
    counters = instance['live']['counters']
    # 6144 pages were filled in 16 MiB: most were sent away, and read back to be verified.
    for name in ('faults_zero', 'faults_remote', 'far_pages_read', 'far_pages_written'):
        expect(counters[name] > 2000, f'{name}: {counters.get(name)}')
    expect(counters['syscalls'] > 0, 'system calls')
    expect_equal({f['node'] for f in instance['live']['fabrics']}, {'mn1', 'mn2'}, 'memory nodes')
    expect(sum(f['slabs'] for f in instance['live']['fabrics']) >= 8, 'slabs')
    expect_equal(sum(f['bytes_read'] for f in instance['live']['fabrics']),
                 counters['device_bytes_read'] - counters['device_bytes_zero'], 'bytes read')
    latency = lab.json('inspect', 'figures')['latency']['fault_remote']
    # One in so many faults is timed.
    expect(0 < latency['count'] <= counters['faults_remote'], 'the histogram counts faults')
    text = lab.ctl('inspect', 'figures').stdout
    expect_in('as they were at its end', text, 'inspect for people')
    expect_in('Far fault', text, 'latency')


def expect_refused(lab, name, *command, because, **options):
    done = launch(lab, name, *command, **options)
    expect_equal(done.returncode, 4, f'{name}: {done.stdout}{done.stderr}')
    expect_in(because, done.stderr, name)


def test_programs_that_cannot_run(lab, _):
    with open('/bin/true', 'rb') as f:
        true = f.read()
    kinds = {
        'text': (b'just text\n', 'ELF'),
        'arm': (true[:18] + (183).to_bytes(2, 'little') + true[20:], 'x86-64'),
        'nolib': (true.replace(b'libc.so.6\0', b'libq.so.6\0'), 'libq.so.6'),
        'cut': (true[:100], 'ELF'),
    }
    for name, (data, because) in kinds.items():
        path = lab.path(name)
        with open(path, 'wb') as f:
            f.write(data)
        os.chmod(path, 0o755)
        expect_refused(lab, 'refused-' + name, path, because=because)
    expect_refused(lab, 'refused-none', '/no/such/program', because='/no/such/program')
    expect_refused(lab, 'refused-file', '/bin/true', because='/no/such/file',
                   options=('--file', '/no/such/file'))


def test_far_memory_that_does_not_fit(lab, _):
    done = launch(lab, 'big', '/bin/true', far='1G')
    expect_equal(done.returncode, 4, done.stderr)
    expect_in('do not fit', done.stderr, 'reason')
    expect_in('remedy: use a smaller --far-memory', done.stderr, 'remedy')


def test_names(lab, _):
    expect_equal(lab.ctl('inspect', 'nobody').returncode, 5, 'inspect')
    expect_equal(lab.ctl('node', 'inspect', 'nobody').returncode, 5, 'node inspect')
    expect_equal(lab.ctl('slab', 'inspect', 'mn1', '99999').returncode, 5, 'slab inspect')
    launch(lab, 'twice', BEHAVE, 'hold', '1', '60')
    expect_equal(launch(lab, 'twice', '/bin/true').returncode, 4, 'a name that is taken')
    done = lab.ctl('rm', 'twice')
    expect_equal(done.returncode, 4, 'rm of a running instance')
    expect_equal(lab.ctl('stop', 'twice', '--grace', '1').returncode, 0, 'stop')
    expect_equal(lab.ctl('rm', 'twice').returncode, 0, 'rm')
    expect_equal(lab.ctl('inspect', 'twice').returncode, 5, 'it is forgotten')


def test_ten_in_turn_leave_nothing(lab, _):
    for i in range(10):
        expect_good(run(lab, f'turn-{i}', BEHAVE, 'hold', '24', '0'))
    wait_all_free(lab)
    expect_equal(lab.json('status')['bytes_free'], 128 << 20, f'free memory ({LOCAL} local)')


sys.exit(main(globals(), start_pool))
