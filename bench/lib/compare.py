# SPDX-License-Identifier: Apache-2.0
"""Runs cases in our guest and in Linux guests, and makes the rows.

A case is one program with its arguments at one local ratio. Its result is compared with that of a
native run before its figure counts. Linux swapping to far memory is swept over Variants: all in the
first run, the best of them (Options.keep) in each further run; the best median of those that took
part in all runs is the row `linux-swap`. The baselines that swap are slow: they may take part in
the first runs only (Options.baseline_runs), and are paired with ours of those.

All systems of one group of cases follow each other at once, since the machine's own speed drifts:
a claim is a group (Options.by_claim), or all are one.
"""
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from .linux import SWAP_FAR, SWAP_NONE, SWAP_ZRAM, Job, LinuxGuests
from .pool import LOCAL_BYTES_MIN, MIB, Pool, checked_result, program, progress, round_up
from .rows import BenchError, Refused, Table, best_variant, result_line

DEVICE = 'device'
DILOS, SWAP, ZRAM, LINUX = 'dilos', 'linux-swap', 'linux-zram', 'linux'
SYSTEMS = (DILOS, SWAP, ZRAM, LINUX)
SWAP_SPARE = 32 * MIB


def per_unit(result):
    return [('', result['ns'] / result['units'])]


@dataclass(eq=False)
class Case:
    """One claim at one local ratio.

    figures: of a program's result, [(what is added to the claim's name, value)].
    wanted_bytes: what the program touches in all; None: what it had resident natively. It gets
    local_ratio of that, and own_bytes more, as its memory: the size of our guest, the limit of its
    memory cgroup in Linux. may_be_refused: it needs what our guest may lack. device: which figure
    of bare reads in the same boot of our guest (its system and key) is the row `device`.
    """

    claim: str
    name: str
    arguments: list
    local_ratio: float
    wanted_bytes: int
    unit: str
    _: KW_ONLY
    systems: tuple = SYSTEMS
    figures: Callable = per_unit
    prefetch: str = None
    vcpus: int = 1
    files: dict = ()
    environment: tuple = ()
    own_bytes: int = 0
    may_be_refused: bool = False
    device: tuple = None
    checksum: object = field(default=None, init=False)

    def __post_init__(self):
        self.arguments = [str(argument) for argument in self.arguments]
        self.files = dict(self.files)
        self.environment = tuple(self.environment)

    @property
    def key(self):
        return f'{self.claim}@{self.local_ratio}'

    @property
    def local_bytes(self):
        return round_up(int(self.wanted_bytes * self.local_ratio) + self.own_bytes, MIB)

    def swap_bytes(self):
        return round_up(self.wanted_bytes + SWAP_SPARE, MIB)


def device_figure(text, system, key):
    """What the kernel of our guest measured before the program started."""
    found = []
    for line in text.splitlines():
        if line.startswith('{') and '"system"' in line:
            found.append(json.loads(line))
    figures = [row[key] for row in found if row['system'] == system]
    if len(figures) != 1:
        raise BenchError(f'the guest says nothing of {system}: {text[:400]}')
    return figures[0]


@dataclass(eq=False)
class Variant:
    """One way to set a Linux guest up for swapping."""

    page_cluster: int
    words: tuple = ()
    poll_queues: int = 0
    huge_pages: bool = False

    def __post_init__(self):
        self.words = tuple(self.words)

    @property
    def name(self):
        name = f'page-cluster={self.page_cluster}'
        name += ' huge-pages' if self.huge_pages else ''
        name += ''.join(f' {word}' for word in self.words)
        return name + (f' poll_queues={self.poll_queues}' if self.poll_queues else '')

    @property
    def boot(self):
        return self.words, self.poll_queues


CLUSTERS = (0, 3, 5)
SWEEP_PROGRAMS = [Variant(5, huge_pages=True)]  # for programs the best, or next to it
SWEEP_QUICK = [Variant(cluster) for cluster in CLUSTERS] + SWEEP_PROGRAMS
# Linux 6.1 itself no longer polls for swap reads, so poll_queues can only help elsewhere; with
# idle=poll an idle processor does not sleep, which makes an interrupt cheaper under emulation.
SWEEP_FULL = ([Variant(cluster, huge_pages=huge) for huge in (False, True) for cluster in CLUSTERS]
              + [Variant(cluster, ['idle=poll']) for cluster in CLUSTERS]
              + [Variant(cluster, poll_queues=2) for cluster in CLUSTERS])


@dataclass(eq=False)
class Options:
    runs: int
    systems: tuple = SYSTEMS
    sweep: tuple = tuple(SWEEP_FULL)
    keep: int = 3
    quick: bool = False
    tiny: bool = False
    ratios: tuple = None
    threads: int = 1
    baseline_runs: int = None  # None: as many as runs
    by_claim: bool = False

    def __post_init__(self):
        self.baseline_runs = min(self.runs if self.baseline_runs is None else self.baseline_runs,
                                 self.runs)


def run_native(case):
    """(checksum that all systems must have, most bytes resident) of a run with memory enough."""
    command = [program(case.name), *_here(case, case.files)]
    with tempfile.TemporaryFile('w+') as out:
        environment = dict(os.environ, **dict(item.split('=', 1) for item in case.environment))
        process = subprocess.Popen(command, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode != 0:
        raise BenchError(f'{" ".join(command)} natively ended with {process.returncode}')
    result = result_line(text)
    if result is None or 'checksum' not in result:
        raise BenchError(f'{" ".join(command)} natively printed no result: {text[-400:]}')
    return result['checksum'], usage.ru_maxrss * 1024


def _here(case, paths):
    """The arguments with {file} replaced by where that file is."""
    return [paths.get(word[1:-1], word) if word.startswith('{') else word
            for word in case.arguments]


class Comparison:
    """All cases, all systems, all runs. The pool and the guests live as long as it."""

    def __init__(self, cases, options):
        self.cases = cases
        self.options = options
        self.table = Table()
        self.refused = []
        self.swap = {}        # case key: {variant: [result of each run]}
        self.pool = None
        self.guests = None

    def run(self):
        natives = {}
        for case in self.cases:
            words = (case.name, *case.arguments)
            if words not in natives:
                progress(f'native: {" ".join(words)}')
                natives[words] = run_native(case)
            case.checksum, resident_bytes = natives[words]
            if case.wanted_bytes is None:
                case.wanted_bytes = resident_bytes
            if case.local_bytes < LOCAL_BYTES_MIN:
                raise BenchError(f'{case.key}: {case.local_bytes >> 20} MiB of local memory, a '
                                 f'unikernel needs {LOCAL_BYTES_MIN >> 20}: take a larger size')
        far_bytes = max(case.swap_bytes() for case in self.cases) + 16 * MIB
        with Pool(far_bytes) as self.pool:
            try:
                self._run_all()
            finally:
                if self.guests is not None:
                    self.guests.close()
        self._settle_sweeps()
        return self.table

    def _wants(self, system, cases=None):
        return [case for case in (self.cases if cases is None else cases)
                if system in case.systems and system in self.options.systems]

    def _groups(self):
        if not self.options.by_claim:
            return [self.cases]
        claims = dict.fromkeys(case.claim for case in self.cases)
        return [[case for case in self.cases if case.claim == claim] for claim in claims]

    def _run_all(self):
        if any(self._wants(system) for system in (SWAP, ZRAM, LINUX)):
            files = {case.name: program(case.name) for case in self.cases}
            for case in self.cases:
                files.update(case.files)
            self.guests = LinuxGuests(self.pool, files)
        for run in range(self.options.runs):
            for cases in self._groups():
                self._run_group(run, cases)

    def _run_group(self, run, cases):
        for case in self._wants(DILOS, cases):
            self._run_dilos(case, run)
        self._run_linux(run, LINUX, SWAP_NONE, cases)
        if run < self.options.baseline_runs:
            self._run_swap(run, cases)
            self._run_linux(run, ZRAM, SWAP_ZRAM, cases)

    # ---- our guest

    def _run_dilos(self, case, run):
        if case.key in self.refused:
            return
        progress(f'run {run + 1} of {self.options.runs}: {case.key}: dilos')
        flags = ['--prefetch', case.prefetch or 'none']
        flags += ['--measure-device'] if case.device else []
        flags += ['--vcpus', str(case.vcpus)] if case.vcpus > 1 else []
        for name, path in case.files.items():
            flags += ['--file', f'{path}:/bench/{name}']
        for item in case.environment:
            flags += ['--env', item]
        command = [program(case.name), *_here(case, {n: f'/bench/{n}' for n in case.files})]
        try:
            text = self.pool.run(command, case.local_bytes, case.swap_bytes(), flags,
                                 may_be_refused=case.may_be_refused)
        except Refused as error:
            progress(f'{case.key}: refused: {error}')
            self.refused.append(case.key)
            return
        self._add(case, DILOS, checked_result(text, case.checksum, f'{case.key} in dilos'))
        if case.device:
            self.table.add(case.claim, case.local_ratio, DEVICE, device_figure(text, *case.device),
                           case.unit)

    def _add(self, case, system, result):
        for suffix, value in case.figures(result):
            self.table.add(case.claim + suffix, case.local_ratio, system, value, case.unit)

    # ---- Linux

    def _boot(self, cases, name, swap, variants, words=(), poll_queues=0):
        """{(case key, variant): result}; variants: {case key: [Variant]}, None: any."""
        jobs, wanted = [], []
        for case in cases:
            for variant in variants[case.key]:
                wanted.append((case, variant))
                jobs.append(Job(
                    f'job{len(jobs)}',
                    ['/bench/' + case.name,
                     *_here(case, {n: f'/bench/{n}' for n in case.files})],
                    0 if swap == SWAP_NONE else case.local_bytes, variant.page_cluster,
                    case.environment, variant.huge_pages))
        options = {'virtio_blk.ko': f'poll_queues={poll_queues}'} if poll_queues else {}
        swap_bytes = max(case.swap_bytes() for case in cases)
        outcomes = self.guests.run(jobs, swap, swap_bytes, vcpus=cases[0].vcpus, words=words,
                                   module_options=options)
        return {(case.key, variant): checked_result(
                    outcomes[job.name].output, case.checksum, f'{case.key} in {name}')
                for (case, variant), job in zip(wanted, jobs)}

    def _run_linux(self, run, system, swap, cases):
        cases = self._wants(system, cases)
        for vcpus in sorted({case.vcpus for case in cases}):
            group = [case for case in cases if case.vcpus == vcpus]
            progress(f'run {run + 1} of {self.options.runs}: {len(group)} cases: {system}')
            # What is compressed in memory is next to nothing: reading ahead does not pay.
            variants = {case.key: [Variant(0, huge_pages=True)] for case in group}
            results = self._boot(group, system, swap, variants)
            for case in group:
                self._add(case, system, results[case.key, variants[case.key][0]])

    def _variants(self, case):
        """All in the first run, then the best of them."""
        seen = self.swap.get(case.key)
        if seen is None:
            return list(self.options.sweep)
        order = sorted(seen, key=lambda variant: seen[variant][0]['ns'])
        return order[:self.options.keep]

    def _run_swap(self, run, cases=None):
        cases = self._wants(SWAP, cases)
        plan = {case.key: self._variants(case) for case in cases}
        boots = sorted({(case.vcpus, variant.boot) for case in cases
                        for variant in plan[case.key]})
        for vcpus, boot in boots:
            here = {case.key: [v for v in plan[case.key] if v.boot == boot] for case in cases}
            group = [case for case in cases if case.vcpus == vcpus and here[case.key]]
            words, poll_queues = boot
            progress(f'run {run + 1} of {self.options.runs}: {len(group)} cases: {SWAP} '
                     f'{" ".join(words)}{f" poll_queues={poll_queues}" if poll_queues else ""}')
            results = self._boot(group, SWAP, SWAP_FAR, here, words, poll_queues)
            for (key, variant), result in results.items():
                self.swap.setdefault(key, {}).setdefault(variant, []).append(result)

    def _settle_sweeps(self):
        for case in self._wants(SWAP):
            seen = {variant: results for variant, results in self.swap[case.key].items()
                    if len(results) == self.options.baseline_runs}
            best = best_variant({variant: sorted(r['ns'] for r in results)[len(results) // 2]
                                 for variant, results in seen.items()})
            progress(f'{case.key}: {SWAP} is {best.name}')
            for result in seen[best]:
                self._add(case, SWAP, result)
