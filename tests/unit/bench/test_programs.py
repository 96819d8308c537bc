# SPDX-License-Identifier: Apache-2.0
"""The programs of bench/guest, natively and small: results that repeat, and bad arguments."""
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.environ['DILOS_SOURCE'])
from deploy.lab import tap  # noqa: E402
from deploy.lab.tap import expect, expect_equal  # noqa: E402

FOLDER = os.path.join(os.environ['DILOS_BUILD'], 'bench')
LIMIT_S = 60


def run(name, *arguments, threads=1):
    path = os.path.join(FOLDER, name)
    if not os.path.exists(path):
        raise tap.Skip(f'{name} was not built')
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=False,
                          timeout=LIMIT_S, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))


def result(name, *arguments, threads=1):
    done = run(name, *arguments, threads=threads)
    expect_equal((done.returncode, done.stderr), (0, ''), f'{name} {" ".join(arguments)}')
    found = json.loads(done.stdout)
    expect(found['ns'] > 0, 'it took time')
    return found


def expect_repeats(name, *arguments, units, other):
    first = result(name, *arguments)
    expect_equal(first['units'], units, 'units of work')
    expect_equal(result(name, *arguments)['checksum'], first['checksum'], 'the result again')
    expect(result(name, *other)['checksum'] != first['checksum'], 'another seed, another result')
    return first['checksum']


def test_quicksort():
    expect_repeats('quicksort', '2', '1', units=2 << 17, other=('2', '2'))


def test_kmeans():
    expect_repeats('kmeans', '1', '2', '1', units=2 << 16, other=('1', '2', '2'))


def test_dataframe():
    expect_repeats('dataframe', '3', '1', units=4 * (3 << 20) // 24, other=('3', '2'))


def test_archive():
    packed = expect_repeats('archive', 'compress', '2', '1', units=2048,
                            other=('compress', '2', '2'))
    expect_equal(result('archive', 'decompress', '2', '1')['checksum'], packed, 'the same archive')


def test_pages():
    for mode, units in (('random', 300), ('sequential', 128), ('write', 128), ('latency', 300),
                        ('threads:3', 300)):
        count = '2' if mode in ('sequential', 'write') else '300'
        first = result('pages', mode, '64', count, '1')
        expect_equal(first['units'], units, mode)
        expect_equal(result('pages', mode, '64', count, '1')['checksum'], first['checksum'], mode)


def test_graph_is_the_same_for_any_number_of_threads():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'g')
        done = run('kronecker', path, '12', '8', '1')
        expect_equal(done.returncode, 0, done.stderr)
        made = json.loads(done.stdout)
        expect_equal(os.path.getsize(path), 24 + 4 * (made['vertices'] + 1 + made['edges']),
                     'its size')
        for claim in ('pagerank', 'betweenness'):
            one = result('graph', claim, path, '2')
            expect_equal(one['units'], made['edges'] * 2, 'edges')
            for threads in (2, 3):
                expect_equal(result('graph', claim, path, '2', threads=threads)['checksum'],
                             one['checksum'], f'{claim} by {threads} threads')
        with open(path, 'r+b') as f:
            f.truncate(1000)
        expect_equal(run('graph', 'pagerank', path, '1').returncode, 3, 'a file cut short')
        with open(path, 'wb') as f:
            f.write(b'x' * 100)
        expect_equal(run('graph', 'pagerank', path, '1').returncode, 3, 'a file of another kind')


def test_bad_arguments():
    for name, arguments in (('quicksort', ()), ('quicksort', ('0',)), ('kmeans', ('1',)),
                            ('dataframe', ('x',)), ('archive', ()), ('archive', ('pack', '1')),
                            ('pages', ('random', '10')), ('pages', ('sideways', '10', '10')),
                            ('pages', ('threads:0', '10', '10')), ('graph', ('pagerank',)),
                            ('kronecker', ('/nonexistent/x', '99', '1'))):
        expect_equal(run(name, *arguments).returncode, 2, f'{name} {" ".join(arguments)}')


sys.exit(tap.run(globals()))
