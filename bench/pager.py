# SPDX-License-Identifier: Apache-2.0
"""Claims of `pager`: what a page in far memory costs.

  page_read_random       a random read: by page fault with all pages in far memory (local ratio 0,
                         against `device`, bare polled reads in the same guest), and an access with
                         45 % of the pages local (against Linux)
  page_read_sequential   a page of a sweep that reads, 12.5 % local, readahead on; `device`: bare
                         reads in the same guest, 16 in flight
  page_write_sequential  the same, writing
  fault_latency          p50, p99 and p99.9 of the far faults of random reads and writes with 45 %
                         local, as the program sees them; and p99.9 by p50. `machine`: of two
                         bare threads that pass a token in the same time, what the machine allows
  thread_scaling         random reads with 45 % local by 1 to 4 threads on as many vCPUs
  thread_overlap         the same by 2 threads on one vCPU, and by one; and both again where each
                         answer from far memory is held for 20 us (thread_overlap_far)
"""
import json
import os
import statistics
import subprocess

from .lib.compare import (DEVICE, DILOS, SWAP, ZRAM, Case, Comparison, device_figure,
                          run_native)
from .lib.pool import BUILD, MIB, Pool, checked_result, program, progress
from .lib.rows import RATIO, BenchError, row

PAGE = 4096
REMOTE_PAGES = 8192
REMOTE_ROUNDS = 3
REMOTE_LOCAL = 24 * MIB
REMOTE_FAR = 64 * MIB
OVERLAP_DELAY_US = 20
# What the kernel says of the bare device (computenode/unikernel/kernel/bench_device.c).
ONE_BY_ONE = ('device', 'mean')
AT_DEPTH = ('device-depth-16', 'mean')
SYSTEMS = (DILOS, SWAP, ZRAM)
MACHINE = 'machine'
SOME_LOCAL = 0.45
LITTLE_LOCAL = 0.125
THREADS = (1, 2, 3, 4)


class Sizes:
    """tiny: only to see that everything works."""

    def __init__(self, options):
        self.random_pages = (40 if options.tiny else 64) * MIB // PAGE
        self.accesses = 1000 if options.tiny else 32768
        self.sweep_pages = (128 if options.tiny else 192) * MIB // PAGE
        self.remote_pages = 4096 if options.tiny else REMOTE_PAGES


def sweep_case(claim, mode, device=None):
    def cases(sizes):
        return [Case(claim, 'pages', [mode, sizes.sweep_pages, 1, 1], LITTLE_LOCAL,
                     sizes.sweep_pages * PAGE, 'ns/page', systems=SYSTEMS, prefetch='readahead',
                     device=device)]
    return cases


def random_cases(sizes):
    return [Case('page_read_random', 'pages', ['random', sizes.random_pages, sizes.accesses, 1],
                 SOME_LOCAL, sizes.random_pages * PAGE, 'ns/page', systems=SYSTEMS)]


def percentiles(result):
    if result.get('faults', 0) < 100:
        raise BenchError(f'only {result.get("faults", 0)} far faults: no percentiles')
    return [('_' + name, result[name]) for name in ('p50', 'p99', 'p999')]


def latency_cases(sizes):
    return [Case('fault_latency', 'pages', ['latency', sizes.random_pages, sizes.accesses, 1],
                 SOME_LOCAL, sizes.random_pages * PAGE, 'ns', systems=SYSTEMS,
                 figures=percentiles)]


def thread_case(claim, sizes, threads, vcpus):
    return Case(claim, 'pages', [f'threads:{threads}', sizes.random_pages, sizes.accesses, 1],
                SOME_LOCAL, sizes.random_pages * PAGE, 'ns/page', systems=(DILOS, SWAP),
                vcpus=vcpus, may_be_refused=True)


def scaling_cases(sizes):
    return [thread_case(f'thread_scaling_{n}', sizes, n, n) for n in THREADS]


def overlap_cases(sizes):
    return [thread_case(f'thread_overlap_{n}', sizes, n, 1) for n in (1, 2)]


CASES = {'page_read_random': random_cases,
         'page_read_sequential': sweep_case('page_read_sequential', 'sequential', AT_DEPTH),
         'page_write_sequential': sweep_case('page_write_sequential', 'write'),
         'fault_latency': latency_cases, 'thread_scaling': scaling_cases,
         'thread_overlap': overlap_cases}
CLAIMS = tuple(CASES)


# ---- all pages in far memory, against the device in the same guest

def remote_once(pool, pages, number):
    """(ns of a far read by fault, ns of a bare device read) of one boot."""
    text = pool.run([program('page_read_random'), str(pages), str(REMOTE_ROUNDS), str(number + 1)],
                    REMOTE_LOCAL, REMOTE_FAR,
                    ['--prefetch', 'none', '--measure-device'])
    rounds = [json.loads(line) for line in text.splitlines() if '"ns_per_page"' in line]
    if len(rounds) != REMOTE_ROUNDS:
        raise BenchError(f'run {number} printed other rows than expected:\n{text}')
    for r in rounds:
        # MADV_PAGEOUT sent every page away, so each touch is one far read, or nearly.
        if r['faults'] < 0.99 * r['pages']:
            raise BenchError(f'run {number}: only {r["faults"]} faults for {r["pages"]} pages')
    return statistics.median(r['ns_per_page'] for r in rounds), device_figure(text, *ONE_BY_ONE)


def add_remote(table, options, pages):
    with Pool(REMOTE_FAR + 16 * MIB) as pool:
        for run in range(options.runs):
            progress(f'run {run + 1} of {options.runs}: page_read_random@0: dilos, device')
            fault, device = remote_once(pool, pages, run)
            table.add('page_read_random', 0.0, DILOS, fault, 'ns/page')
            table.add('page_read_random', 0.0, DEVICE, device, 'ns/page')


# ---- threads that overlap, where far memory is farther

def add_far_overlap(table, options, sizes):
    far_bytes = sizes.random_pages * PAGE + 16 * MIB
    cases = overlap_cases(sizes)
    checksums = [run_native(case)[0] for case in cases]
    with Pool(far_bytes + 16 * MIB, OVERLAP_DELAY_US) as pool:
        for run in range(options.runs):
            for case, checksum in zip(cases, checksums):
                claim = case.claim.replace('overlap', 'overlap_far')
                progress(f'run {run + 1} of {options.runs}: {claim}: dilos')
                text = pool.run([program(case.name), *case.arguments], case.local_bytes, far_bytes,
                                ['--prefetch', 'none'])
                result = checked_result(text, checksum, claim)
                for _, value in case.figures(result):
                    table.add(claim, SOME_LOCAL, DILOS, value, case.unit)


# ---- what the machine takes away from threads that spin

def add_pauses(table, turns):
    """Beside each run of ours, with turns as long as our median fault."""
    for fault_ns in table.values('fault_latency_p50', SOME_LOCAL, DILOS):
        progress('fault_latency: machine')
        command = [os.path.join(BUILD, 'bench/pauses'), str(int(fault_ns)), str(turns)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        result = json.loads(done.stdout)
        for name in ('p50', 'p99', 'p999'):
            table.add('fault_latency_' + name, SOME_LOCAL, MACHINE, result[name], 'ns')


# ---- rows that come from several figures of ours

def of_itself(table, claim, name, above, below, system=DILOS):
    """The ratio of two figures of one system, paired run by run."""
    a = table.values(above, SOME_LOCAL, system)
    b = table.values(below, SOME_LOCAL, system)
    if not a or len(a) != len(b):
        return []
    return [row(claim, name, SOME_LOCAL, [x / y for x, y in zip(a, b)], RATIO)]


def extra_rows(table):
    return (of_itself(table, 'fault_latency', 'dilos p99.9/p50', 'fault_latency_p999',
                      'fault_latency_p50')
            + of_itself(table, 'fault_latency', 'machine p99.9/p50', 'fault_latency_p999',
                        'fault_latency_p50', MACHINE)
            + of_itself(table, 'thread_overlap', 'dilos 2 threads/1', 'thread_overlap_2',
                        'thread_overlap_1')
            + of_itself(table, 'thread_overlap_far', 'dilos 2 threads/1', 'thread_overlap_far_2',
                        'thread_overlap_far_1'))


def run(claims, options):
    """(rows, [what was refused])"""
    sizes = Sizes(options)
    cases = [case for claim in claims for case in CASES[claim](sizes)]
    comparison = Comparison(cases, options)
    table = comparison.table
    if 'page_read_random' in claims and DILOS in options.systems:
        add_remote(table, options, sizes.remote_pages)
    comparison.run()
    if 'thread_overlap' in claims and DILOS in options.systems:
        add_far_overlap(table, options, sizes)
    add_pauses(table, sizes.accesses)
    return table.rows() + extra_rows(table), comparison.refused


