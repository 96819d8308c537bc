# SPDX-License-Identifier: Apache-2.0
"""deploy/lab: what it starts it ends, and nothing else; its codec agrees with itself."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.environ['DILOS_SOURCE'], 'deploy'))
from lab import lab as labs  # noqa: E402  pylint: disable=wrong-import-position
from lab import tap, wire  # noqa: E402  pylint: disable=wrong-import-position
from lab.tap import expect, expect_equal, expect_in  # noqa: E402

SLEEP = ['sleep', '300']
STUBBORN = [sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, '
            'signal.SIG_IGN); print("deaf", flush=True); time.sleep(300)']


def running(pid):
    return labs.process_start(pid) is not None


def test_leaving_ends_everything():
    labs.STOP_LIMIT_S = 2
    with labs.Lab() as lab:
        one, two = lab.start('one', SLEEP), lab.start('two', STUBBORN)
        lab.wait_until(lambda: 'deaf' in two.log(), 'it to be deaf')
        pids, folder = [one.pid, two.pid], lab.folder
        expect(all(running(p) for p in pids), 'both run')
    expect(not any(running(p) for p in pids), 'none is left')
    expect(not os.path.exists(folder), 'nor the folder')


def test_a_daemon_is_killed_and_starts_again():
    with labs.Lab() as lab:
        daemon = lab.start('one', SLEEP)
        first = daemon.pid
        daemon.kill()
        expect(not daemon.alive() and not running(first), 'killed')
        daemon.start()
        expect(daemon.alive() and daemon.pid != first, 'another process')


def test_an_interruption_leaves_nothing():
    """It comes when a process has been started and its lab does not know of it yet."""
    started, popen = [], subprocess.Popen

    def interrupted(*arguments, **options):
        started.append(popen(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]
    subprocess.Popen = interrupted
    try:
        with labs.Lab() as lab:
            lab.start('one', SLEEP)
        raise AssertionError('it was not interrupted')
    except KeyboardInterrupt:
        pass
    finally:
        subprocess.Popen = popen
    expect_equal(len(started), 1, 'started')
    expect(not running(started[0].pid), 'none is left')


def test_waits_have_a_limit():
    with labs.Lab() as lab:
        lab.start('one', ['echo', 'last words'])
        time.sleep(0.3)
        try:
            lab.wait_until(lambda: False, 'nothing', 0.3)
        except labs.LabError as error:
            expect_in('last words', str(error), 'the end of the log')
            return
    raise AssertionError('it did not end')


def test_processes_end_with_their_lab():
    """Even when the process that holds the lab is killed."""
    script = ('import sys, time; sys.path.insert(0, sys.argv[1]); from lab.lab import Lab;'
              'lab = Lab(sys.argv[2]); print(lab.start("one", ["sleep", "300"]).pid, flush=True);'
              'time.sleep(300)')
    with tempfile.TemporaryDirectory() as folder:
        holder = subprocess.Popen([sys.executable, '-c', script,
                                   os.path.join(os.environ['DILOS_SOURCE'], 'deploy'), folder],
                                  stdout=subprocess.PIPE, text=True)
        pid = int(holder.stdout.readline())
        expect(running(pid), 'it runs')
        holder.kill()
        holder.wait(10)
        end = time.monotonic() + 10
        while running(pid) and time.monotonic() < end:
            time.sleep(0.05)
        expect(not running(pid), 'it ended')


def test_a_kept_lab_is_stopped_by_its_file():
    other = subprocess.Popen(SLEEP)
    with tempfile.TemporaryDirectory() as folder:
        lab = labs.Lab(folder, outlive=True)
        daemon = lab.start('one', SLEEP)
        stranger = lab.start('two', SLEEP)
        lab.save()
        # As if the second had ended and its pid were somebody else's now.
        path = lab.path('lab.json')
        with open(path, encoding='utf-8') as f:
            saved = json.load(f)
        saved['processes'][1]['started'] -= 1
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(saved, f)
        expect_equal(labs.stop_saved(folder), ['one'], 'names')
        daemon.process.poll()
        expect(not running(daemon.pid), 'stopped')
        expect(stranger.alive(), 'not the other')
        stranger.stop()
        expect_equal(labs.stop_saved(folder), [], 'nothing twice')
    expect(other.poll() is None, 'a stranger goes on')
    other.send_signal(signal.SIGKILL)
    other.wait(10)


def test_codec():
    schema = wire.Schema(os.path.join(os.environ['DILOS_SOURCE'], 'proto', 'dilos.proto'))
    fields = {'spec': {'name': 'x', 'arguments': ['a', '', '\u00e9'], 'local_bytes': (1 << 64) - 1,
                       'files': [{'host_path': '/a', 'guest_path': ''}]},
              'request_key': bytes(range(16))}
    got = schema.decode('Launch', schema.encode('Launch', fields))
    expect_equal(got['request_key'], fields['request_key'], 'bytes')
    expect_equal(got['spec']['arguments'], fields['spec']['arguments'], 'texts')
    expect_equal(got['spec']['local_bytes'], (1 << 64) - 1, 'number')
    expect_equal(got['spec']['far_bytes'], 0, 'default')
    # By hand, from the encoding's specification: field 1, length 2, "hi".
    expect_equal(schema.encode('NameRef', {'name': 'hi'}), b'\x0a\x02hi', 'by hand')
    report = schema.decode('InstanceReport', schema.encode('InstanceReport', {'exit_code': -9}))
    expect_equal(report['exit_code'], -9, 'negative')
    packed = schema.decode('SlabGrant', b'\x1a\x03\x01\x96\x01')
    expect_equal(packed['slab_indexes'], [1, 150], 'packed')
    for bad in (b'\x0a\x05hi', b'\x0a', b'\x80' * 12):
        try:
            schema.decode('NameRef', bad)
        except ValueError:
            continue
        raise AssertionError(f'{bad!r} was taken')


sys.exit(tap.run(globals()))
