# SPDX-License-Identifier: Apache-2.0
"""dilosctl against a controller that answers from a table: what it asks, prints and exits with."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import fake
from fake import Hangup, Refusal
from lab import tap
from lab.tap import expect, expect_equal, expect_in

DILOSCTL = os.path.join(os.environ['DILOS_BUILD'], 'cli', 'dilosctl')
LIMIT_S = 60

NODE = {
    'name': 'mn1', 'node_id': 'aa', 'state': 'NODE_UP', 'host': 'h1', 'slab_bytes': 1 << 20,
    'slab_count': 64, 'slabs_free': 60, 'slabs_granted': 4,
    'labels': [{'key': 'rack', 'value': 'r1'}],
    'endpoint': {'host_id': 'hh', 'tcp_address': '127.0.0.1:9', 'shm_path': '/s'},
    'counters': [{'name': 'pages_read', 'value': (1 << 64) - 1, 'unit': 'pages'}],
    'health': [{'code': 'NO_HUGE_PAGES', 'detail': 'none "free"', 'remedy': 'reserve some'}],
    'heartbeat_age_ms': 250,
}
RUNNING = {
    'name': 'idx', 'instance_id': 'id1', 'state': 'INSTANCE_RUNNING', 'agent': 'a1',
    'started_ns': 1, 'slabs_held': 3,
    'spec': {'name': 'idx', 'arguments': ['gawk', '-f', 'a b'], 'local_bytes': 64 << 20,
             'far_bytes': 1 << 30},
}


def ended(kind='exited', code=0, reason='', state='INSTANCE_EXITED'):
    return dict(RUNNING, state=state, exit_kind=kind, exit_code=code, reason=reason, ended_ns=9)


def ctl(controller, *arguments, **options):
    environment = dict(os.environ, DILOS_CONTROLLER='unix:' + controller.path, TZ='UTC')
    return subprocess.run([DILOSCTL, *arguments], env=environment, capture_output=True, text=True,
                          errors='replace', timeout=LIMIT_S, check=False, **options)


def ctl_json(controller, *arguments):
    done = ctl(controller, '--output', 'json', *arguments)
    expect_equal(done.returncode, 0, f'{arguments}: {done.stderr}')
    return json.loads(done.stdout)


def start(answers):
    """A fresh fake controller in the test's folder."""
    controller = fake.FakeController(tempfile.mktemp(dir=start.folder, suffix='.sock'))
    controller.answers = answers
    return controller


def test_help_lists_every_command():
    controller = start({})
    text = ctl(controller, 'help').stdout
    for name in ('status', 'node list', 'node inspect', 'slab list', 'slab inspect', 'launch', 'ps',
                 'inspect', 'logs', 'tune', 'resize', 'stop', 'wait', 'rm', 'events', 'image build',
                 'image list', 'version', 'help'):
        expect_in('  ' + name, text, 'help')
        one = ctl(controller, *name.split(), '--help')
        expect_equal(one.returncode, 0, name)
        expect_in('\nexamples\n  ', one.stdout, name)
    expect_equal(controller.asked, [], 'help asks nobody')


def all_options(controller):
    """{(command, option)} of every command, as --help tells them."""
    commands = [line[2:].split('  ')[0].strip() for line in
                ctl(controller, 'help').stdout.split('examples')[0].splitlines()
                if line.startswith('  ')]
    names = [c for c in commands if c and not c.startswith('-') and c[0].islower()]
    for name in names:
        for line in ctl(controller, *name.split(), '--help').stdout.splitlines():
            if line.startswith('  --'):
                yield name, line.split()[0]


def test_man_and_completion_know_everything():
    folder = os.path.join(os.environ['DILOS_SOURCE'], 'cli')
    with open(os.path.join(folder, 'man', 'dilosctl.1'), encoding='utf-8') as f:
        manual = f.read().replace('\\-', '-')
    with open(os.path.join(folder, 'completion', 'dilosctl'), encoding='utf-8') as f:
        completion = f.read()
    options = set(all_options(start({})))
    commands = {command for command, _ in options}
    expect(len(commands) >= 18 and len(options) > 60, f'{len(commands)}, {len(options)}')
    for command in commands:
        expect_in(command, manual, 'the manual page')
        expect_in(command.split()[0], completion.split("commands='")[1].split("'")[0], 'completion')
    missing = sorted(f'{c} {o}' for c, o in options if o not in manual)
    expect_equal(missing, [], 'options that the manual page does not have')


def test_usage_errors_name_what_was_meant():
    controller = start({})
    cases = [
        (['launch', '--local-memroy', '1M', 'x'], 'did you mean --local-memory?'),
        (['launch', '--loc', '1M', 'x'], 'did you mean --local-memory?'),
        (['statsu'], 'did you mean "status"?'),
        (['node', 'lits'], 'did you mean "node list"?'),
        (['node'], 'needs a second word'),
        ([], 'a command is missing'),
        (['launch'], 'an argument is missing'),
        (['inspect', 'a', 'b'], '"b" is one argument too many'),
        (['launch', '--local-memory', 'lots', 'x'], '"lots" is not a size'),
        (['stop', '--grace', '-1', 'x'], 'is not a number of seconds'),
        (['launch', '--name', 'Bad_Name', 'x'], 'names are lower-case'),
        (['launch', '--dir', 'tmp', 'x'], 'absolute path'),
        (['launch', '--file', ':x', 'x'], 'wanted HOST'),
        (['launch', '--detach', '--wait', 'x'], 'contradicts'),
        (['launch', '--exit-status', 'x'], 'needs --wait'),
        (['--output', 'xml', 'status'], 'the formats are'),
        (['slab', 'inspect', 'mn1', 'x'], 'not the index'),
        (['logs', '--stream', 'in', 'x'], 'the streams are'),
        (['--controller', 'nonsense', 'status'], 'nonsense'),
        (['status', '--quiet=1'], 'takes no value'),
        (['status', '--output'], 'needs a value'),
        (['help', 'me'], 'no command "me"'),
    ]
    for words, text in cases:
        done = ctl(controller, *words)
        expect_equal(done.returncode, 2, f'{words}: {done.stderr}')
        expect_in(text, done.stderr, f'{words}')
        expect_equal(done.stdout, '', f'{words}')
    expect_equal(controller.asked, [], 'nothing was asked')


def test_unreachable():
    controller = start({})
    done = ctl(controller, '--controller', 'unix:/nonexistent/socket', 'status')
    expect_equal(done.returncode, 3, done.stderr)
    expect_in('/nonexistent/socket', done.stderr, 'the address is named')
    expect_in('remedy: start dilos-controller', done.stderr, 'remedy')


def test_error_codes():
    expected = {'NOT_FOUND': 5, 'REFUSED': 4, 'EXISTS': 4, 'INVALID': 2, 'UNAVAILABLE': 3,
                'TIMEOUT': 3, 'INTERNAL': 1, 'STALE_EPOCH': 1}
    for code, exit_code in expected.items():
        def refuse(_, code=code):
            raise Refusal(code, f'cause {code}', 'do \x1b[31mthis')
        done = ctl(start({'NODE_INSPECT': refuse}), 'node', 'inspect', 'x')
        expect_equal(done.returncode, exit_code, code)
        expect_equal(done.stderr, f'dilosctl: cause {code}\n  remedy: do ?[31mthis\n', code)


def test_connection_that_breaks():
    def hang_up(_):
        raise Hangup()
    done = ctl(start({'STATUS': hang_up}), 'status')
    expect_equal(done.returncode, 3, done.stderr)
    expect_in('broke', done.stderr, 'it says what happened')


def test_status():
    controller = start({'STATUS': {
        'cluster_id': 'c1', 'epoch': 7, 'version': '0.1.0', 'uptime_ms': 61000, 'nodes_up': 2,
        'nodes_total': 3, 'agents_up': 1, 'agents_total': 1, 'bytes_total': 3 << 30,
        'bytes_free': 3 << 29, 'instances_running': 1, 'instances_total': 4, 'applied_index': 12,
        'agents': [{'name': 'a1', 'up': True, 'accelerator': 'tcg', 'memory_bytes': 1 << 34,
                    'cpu_count': 2, 'instances': 1,
                    'health': [{'code': 'KVM_UNUSABLE', 'detail': 'it hangs', 'remedy': 'fix'}]}]}})
    got = ctl_json(controller, 'status')
    expect_equal(got['bytes_free'], 3 << 29, 'bytes_free')
    expect_equal(got['agents'][0]['health'][0]['code'], 'KVM_UNUSABLE', 'health')
    text = ctl(controller, 'status').stdout
    for part in ('2 of 3 up', '1.5G free of 3G', 'up 1 min 1 s', 'KVM_UNUSABLE  a1: it hangs',
                 'remedy: fix', '1 running, 4 known'):
        expect_in(part, text, 'status')


def test_nodes():
    controller = start({'NODE_LIST': {'nodes': [NODE, dict(NODE, name='mn2', cordoned=True)]},
                        'NODE_INSPECT': NODE})
    got = ctl_json(controller, 'node', 'list')['nodes']
    expect_equal([n['name'] for n in got], ['mn1', 'mn2'], 'names')
    expect_equal(got[0]['counters']['pages_read'], (1 << 64) - 1, 'numbers as numbers')
    expect_equal(got[0]['labels'], {'rack': 'r1'}, 'labels')
    expect_equal(got[0]['state'], 'up', 'state')
    lines = ctl(controller, 'node', 'list').stdout.splitlines()
    expect_equal(lines[0].split()[:2], ['NAME', 'STATE'], 'heading')
    expect_in('shm tcp', lines[1], 'fabrics')
    expect_in('up, cordoned', lines[2], 'cordoned')
    expect_equal(ctl(controller, 'node', 'list', '--quiet').stdout, 'mn1\nmn2\n', 'quiet')
    text = ctl(controller, 'node', 'inspect', 'mn1').stdout
    expect_in('64 of 1M: 60 free, 4 granted', text, 'slabs')
    expect_equal(controller.asked[-1], ('NODE_INSPECT', {'name': 'mn1'}), 'asked')


def test_slabs():
    extents = [{'node': 'mn1', 'slab_first': 0, 'slab_count': 4, 'state': 'SLAB_GRANTED',
                'instance': 'idx', 'generation': 9, 'slab_bytes': 1 << 20},
               {'node': 'mn1', 'slab_first': 4, 'slab_count': 1, 'slab_bytes': 1 << 20}]
    controller = start({'SLAB_LIST': {'extents': extents}, 'SLAB_INSPECT': extents[0]})
    got = ctl_json(controller, 'slab', 'list', '--node', 'mn1', '--instance', 'idx')['extents']
    asked = controller.asked[-1][1]
    expect_equal((asked['node'], asked['instance']), ('mn1', 'idx'), 'filter')
    expect_equal(got[0]['state'], 'granted', 'state')
    expect_equal(got[1]['state'], 'free', 'the default of an enum')
    lines = ctl(controller, 'slab', 'list').stdout.splitlines()
    expect_in('0-3', lines[1], 'a run')
    expect_in('4M', lines[1], 'its size')
    one = ctl_json(controller, 'slab', 'inspect', 'mn1', '3')
    expect_equal((one['slab_index'], one['instance']), (3, 'idx'), 'one slab')


def test_slabs_come_in_pages():
    def page(request):
        at = request.get('from_slab', 0)
        extents = [{'node': 'mn1', 'slab_first': at + i, 'slab_count': 1} for i in range(3)]
        return {'extents': extents, **({'next_node': 'mn1', 'next_slab': at + 3} if at < 6 else {})}
    controller = start({'SLAB_LIST': page})
    got = ctl_json(controller, 'slab', 'list', '--node', 'mn1')['extents']
    expect_equal([e['slab_first'] for e in got], list(range(9)), 'all pages')
    expect_equal([a[1].get('from_slab', 0) for a in controller.asked], [0, 3, 6], 'asked for')


def test_json_escapes():
    nasty = dict(NODE, name='a"b\\c\n\t\x01\x7f', host='\u00e9\u4e2d\U0001f600')
    got = ctl_json(start({'NODE_INSPECT': nasty}), 'node', 'inspect', 'x')
    expect_equal(got['name'], nasty['name'], 'name')
    expect_equal(got['host'], nasty['host'], 'host')
    text = ctl(start({'NODE_LIST': {'nodes': [nasty]}}), 'node', 'list').stdout
    expect('\x01' not in text and '\t' not in text, 'a table has no control characters')


def test_launch_sends_what_was_given():
    controller = start({'LAUNCH': RUNNING, 'WAIT': RUNNING})
    done = ctl(controller, 'launch', '--name', 'idx', '--local-memory', '64M', '--far-memory=2G',
               '--file', 'data/../x.txt', '--file', '/etc/passwd', '--file', 'y:/z', '--env', 'A=1',
               '--env', 'TZ', '--dir', '/w', '--agent', 'a1', '--image', 'im', '--prefetch', 'none',
               'gawk', '-f', '--name', cwd='/usr')
    expect_equal(done.returncode, 0, done.stderr)
    expect_equal(done.stdout, 'idx running on a1\n', 'output')
    launch = controller.asked[0][1]
    spec = launch['spec']
    expect_equal(len(launch['request_key']), 16, 'key')
    expect_equal(spec['arguments'], ['gawk', '-f', '--name'], 'options end at the program')
    expect_equal((spec['local_bytes'], spec['far_bytes']), (64 << 20, 2 << 30), 'sizes')
    expect_equal([(f['host_path'], f['guest_path']) for f in spec['files']],
                 [('/usr/x.txt', '/w/x.txt'), ('/etc/passwd', '/etc/passwd'), ('/usr/y', '/z')],
                 'files')
    expect_equal(spec['environment'], ['A=1', 'TZ=UTC'], 'environment')
    expect_equal((spec['agent'], spec['image'], spec['prefetch'], spec['directory']),
                 ('a1', 'im', 'none', '/w'), 'the rest')


def test_launch_makes_a_name():
    controller = start({'LAUNCH': RUNNING, 'WAIT': RUNNING})
    names = set()
    for _ in range(3):
        expect_equal(ctl(controller, 'launch', '--', '/usr/bin/Python3.11').returncode, 0, 'launch')
        name = [a[1] for a in controller.asked if a[0] == 'LAUNCH'][-1]['spec']['name']
        expect(name.startswith('python3-11-') and len(name) == 15, name)
        names.add(name)
    expect_equal(len(names), 3, 'random')


def test_launch_waits_until_it_started():
    states = iter([dict(RUNNING, state='INSTANCE_PENDING'),
                   dict(RUNNING, state='INSTANCE_STARTING'),
                   RUNNING])
    controller = start({'LAUNCH': RUNNING, 'WAIT': lambda _: next(states)})
    done = ctl(controller, 'launch', 'true')
    expect_equal((done.returncode, done.stdout), (0, 'idx running on a1\n'), done.stderr)
    refused = ended('refused', 0, 'not an ELF file; give a program', 'INSTANCE_FAILED')
    done = ctl(start({'LAUNCH': RUNNING, 'WAIT': refused}), 'launch', 'true')
    expect_equal(done.returncode, 4, done.stderr)
    expect_in('not an ELF file; give a program', done.stderr, 'reason')


def test_launch_retries_with_the_same_key():
    calls = []

    def answer(request):
        calls.append(request['request_key'])
        if len(calls) == 1:
            raise Hangup()
        return RUNNING
    done = ctl(start({'LAUNCH': answer, 'WAIT': ended()}), 'launch', '--wait', 'true')
    expect_equal(done.returncode, 0, done.stderr)
    expect_equal(len(calls), 2, 'calls')
    expect_equal(calls[0], calls[1], 'keys')


def test_exit_codes_of_wait():
    cases = [(ended(), 0, 0), (ended(code=3), 1, 3),
             (ended('signaled', 11, 'SIGSEGV at 0x0'), 1, 139),
             (ended('far-lost', 0, 'mn2 is gone', 'INSTANCE_FAILED'), 1, 1),
             (ended('refused', 0, 'no such program', 'INSTANCE_FAILED'), 4, 4)]
    for info, plain, passed in cases:
        controller = start({'WAIT': info})
        done = ctl(controller, 'wait', 'idx')
        expect_equal(done.returncode, plain, info['exit_kind'])
        expect_in(info['reason'], done.stderr, 'the reason is on stderr')
        expect_equal(ctl(controller, 'wait', '--exit-status', 'idx').returncode, passed, 'passed')
        got = json.loads(ctl(controller, 'wait', 'idx', '--output', 'json').stdout)
        expect_equal((got['exit_kind'], got['exit_code']), (info['exit_kind'], info['exit_code']),
                     'json')


def test_wait_gives_up():
    controller = start({'WAIT': lambda r: time.sleep(r['timeout_ms'] / 1000) or RUNNING})
    done = ctl(controller, 'wait', '--timeout', '0.3', 'idx')
    expect_equal(done.returncode, 1, done.stderr)
    expect_in('idx is still running', done.stderr, 'reason')


def test_wait_survives_a_restart():
    answers = iter([None, ended()])

    def answer(_):
        info = next(answers)
        if info is None:
            raise Hangup()
        return info
    expect_equal(ctl(start({'WAIT': answer}), 'wait', 'idx').returncode, 0, 'exit code')


def log_answer(texts):
    """texts: stream -> bytes; served in pieces of 5."""
    def answer(request):
        data = texts[request['stream']]
        piece = data[request['offset']:request['offset'] + min(5, request['bytes_max'])]
        after = request['offset'] + len(piece)
        return {'data': piece, 'next_offset': after, 'end': after == len(data)}
    return answer


def test_logs():
    texts = {0: b'kernel log', 1: b'out\0put' * 3, 2: b'err', 3: b'both'}
    controller = start({'LOG_READ': log_answer(texts)})
    for word, stream in (('kernel', 0), ('stdout', 1), ('stderr', 2), ('all', 3)):
        done = ctl(controller, 'logs', 'idx', '--stream', word)
        expect_equal((done.returncode, done.stdout), (0, texts[stream].decode()), word)
    expect_equal(ctl(controller, 'logs', 'idx', '--follow').stdout, 'both', 'follow ends')


def test_attach_copies_both_streams():
    looks = iter([RUNNING, RUNNING, ended(code=7)])
    controller = start({'LAUNCH': RUNNING, 'WAIT': lambda _: next(looks),
                        'LOG_READ': log_answer({1: b'to stdout\n', 2: b'to stderr\n'})})
    done = ctl(controller, 'launch', '--attach', '--exit-status', 'true')
    expect_equal((done.returncode, done.stdout), (7, 'to stdout\n'), done.stderr)
    expect_equal(done.stderr, 'to stderr\ndilosctl: idx: exited with status 7\n', 'stderr')


def test_attach_stops_on_interrupt():
    stopped = []
    controller = start({
        'LAUNCH': RUNNING, 'LOG_READ': lambda r: {'next_offset': r['offset'], 'end': bool(stopped)},
        'WAIT': lambda _: time.sleep(0.1) or (
            ended('stopped', 0, 'by the operator', 'INSTANCE_FAILED') if stopped else RUNNING),
        'STOP': lambda r: stopped.append(r) or RUNNING})
    environment = dict(os.environ, DILOS_CONTROLLER='unix:' + controller.path)
    process = subprocess.Popen([DILOSCTL, 'launch', '--name', 'idx', '--attach', 'true'],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    limit = time.monotonic() + LIMIT_S
    while not any(a[0] == 'LOG_READ' for a in controller.asked) and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    expect_equal(process.returncode, 1, errors)
    expect_equal([r['name'] for r in stopped], ['idx'], 'stopped')
    expect_in('stopped: by the operator', errors, 'outcome')


def test_stop_and_rm():
    controller = start({'STOP': RUNNING, 'WAIT': ended('signaled', 15), 'REMOVE': {}})
    done = ctl(controller, 'stop', 'a', 'b', '--grace', '0.5')
    expect_equal(done.returncode, 0, done.stderr)
    stops = [r for name, r in controller.asked if name == 'STOP']
    expect_equal([(r['name'], r['grace_ms']) for r in stops], [('a', 500), ('b', 500)], 'stops')
    expect_equal(ctl(controller, 'rm', 'a').stdout, 'a removed\n', 'rm')


def test_tune():
    controller = start({'TUNE': {}})
    done = ctl(controller, 'tune', 'idx', 'prefetch=none')
    expect_equal((done.returncode, done.stdout), (0, 'idx: prefetch=none\n'), done.stderr)
    expect_equal(controller.asked[-1][1], {'name': 'idx', 'setting': 'prefetch=none'}, 'request')
    expect_equal(ctl(controller, 'tune', 'idx', 'prefetch').returncode, 2, 'not KEY=VALUE')
    expect_equal(ctl(controller, 'tune', 'idx').returncode, 2, 'no setting')

    def refuse(_):
        raise Refusal('REFUSED', 'no such prefetcher; there are: none', 'use one of those')
    done = ctl(start({'TUNE': refuse}), 'tune', 'idx', 'prefetch=x')
    expect_equal(done.returncode, 4, 'refused')
    expect_in('there are: none', done.stderr, 'what there is')


def test_resize():
    spec = {'local_bytes': 128 << 20, 'far_bytes': 2 << 30}
    controller = start({'RESIZE': dict(RUNNING, spec=spec)})
    done = ctl(controller, 'resize', 'idx', '--local-memory', '128M')
    expect_equal(done.returncode, 0, done.stderr)
    expect_in('128M of local memory, 2G of far memory', done.stdout, 'what it is now')
    expect_equal(controller.asked[-1][1], {'name': 'idx', 'local_bytes': 128 << 20,
                                           'far_bytes': 0}, 'request')
    expect_equal(ctl(controller, 'resize', 'idx').returncode, 2, 'nothing to change')
    expect_equal(ctl(controller, 'resize', 'idx', '--far-memory', 'x').returncode, 2, 'no size')
    got = ctl_json(controller, 'resize', 'idx', '--far-memory', '2G')
    expect_equal(got['spec']['far_bytes'], 2 << 30, 'as JSON')


def test_more_vcpus_than_the_host_has():
    agents = [{'name': 'a1', 'up': True, 'cpu_count': 2}]
    controller = start({'LAUNCH': RUNNING, 'WAIT': RUNNING,
                        'STATUS': {'agents': agents}})
    for count, warned in (('4', True), ('2', False)):
        done = ctl(controller, 'launch', '--vcpus', count, '--name', 'idx', 'prog')
        expect_equal(done.returncode, 0, done.stderr)
        expect_equal('they take turns' in done.stderr, warned, done.stderr)


def test_inspect():
    buckets = [{'name': f'fault_remote_{1 << i}ns', 'value': v}
               for i, v in ((12, 98), (13, 1), (20, 1))]
    live = {'counters': [{'name': 'faults_remote', 'value': 100, 'unit': 'faults'},
                         {'name': 'far_pages_read', 'value': 300, 'unit': 'pages'},
                         {'name': 'prefetch_used', 'value': 300},
                         {'name': 'stage_claim_1024ns', 'value': 5},
                         {'name': 'stage_new_64ns', 'value': 7}] + buckets,
            'prefetch': 'trend',
            'unknown_syscalls': ['io_uring_setup (425)'],
            'fabrics': [{'node': 'mn3', 'fabric': 'tcp', 'slabs': 2, 'bytes_read': 4096,
                         'fallback_reason': 'no shm'}],
            'health': [{'code': 'FABRIC_FALLBACK', 'detail': 'mn3 over tcp', 'remedy': 'r'}]}
    extents = [{'node': 'mn3', 'slab_first': 5, 'slab_count': 2, 'state': 'SLAB_GRANTED',
                'instance': 'idx', 'generation': 2, 'slab_bytes': 1 << 20}]
    controller = start({'INSTANCE_INSPECT': dict(RUNNING, live=live, extents=extents)})
    got = ctl_json(controller, 'inspect', 'idx')
    expect_equal(got['instance']['live']['counters']['far_pages_read'], 300, 'counters')
    expect_equal(got['instance']['extents'][0]['slab_first'], 5, 'extents')
    expect_equal(got['latency']['fault_remote'],
                 {'count': 100, 'p50_ns': 8191, 'p99_ns': 16383, 'p999_ns': 2097151}, 'percentiles')
    expect_equal(got['latency']['stage_new']['p50_ns'], 127, 'a histogram that is new to us')
    expect_equal(got['hit_share_per_mille'], 750, 'hit share')
    text = ctl(controller, 'inspect', 'idx').stdout
    for part in ("gawk -f 'a b'", '100 far', '300 pages read (1.2M)', 'mn3 over tcp: 2 slabs',
                 'io_uring_setup (425)', 'FABRIC_FALLBACK', 'half within 8.1 us', '5-6',
                 'trend: 0 issued, 300 used', '75.0 % of the far pages', '- claim', 'stage_new'):
        expect_in(part, text, 'inspect')
    controller.answers['INSTANCE_INSPECT'] = dict(RUNNING, live_error='agent a1 is down')
    got = ctl_json(controller, 'inspect', 'idx')['instance']
    expect_equal((got['live'], got['live_error']), (None, 'agent a1 is down'), 'no live figures')


def test_ps():
    controller = start({'INSTANCE_LIST': {'instances': [
        RUNNING, dict(ended('far-lost', 0, 'mn2 is gone', 'INSTANCE_FAILED'), name='b')]}})
    got = ctl_json(controller, 'ps')['instances']
    expect_equal([(i['name'], i['state']) for i in got],
                 [('idx', 'running'), ('b', 'failed')], 'ps')
    expect_in('far-lost: mn2 is gone', ctl(controller, 'ps').stdout, 'outcome')


def test_events_pages():
    everything = [{'index': i, 'time_ns': i * 10**9, 'kind': 'node.up', 'subject': f'mn{i}',
                   'detail': 'd'} for i in range(1, 700)]

    def answer(request):
        after = [e for e in everything if e['index'] > request['after']]
        return {'events': after[:min(request['count_max'], 100)]}
    controller = start({'EVENT_LIST': answer})
    lines = ctl(controller, 'events', '--output', 'json', '--after', '5').stdout.splitlines()
    expect_equal([json.loads(line)['index'] for line in lines], list(range(6, 700)), 'events')


def test_images():
    image = {'name': 'im', 'program': '/usr/bin/gawk', 'bytes': 1 << 21, 'file_count': 9,
             'agent': 'a1', 'created_ns': 10**9}
    controller = start({'IMAGE_BUILD': image, 'IMAGE_LIST': {'images': [image]}})
    got = ctl_json(controller, 'image', 'build', 'im', 'gawk', '--file', 'a', '--agent', 'a1')
    expect_equal(got['bytes'], 1 << 21, 'bytes')
    request = controller.asked[-1][1]
    expect_equal((request['program'], request['files'][0]['guest_path']), ('gawk', '/a'), 'request')
    expect_in('2M', ctl(controller, 'image', 'list').stdout, 'list')


def test_full_disk_is_an_error():
    controller = start({'NODE_LIST': {'nodes': [NODE]}})
    environment = dict(os.environ, DILOS_CONTROLLER='unix:' + controller.path)
    with open('/dev/full', 'w', encoding='utf-8') as full:
        done = subprocess.run([DILOSCTL, 'node', 'list'], env=environment, stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    expect_equal(done.returncode, 1, done.stderr)


def main():
    start.folder = tempfile.mkdtemp(prefix='dilos-cli-')
    try:
        return tap.run(globals())
    finally:
        shutil.rmtree(start.folder)


sys.exit(main())
