# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: a pool with small slabs, and launching in it."""
import os
import socket
import subprocess
import sys

SOURCE = os.environ['DILOS_SOURCE']
sys.path.insert(0, os.path.join(SOURCE, 'deploy'))
from lab import tap, wire  # noqa: E402,F401  pylint: disable=wrong-import-position
from lab.lab import BUILD, Lab, LabError  # noqa: E402,F401  pylint: disable=wrong-import-position

BEHAVE = os.path.join(BUILD, 'tests', 'integration', 'behave')
BIG = os.path.join(BUILD, 'tests', 'integration', 'big')
FIRE = os.path.join(BUILD, 'tests', 'integration', 'fire')
LARGE = os.path.join(BUILD, 'tests', 'abi', 'abi-large')
MEMCHECK = os.path.join(BUILD, 'tests', 'integration', 'memcheck')
THREADS = os.path.join(BUILD, 'tests', 'abi', 'memory-threads')
LOCAL = '16M'
RUN_LIMIT_S = 100


def start_pool(lab, nodes=('mn1', 'mn2'), memory='64M', agent=True, host=None):
    lab.start_controller()
    members = {name: lab.start_memnode(name, memory=memory, host=host) for name in nodes}
    if agent:
        members['agent'] = lab.start_agent('a1')
    lab.wait_up(nodes=len(nodes), agents=1 if agent else 0, limit_s=90)
    return members


def launch(lab, name, *command, local=LOCAL, far='48M', options=()):
    return lab.ctl('launch', '--name', name, '--local-memory', local, '--far-memory', far,
                   *options, '--', *command, limit_s=RUN_LIMIT_S)


def run(lab, name, *command, **options):
    """Launches and waits for the end; returns the instance."""
    options['options'] = ('--wait', *options.get('options', ()))
    launch(lab, name, *command, **options)
    return lab.instance(name)


def stdout_of(lab, name):
    done = lab.ctl('logs', name, '--stream', 'stdout', text=False)
    tap.expect_equal(done.returncode, 0, f'logs {name}: {done.stderr}')
    return done.stdout


def native(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=RUN_LIMIT_S, check=True,
                          env={'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'}, **options)
    return done.stdout


def wait_filled(lab, name):
    lab.wait_until(lambda: b'filled' in stdout_of(lab, name), f'{name} to fill its memory', 60)


def hold(lab, name, mib='32', seconds='12', far='48M'):
    """Launches a program that verifies its memory for so long, and waits until it is filled."""
    done = launch(lab, name, BEHAVE, 'hold', mib, seconds, far=far)
    tap.expect_equal(done.returncode, 0, done.stderr)
    wait_filled(lab, name)


def expect_good(instance):
    tap.expect_equal((instance['exit_kind'], instance['exit_code']), ('exited', 0),
                     f'{instance["name"]}: {instance["reason"]}')


def wait_all_free(lab, limit_s=30):
    lab.wait_until(lambda: lab.slabs_in_use() == 0, 'all slabs to be free again', limit_s)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def main(module_globals, make):
    """make(lab): the pool that all cases of a file share; its result goes to each case."""
    with Lab() as lab:
        try:
            members = make(lab)
        except LabError as error:
            tap.diagnose(error)
            print('Bail out! the pool did not come up')
            return 1
        return tap.run(module_globals, lab, members, on_failure=lab.tails)
