# SPDX-License-Identifier: Apache-2.0
"""Everything at once through the real pool (fire.c): threads on three processors that check each
byte while they map, protect, move and give up memory, in 5 % of what they use, and meanwhile local
and far memory and the prefetcher change all the time.

--seconds N: for so long instead of the few rounds that are enough for continuous integration."""
import re
import sys
import time

from support import FIRE, launch, main, start_pool, stdout_of, wait_all_free, wait_filled
from lab import tap
from lab.tap import expect, expect_equal

THREADS = 4
LOCAL_MIB = 8
WORKING_MIB = 160
LOCAL_SIZES_MIB = (24, 8, 12, 32, 9, 16, 8)
FAR_SIZES_MIB = (208, 192, 200)
PREFETCHERS = ('readahead', 'trend', 'none')
RESIZES_MIN = 14
ROUNDS_MIN = 8000  # of one thread
SECONDS = 0


def rounds_done(lab, name):
    told = re.findall(rb'round (\d+) of thread 0', stdout_of(lab, name))
    return int(told[-1]) if told else 0


def change(lab, *words):
    done = lab.ctl(*words, limit_s=120)
    expect_equal(done.returncode, 0, f'{words}: {done.stdout}{done.stderr}')


def trouble(lab, name, count):
    """The count-th change of sizes and settings; returns the local size afterwards, in MiB."""
    size = LOCAL_SIZES_MIB[count % len(LOCAL_SIZES_MIB)]
    change(lab, 'resize', name, '--local-memory', f'{size}M')
    if count % 2 == 0:
        far = FAR_SIZES_MIB[count // 2 % len(FAR_SIZES_MIB)]
        change(lab, 'resize', name, '--far-memory', f'{far}M')
    else:
        change(lab, 'tune', name, 'prefetch=' + PREFETCHERS[count // 2 % len(PREFETCHERS)])
    return size


def burn(lab, name, seed, seconds):
    done = launch(lab, name, FIRE, str(THREADS), str(WORKING_MIB * 256 // THREADS), '100000000',
                  str(seed), local=f'{LOCAL_MIB}M', far='192M',
                  options=('--vcpus', '3', '--max-local-memory', '32M'))
    expect_equal(done.returncode, 0, done.stderr)
    wait_filled(lab, name)
    end = time.monotonic() + seconds
    resizes = rounds = 0
    while resizes < RESIZES_MIN or rounds < ROUNDS_MIN or time.monotonic() < end:
        state = lab.instance(name)
        expect_equal(state['state'], 'running', f'{name}: {state["reason"]}')
        size = trouble(lab, name, resizes)
        resizes += 1
        frames = lab.instance(name)['live']['counters']['frames_total'] * 4096 >> 20
        expect(frames <= size, f'{frames} MiB of frames in {size} MiB of local memory')
        rounds = rounds_done(lab, name)
    counters = lab.instance(name)['live']['counters']
    change(lab, 'stop', '--grace', '100', name)
    output = stdout_of(lab, name).decode()
    ended = lab.instance(name)
    expect_equal((ended['exit_kind'], ended['exit_code']), ('exited', 0),
                 f'{ended["reason"]}\n{output[-2000:]}')
    result = re.search(r'good: rounds=(\d+) changes=(\d+) wrong=0\n$', output)
    expect(result, output[-2000:])
    for what in ('faults_remote', 'far_pages_written', 'far_pages_discarded', 'prefetch_issued'):
        tap.diagnose(f'{what} {counters[what]}')
    tap.diagnose(f'seed {seed}: rounds {result[1]}, changes of the map {result[2]}, '
                 f'resizes and settings {resizes}')
    expect(int(result[1]) >= 2 * ROUNDS_MIN, 'rounds of all threads')
    expect(int(result[2]) >= ROUNDS_MIN // 4, 'changes of the map')
    expect(counters['faults_remote'] > 20000, 'far faults')
    expect(counters['far_pages_written'] > WORKING_MIB * 256 // 2, 'pages written')
    expect(counters['far_pages_discarded'] > 2000, 'pages given up')
    expect(counters['prefetch_issued'] > 1000, 'pages read ahead')
    expect_equal(counters['far_errors'], 0, 'requests that failed')
    wait_all_free(lab)


def test_everything_at_once(lab, _):
    burn(lab, 'fire', seed=int(time.time()) if SECONDS else 1, seconds=SECONDS)


if '--seconds' in sys.argv:
    at = sys.argv.index('--seconds')
    SECONDS = int(sys.argv[at + 1])
    del sys.argv[at:at + 2]
sys.exit(main(globals(), lambda lab: start_pool(lab, memory='112M')))
