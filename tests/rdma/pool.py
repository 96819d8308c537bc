# SPDX-License-Identifier: Apache-2.0
"""A whole pool over RDMA, where there are verbs: run by run.py. Prints TAP."""
import json
import os
import re
import resource
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ['DILOS_SOURCE'], 'deploy'))
from lab import tap  # noqa: E402
from lab.lab import BUILD, Lab, program  # noqa: E402
from lab.tap import expect, expect_equal, expect_in  # noqa: E402

FAR_CLIENT = os.path.join(BUILD, 'tests/rdma/far-client')
REVOCATION = os.path.join(BUILD, 'tests/rdma/test-rdma-revocation')
MEMCHECK = os.path.join(BUILD, 'tests/integration/memcheck')
PAGES = 4096
START_LIMIT_S = 90
VERBS_ONLY = {'fabrics': (), 'flags': ('--insecure',)}


def start(lab, agent_flags=(), **node_options):
    lab.start_controller()
    nodes = [lab.start_memnode(name, **{**VERBS_ONLY, **node_options}) for name in ('mn1', 'mn2')]
    lab.start_agent('a1', '--allow-foreign-guests', *agent_flags)
    lab.wait_up(nodes=2, agents=1, limit_s=START_LIMIT_S)
    return nodes


def open_device(lab, name):
    done = lab.ctl('launch', '--name', name, '--device-only', '--local-memory', '16M',
                   '--far-memory', '64M', '--', 'test')
    expect_equal(done.returncode, 0, 'launch: ' + done.stderr)
    log = lab.ctl('logs', name, '--stream', 'kernel').stdout
    found = re.search(r'socket=(\S+/far)\b', log)
    expect(found, 'a socket in ' + log)
    return found[1]


def client(path, passes=2, depth=8):
    return subprocess.run([FAR_CLIENT, path, str(PAGES), str(passes), str(depth)],
                          capture_output=True, text=True, timeout=150, check=False)


def fabrics(lab, name):
    return {use['node']: use for use in lab.instance(name)['live']['fabrics']}


def test_pages_move_by_verbs():
    with Lab() as lab:
        start(lab)
        for node in lab.nodes().values():
            expect(node['endpoint']['verbs_address'], 'RDMA is offered')
        path = open_device(lab, 'one')
        process = subprocess.Popen([FAR_CLIENT, path, str(PAGES), '400', '8'],
                                   stdout=subprocess.DEVNULL)
        try:
            lab.wait_until(lambda: lab.instance('one')['slabs_held'] >= 16, 'it to take slabs', 60)
            uses = fabrics(lab, 'one')
        finally:
            process.kill()
            process.wait()
        expect_equal(sorted(uses), ['mn1', 'mn2'], 'both nodes are used')
        for use in uses.values():
            expect_equal((use['fabric'], use['fallback_reason']),
                         ('verbs', 'shm: not offered'), 'fabric')
            expect(use['bytes_written'] > 0, 'bytes are counted')
        lab.wait_until(lambda: lab.slabs_in_use() == 0, 'all slabs to be free', 60)


def test_every_word_is_right():
    with Lab() as lab:
        start(lab)
        for depth in (1, 16):
            done = client(open_device(lab, f'd{depth}'), depth=depth)
            expect_equal(done.returncode, 0, done.stderr)
            expect_equal(json.loads(done.stdout)['pages'], 2 * PAGES, 'pages')
        lab.wait_until(lambda: lab.slabs_in_use() == 0, 'all slabs to be free', 60)


def test_events_name_the_intruder():
    """A key that opens nothing, used over RDMA: an event names node and address, pages go on."""
    with Lab() as lab:
        start(lab)
        address = lab.nodes()['mn1']['endpoint']['verbs_address'].split(',')[0]
        done = subprocess.run([REVOCATION, '--intruder', address], timeout=60, check=False)
        expect_equal(done.returncode, 0, 'the device refuses it')

        def refused():
            lines = lab.ctl('--output', 'json', 'events').stdout.splitlines()
            return [event for event in map(json.loads, lines)
                    if event['kind'] == 'access.refused']

        lab.wait_until(refused, 'an event', 30)
        event = refused()[0]
        expect_equal(event['subject'], 'mn1', 'the node, since nobody is known')
        expect_in('mn1 refused over verbs', event['detail'], 'event')
        expect_in('from ' + address.rsplit(':', 1)[0], event['detail'], 'event')
        expect_equal(client(open_device(lab, 'one'), passes=1).returncode, 0, 'others go on')


def test_no_key_in_any_log():
    """Neither remote keys nor grants' keys: the logs have no long hexadecimal but identities."""
    with Lab() as lab:
        start(lab)
        expect_equal(client(open_device(lab, 'one'), passes=1).returncode, 0, 'client')
        allowed = re.compile(r'(node_id|instance|id|cluster|state|socket|path)=\S*')
        for daemon in lab.daemons:
            text = allowed.sub('', daemon.log())
            expect(not re.search(r'\b[0-9a-f]{32}\b', text), 'a key in ' + daemon.name)
            expect(not re.search(r'key=|rkey', text), 'a key in ' + daemon.name)


def test_no_key_in_a_core_dump():
    """There is none of whoever holds keys, though the machine would write them."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with Lab() as lab:
        pattern = os.path.join(lab.folder, 'core.%p')
        try:
            with open('/proc/sys/kernel/core_pattern', 'w', encoding='ascii') as f:
                f.write(pattern)
        except OSError as error:
            raise tap.Skip(f'core_pattern: {error}') from None
        start(lab)
        dumped = lab.start('dumped', ['sleep', '100'])
        for daemon in lab.daemons:
            daemon.signal(signal.SIGABRT)
            daemon.wait_end()
        cores = [name for name in os.listdir(lab.folder) if name.startswith('core.')]
        expect_equal(cores, [f'core.{dumped.pid}'], 'only who holds no key is dumped')


def test_node_dies():
    """Its pages are lost and said to be; the other node's connection goes on."""
    with Lab() as lab:
        nodes = start(lab)
        path = open_device(lab, 'one')
        process = subprocess.Popen([FAR_CLIENT, path, str(PAGES), '400', '8'],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            lab.wait_until(lambda: lab.instance('one')['slabs_held'] >= 16, 'it to take slabs', 60)
            nodes[0].signal(signal.SIGKILL)
            _, said = process.communicate(timeout=100)
        finally:
            process.kill()
            process.wait()
        expect_in('request failed', said, 'never wrong data')
        expect_in('mn1', lab.ctl('logs', 'one', '--stream', 'kernel').stdout, 'the node is named')


def test_falls_back_to_tcp():
    """An agent that may use TCP gets along with a node whose RDMA is on no address of it."""
    with Lab() as lab:
        lab.start_controller()
        lab.start_memnode('mn1', fabrics=('tcp',), flags=('--no-verbs',))
        lab.start_agent('a1', '--allow-foreign-guests')
        lab.wait_up(nodes=1, agents=1, limit_s=START_LIMIT_S)
        path = open_device(lab, 'one')
        process = subprocess.Popen([FAR_CLIENT, path, str(PAGES), '400', '8'],
                                   stdout=subprocess.DEVNULL)
        try:
            lab.wait_until(lambda: lab.instance('one')['slabs_held'] >= 4, 'it to take slabs', 60)
            use = fabrics(lab, 'one')['mn1']
        finally:
            process.kill()
            process.wait()
        expect_equal(use['fabric'], 'tcp', 'fabric')
        expect_in('verbs: not offered', use['fallback_reason'], 'the choice is visible')


def test_check_names_the_devices():
    done = subprocess.run([program('memnode'), '--check', '--memory', '16M', '--slab-size', '1M',
                           '--insecure', '--no-shm'], capture_output=True, text=True, timeout=60,
                          check=False)
    expect_equal(done.returncode, 0, done.stderr)
    devices = sorted(os.listdir('/sys/class/infiniband'))
    for device in devices:
        expect_in(device + '/1', done.stdout, 'check')
    for what in ('active', 'Ethernet', 'MTU', 'GID', 'RoCE v2', 'queue pairs', 'windows', 'regions',
                 'reads at once', 'locked-memory', 'huge-pages', 'numa'):
        expect_in(what, done.stdout, 'check')
    for line in done.stdout.splitlines():
        expect(not line.startswith('missing') or '; fix: ' in line, 'a fix in ' + line)


def test_inspect_names_the_devices():
    with Lab() as lab:
        start(lab)
        machine = lab.json('node', 'inspect', 'mn1')['machine']
        text = ' '.join(thing['detail'] for thing in machine if thing['code'] == 'verbs')
        for device in sorted(os.listdir('/sys/class/infiniband')):
            expect_in(device + '/1', text, 'inspect')
        codes = {thing['code'] for thing in machine}
        expect(codes >= {'verbs', 'locked-memory', 'huge-pages', 'numa'}, f'all of it: {codes}')
        expect_in('Machine', lab.ctl('node', 'inspect', 'mn1').stdout, 'text')


def test_too_little_locked_memory():
    """One clear reason; the node serves by TCP."""
    command = (f'ulimit -l 1024; exec {program("memnode")} --check --memory 16M --slab-size 1M '
               '--insecure --no-shm')
    done = subprocess.run(['setpriv', '--bounding-set=-ipc_lock', '--inh-caps=-ipc_lock', 'sh',
                           '-c', command], capture_output=True, text=True, timeout=60, check=False)
    expect_equal(done.returncode, 0, done.stderr)
    expect_in('locked-memory limit', done.stdout, 'the reason')
    expect_in('not served', done.stdout, 'what follows')


def test_unikernel():
    """A unikernel nested in the VM pages over RDMA."""
    with Lab() as lab:
        start(lab)
        wanted = subprocess.run([MEMCHECK, '24', '1', '7'], stdout=subprocess.PIPE, timeout=60,
                                check=True).stdout
        done = lab.ctl('launch', '--name', 'u', '--local-memory', '16M', '--far-memory', '48M',
                       '--wait', '--', MEMCHECK, '24', '1', '7', limit_s=200)
        expect_equal(done.returncode, 0, done.stderr + lab.tails())
        got = lab.ctl('logs', 'u', '--stream', 'stdout', text=False).stdout
        expect_equal(got, wanted, 'output')


if __name__ == '__main__':
    sys.exit(tap.run(globals()))
