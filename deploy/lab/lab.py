# SPDX-License-Identifier: Apache-2.0
"""A whole pool on one machine: daemons as processes in one folder, with sockets of their own.

    with Lab() as lab:
        lab.start_controller()
        lab.start_memnode('mn1', memory='64M')
        lab.start_agent('a1')
        lab.wait_up(nodes=1, agents=1)
        lab.ctl('launch', '--wait', '--', '/bin/true')

Every wait has a limit (LabError names what was waited for, with the end of the logs), and leaving
the `with` ends every process that was started here, and no other.
"""
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

SOURCE = os.environ.get('DILOS_SOURCE') or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('DILOS_BUILD') or os.path.join(SOURCE, 'build')

PROGRAMS = {
    'controller': 'controller/dilos-controller', 'memnode': 'memnode/dilos-memnode',
    'agent': 'computenode/agent/dilos-agent', 'kernel': 'computenode/unikernel/dilos.elf',
    'ctl': 'cli/dilosctl',
}
START_LIMIT_S = 30
STOP_LIMIT_S = 15
CTL_LIMIT_S = 120
TAIL_LINES = 12
TAIL_COLUMNS = 300
PR_SET_PDEATHSIG = 1
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MEMORY_FOLDER = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None


class LabError(Exception):
    """Something did not come about; the text has the end of the logs."""


def program(name):
    path = os.path.join(BUILD, PROGRAMS[name])
    if not os.path.exists(path):
        raise LabError(f'{path} is not there. Remedy: deploy/setup')
    return path


def process_start(pid):
    """When a process started (clock ticks since boot): tells it from a later one with its pid."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
            fields = f.read().rpartition(')')[2].split()
    except OSError:
        return None
    return None if fields[0] == 'Z' else int(fields[19])


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _ignore_hangup():
    """It outlives the terminal that it was started from."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def _not_interrupted():
    """What this process would be interrupted by comes afterwards: between the start of a process
    and the moment when its lab knows of it, nobody would end it."""
    came, before = [], {}
    if threading.current_thread() is threading.main_thread():
        before = {n: h for n, h in ((n, signal.getsignal(n)) for n in INTERRUPTIONS) if callable(h)}
    for number in before:
        signal.signal(number, lambda n, _: came.append(n))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


class Daemon:
    """One process of a lab, which may be ended and started again with the same command."""

    def __init__(self, lab, name, command):
        self.lab = lab
        self.name = name
        self.command = command
        self.log_path = os.path.join(lab.folder, name + '.log')
        self.process = None
        self.start()

    def start(self):
        with _not_interrupted(), open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.lab.folder, env=self.lab.environment,
                # A group, so that Ctrl-C is for us alone. Not a session: the kernel schedules
                # sessions as units (autogroup), and Linux 6.18 then starves the daemons for
                # seconds while two polling instances fill two cores.
                process_group=0,
                preexec_fn=_ignore_hangup if self.lab.outlive else _die_with_parent)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def log(self):
        try:
            with open(self.log_path, encoding='utf-8', errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def tail(self):
        lines = [line[:TAIL_COLUMNS] for line in self.log().splitlines()[-TAIL_LINES:]]
        return f'--- {self.log_path}\n' + '\n'.join(lines)

    def signal(self, number):
        if self.alive():
            self.process.send_signal(number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait(STOP_LIMIT_S)

    def stop(self):
        """SIGTERM; SIGKILL when that does not help. Returns whether it ended in order."""
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def wait_end(self, limit_s=STOP_LIMIT_S):
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise LabError(f'{self.name} still runs after {limit_s} s\n{self.tail()}') from None


class Lab:
    """outlive: the processes go on when this one ends (quickstart --keep)."""

    def __init__(self, folder=None, outlive=False):
        # Short: a unix socket's path has at most 107 bytes. In memory: the controller waits for the
        # disk at each command, and a test shall not wait for what else writes to that disk.
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix='dilos-', dir=MEMORY_FOLDER)
        os.makedirs(self.folder, exist_ok=True)
        self.outlive = outlive
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith('DILOS_')}
        self.daemons = []
        self.address = 'unix:' + os.path.join(self.folder, 'controller.sock')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for daemon in reversed(self.daemons):
            if daemon.name.startswith('agent'):
                daemon.stop()
        for daemon in self.daemons:
            daemon.signal(signal.SIGTERM)
        for daemon in self.daemons:
            daemon.stop()
        if self.own_folder and not os.environ.get('DILOS_LAB_KEEP'):
            shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def start(self, name, command):
        with _not_interrupted():
            daemon = Daemon(self, name, command)
            self.daemons.append(daemon)
            if self.outlive:
                self.save()  # also for whoever comes after this process was killed
        return daemon

    # ---- daemons

    def start_controller(self, *flags):
        daemon = self.start('controller', [
            program('controller'), '--listen', self.address, '--state', self.path('controller'),
            *flags])
        self.wait_until(lambda: self.ctl_quiet('status') or not daemon.alive(),
                        'the controller to answer', START_LIMIT_S)
        if not daemon.alive():
            raise LabError(f'the controller ended\n{daemon.tail()}')
        return daemon

    def memnode_command(self, name, memory='64M', slab='1M', fabrics=('shm', 'tcp'), host=None,
                        flags=()):
        command = [program('memnode'), '--name', name, '--controller', self.address,
                   '--state', self.path(name), '--memory', memory, '--slab-size', slab,
                   '--host', host or 'host-' + name]
        command += [f'--no-{fabric}' for fabric in ('shm', 'tcp') if fabric not in fabrics]
        return command + list(flags)

    def start_memnode(self, name, **options):
        return self.start('memnode-' + name, self.memnode_command(name, **options))

    def start_agent(self, name='a1', *flags):
        return self.start('agent-' + name, [
            program('agent'), '--name', name, '--controller', self.address,
            '--state', self.path(name), '--kernel', program('kernel'), *flags])

    # ---- dilosctl

    def ctl(self, *arguments, limit_s=CTL_LIMIT_S, text=True):
        """Runs dilosctl; the caller looks at returncode, stdout, stderr."""
        try:
            return subprocess.run(
                [program('ctl'), '--controller', self.address, *arguments], capture_output=True,
                text=text, errors='replace' if text else None, timeout=limit_s, check=False,
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise LabError(f'dilosctl {" ".join(arguments)}: no end within {limit_s} s\n'
                           + self.tails()) from None

    def ctl_quiet(self, *arguments):
        """Whether it worked."""
        return self.ctl(*arguments, limit_s=20).returncode == 0

    def json(self, *arguments):
        done = self.ctl('--output', 'json', *arguments)
        if done.returncode != 0:
            raise LabError(f'dilosctl {" ".join(arguments)}: {done.stderr}\n' + self.tails())
        return json.loads(done.stdout)

    def instance(self, name):
        return self.json('inspect', name)['instance']

    def nodes(self):
        return {node['name']: node for node in self.json('node', 'list')['nodes']}

    def slabs_in_use(self):
        """Slabs that are not free, over all nodes."""
        return sum(e['slab_count'] for e in self.json('slab', 'list')['extents']
                   if e['state'] != 'free')

    # ---- waiting

    def wait_until(self, condition, what, limit_s=START_LIMIT_S):
        end = time.monotonic() + limit_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise LabError(f'waited {limit_s} s for {what}\n' + self.tails())
            time.sleep(0.1)

    def wait_up(self, nodes, agents, limit_s=START_LIMIT_S):
        def up():
            dead = [d for d in self.daemons if not d.alive()]
            if dead:
                raise LabError(f'{dead[0].name} ended\n{dead[0].tail()}')
            status = self.json('status')
            return status['nodes_up'] >= nodes and status['agents_up'] >= agents
        self.wait_until(up, f'{nodes} memory nodes and {agents} agents', limit_s)

    def wait_state(self, name, states, limit_s=60):
        self.wait_until(lambda: self.instance(name)['state'] in states,
                        f'{name} to be {" or ".join(states)}', limit_s)
        return self.instance(name)

    def tails(self):
        return '\n'.join(daemon.tail() for daemon in self.daemons)

    # ---- a lab that outlives its maker

    def save(self):
        rows = [{'name': d.name, 'pid': d.pid, 'started': process_start(d.pid)}
                for d in self.daemons if d.alive()]
        with open(self.path('lab.json.new'), 'w', encoding='utf-8') as f:
            json.dump({'processes': rows}, f)
        os.replace(f.name, self.path('lab.json'))


def stop_saved(folder):
    """Ends the processes of a lab that was saved. Returns their names."""
    try:
        with open(os.path.join(folder, 'lab.json'), encoding='utf-8') as f:
            rows = [{'name': str(r['name']), 'pid': int(r['pid']), 'started': r['started']}
                    for r in json.load(f)['processes']]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        rows = []  # cut off, or somebody else's
    alive = [r for r in rows if r['started'] is not None
             and process_start(r['pid']) == r['started']]
    # The agent first: its instances end in order while their memory is still there.
    for row in sorted(alive, key=lambda r: not r['name'].startswith('agent')):
        _end(row)
    os.unlink(os.path.join(folder, 'lab.json'))
    return [r['name'] for r in alive]


def _end(row):
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + STOP_LIMIT_S
        while process_start(row['pid']) == row['started']:
            if time.monotonic() > end:
                break
            os.kill(row['pid'], number)
            time.sleep(0.2)
