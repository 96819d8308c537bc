# SPDX-License-Identifier: Apache-2.0
"""The second half of deploy/quickstart: data, native run, cluster, launch, comparison, figures."""
import argparse
import filecmp
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from lab import lab as labs  # noqa: E402  pylint: disable=wrong-import-position

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
DATA_MIB = 24
LISTS = '/var/lib/apt/lists'
LOCAL_PART = 4           # local memory is the native maximum divided by this
LOCAL_BYTES_MIN = 16 * MIB
NODE_MEMORY = '96M'
NODES = (('mn1', ('shm', 'tcp')), ('mn2', ('shm', 'tcp')), ('mn3', ('tcp',)))
FAR_MEMORY = '256M'
RUN_LIMIT_S = 600
INSTANCE = 'index'


class Failure(Exception):
    """A step that failed; remedy: what to do about it."""

    def __init__(self, text, remedy):
        super().__init__(text)
        self.remedy = remedy


class Steps:
    """Says what is going on: a line a step; its time, when it takes over two seconds."""

    def __init__(self):
        self.name = 'start'
        self.begin_s = time.monotonic()
        self.done = threading.Event()
        self.thread = None
        self.note = ''

    def start(self, name):
        self.finish()
        self.name, self.note = name, ''
        self.begin_s = time.monotonic()
        print(f'== {name}', flush=True)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._progress, args=(self.done,), daemon=True)
        self.thread.start()

    def finish(self):
        self.done.set()
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _progress(self, done):
        terminal = sys.stdout.isatty()
        drawn = False
        while not done.wait(1 if terminal else 10):
            elapsed = time.monotonic() - self.begin_s
            if elapsed >= 2:
                text = f'   {elapsed:3.0f} s  {self.note}'
                print(f'\r\033[K{text}' if terminal else text, end='' if terminal else '\n',
                      flush=True)
                drawn = terminal
        if drawn:
            print('\r\033[K', end='')


def say(text):
    print('   ' + text, flush=True)


def package_text(limit_bytes):
    """The package list as apt shows it: (text, where from). Nothing that isn't on this machine."""
    def read(command):
        with subprocess.Popen(command, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            data = process.stdout.read(limit_bytes)
            process.stdout.close()
            process.terminate()
        return data
    if shutil.which('apt-cache'):
        data = read(['apt-cache', 'dumpavail'])
        if len(data) > MIB:
            return data, 'apt-cache dumpavail'
    names = sorted(os.listdir(LISTS)) if os.path.isdir(LISTS) else []
    for name in names:
        path = os.path.join(LISTS, name)
        if name.endswith('_Packages'):
            data = read(['cat', path])
        elif name.endswith('_Packages.lz4'):
            data = read(['lz4cat', path]) if shutil.which('lz4cat') else b''
        else:
            continue
        if len(data) > MIB:
            return data, path
    raise Failure('apt keeps no package list here', 'apt-get update, as root, then again')


def make_data(folder, data_mib):
    data, origin = package_text(data_mib * MIB)
    # Whole records only.
    data = data[:data.rfind(b'\n\n') + 1]
    with open(os.path.join(folder, 'packages.txt'), 'wb') as f:
        f.write(data)
    shutil.copy(os.path.join(HERE, 'index.awk'), folder)
    say(f'{len(data) / MIB:.1f} MiB, {data.count(b"Package: ")} packages, from {origin}')


def run_native(folder):
    """Runs the program here; returns the most memory that it had, in bytes."""
    before_s = time.monotonic()
    with open(os.path.join(folder, 'native.out'), 'wb') as out:
        process = subprocess.Popen(['gawk', '-f', 'index.awk', 'packages.txt'], cwd=folder,
                                   stdout=out, env={'LC_ALL': 'C', 'PATH': os.environ['PATH']})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failure(f'gawk ended with {process.returncode}', 'see its message above')
    peak = usage.ru_maxrss * 1024
    say(f'took {time.monotonic() - before_s:.1f} s and {peak / MIB:.0f} MiB at most (resident)')
    return peak


def start_cluster(lab):
    lab.start_controller()
    for name, fabrics in NODES:
        lab.start_memnode(name, memory=NODE_MEMORY, slab='1M', fabrics=fabrics)
    lab.start_agent('a1')
    lab.wait_up(nodes=len(NODES), agents=1, limit_s=90)
    status = lab.json('status')
    say(f'{status["nodes_up"]} memory nodes, {status["bytes_total"] // MIB} MiB of far memory, '
        f'1 agent ({status["agents"][0]["accelerator"]})')
    for agent in status['agents']:
        for health in agent['health']:
            say(f'{health["code"]}: {health["detail"].splitlines()[0]}')


def run_in_pool(lab, local_bytes, steps):
    """Launches and watches until the end; returns the figures that it ended with."""
    command = ['launch', '--name', INSTANCE, '--local-memory', f'{local_bytes // MIB}M',
               '--far-memory', FAR_MEMORY, '--env', 'LC_ALL=C', '--file', 'index.awk',
               '--file', 'packages.txt', '--', 'gawk', '-f', 'index.awk', 'packages.txt']
    say('dilosctl ' + ' '.join(command))
    done = lab.ctl(*command)
    if done.returncode != 0:
        raise Failure(done.stderr.strip(), f'dilosctl logs {INSTANCE} --stream kernel')
    limit_s = time.monotonic() + RUN_LIMIT_S
    while True:
        info = lab.instance(INSTANCE)
        if info['live'] and info['live']['counters']:
            figures = info['live']['counters']
            steps.note = (f'{figures.get("faults_remote", 0)} far faults, '
                          f'{figures.get("far_pages_written", 0)} pages written')
        if info['state'] in ('exited', 'failed'):
            break
        if time.monotonic() > limit_s:
            raise Failure(f'the program still runs after {RUN_LIMIT_S} s', 'a faster machine')
        time.sleep(0.5)
    if info['exit_kind'] != 'exited' or info['exit_code'] != 0:
        raise Failure(f'{info["exit_kind"]} {info["exit_code"]}: {info["reason"]}',
                      'the kernel log: ' + lab.ctl('logs', INSTANCE, '--stream', 'kernel').stdout)
    say(f'took {(info["ended_ns"] - info["started_ns"]) / 1e9:.1f} s')
    return info['live']


def compare(lab, folder):
    done = lab.ctl('logs', INSTANCE, '--stream', 'stdout', text=False)
    with open(os.path.join(folder, 'pool.out'), 'wb') as f:
        f.write(done.stdout)
    native = os.path.join(folder, 'native.out')
    if done.returncode != 0 or not filecmp.cmp(native, f.name, shallow=False):
        raise Failure(f'the output differs from the native run: cmp {native} {f.name}',
                      'report it with both files: this must never happen')
    lines = done.stdout.decode(errors='replace').splitlines()
    for line in lines[:3] + ['...'] + lines[-3:]:
        say(line if len(line) < 110 else line[:107] + '...')
    say(f'{len(lines)} lines, {len(done.stdout)} bytes: identical to the native run')


def show_moves(live, peak, local_bytes):
    if live is None:
        raise Failure('the instance has no figures', "the agent's log in the state folder")
    say(f'working set {peak / MIB:.0f} MiB in {local_bytes / MIB:.0f} MiB of local memory: '
        f'{peak / local_bytes:.1f} times as much')
    c = live['counters']
    say(f'page faults: {c.get("faults_remote", 0)} far, {c.get("faults_zero", 0)} first touch, '
        f'{c.get("faults_file", 0)} file')
    say(f'far pages: {c.get("far_pages_read", 0)} read '
        f'({c.get("far_pages_read", 0) * 4096 / MIB:.0f} MiB), '
        f'{c.get("far_pages_written", 0)} written '
        f'({c.get("far_pages_written", 0) * 4096 / MIB:.0f} MiB)')
    for use in sorted(live['fabrics'], key=lambda use: use['node']):
        say(f'{use["node"]} over {use["fabric"]}: {use["slabs"]} slabs, '
            f'{use["bytes_read"] / MIB:.0f} MiB read, {use["bytes_written"] / MIB:.0f} MiB written')


def show_next(lab, keep, state):
    ctl = os.path.relpath(labs.program('ctl'))
    print('\nNext')
    if keep:
        print(f'   export DILOS_CONTROLLER={lab.address}')
        for words in ('status', 'node list', 'slab list', f'inspect {INSTANCE}', 'events',
                      'launch --local-memory 16M --far-memory 64M --attach -- echo hello', 'help'):
            print(f'   {ctl} {words}')
        print(f'   deploy/quickstart --stop{state_flag(state)}      # ends it')
    else:
        print('   deploy/quickstart --keep      # the same, and the cluster goes on running')
        print(f'   {ctl} help')
        print('   deploy/test                   # every test')


def state_flag(state):
    return '' if state == default_state() else f' --state {state}'


def default_state():
    return f'/tmp/dilos-quickstart-{os.getuid()}'


def make_folder(state):
    """A fresh folder of our own; files of an earlier run go."""
    if os.path.islink(state) or (os.path.exists(state) and os.stat(state).st_uid != os.getuid()):
        raise Failure(f'{state} belongs to somebody else', 'choose another with --state DIR')
    marker = os.path.join(state, '.dilos-quickstart')
    if os.path.isdir(state) and os.listdir(state) and not os.path.exists(marker):
        raise Failure(f'{state} has files that are not from a quickstart',
                      'choose another with --state DIR')
    if labs.stop_saved(state):
        say('stopped the cluster of an earlier run')
    shutil.rmtree(state, ignore_errors=True)
    os.makedirs(state, mode=0o700)
    with open(marker, 'w', encoding='utf-8'):
        pass


def show(steps, lab, options):
    steps.start("data: this machine's list of Debian packages")
    make_data(options.state, options.data)
    steps.start('native run: gawk -f index.awk packages.txt')
    peak = run_native(options.state)
    local_bytes = max(peak // LOCAL_PART // MIB * MIB, LOCAL_BYTES_MIN)
    steps.start('cluster: one controller, three memory nodes (mn3 over TCP only), one agent')
    start_cluster(lab)
    steps.start(f'the same program in a unikernel with {local_bytes // MIB} MiB of local memory')
    live = run_in_pool(lab, local_bytes, steps)
    steps.start('output')
    compare(lab, options.state)
    steps.start('what moved')
    show_moves(live, peak, local_bytes)
    steps.finish()


def run(options):
    steps = Steps()
    lab = None
    try:
        make_folder(options.state)
        lab = labs.Lab(options.state, outlive=options.keep)
        show(steps, lab, options)
        show_next(lab, options.keep, options.state)
    except (Failure, labs.LabError, OSError, subprocess.SubprocessError) as error:
        steps.finish()
        print(f'\nquickstart: step "{steps.name}" failed: {error}', file=sys.stderr)
        if isinstance(error, Failure):
            print(f'  remedy: {error.remedy}', file=sys.stderr)
            if lab is not None and lab.daemons:
                print(lab.tails(), file=sys.stderr)
        print(f'  logs: {options.state}/*.log', file=sys.stderr)
        options.keep = False
        return 1
    except KeyboardInterrupt:
        steps.finish()
        options.keep = False
        print('\nquickstart: interrupted', file=sys.stderr)
        return 130
    finally:
        if lab is not None and options.keep:
            lab.save()
        elif lab is not None:
            lab.close()
    return 0


def main():
    parser = argparse.ArgumentParser(prog='deploy/quickstart')
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('--stop', action='store_true')
    parser.add_argument('--no-setup', action='store_true')
    parser.add_argument('--data', type=int, default=DATA_MIB)
    parser.add_argument('--state', default=default_state())
    options = parser.parse_args()
    options.state = os.path.abspath(options.state)
    if not 2 <= options.data <= 256:
        parser.error('--data has to be from 2 to 256')
    # Ended from outside: leave nothing behind, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    if options.stop:
        names = labs.stop_saved(options.state)
        print('stopped: ' + ', '.join(names) if names else 'nothing of a quickstart was running')
        return 0
    return run(options)


sys.exit(main())
