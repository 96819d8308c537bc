# SPDX-License-Identifier: Apache-2.0
"""bench/lib: rows and ratios, sweeps, what guests say, archives, plots."""
import io
import os
import subprocess
import sys
import tempfile
import xml.dom.minidom

sys.dont_write_bytecode = True
sys.path.insert(0, os.environ['DILOS_SOURCE'])
from bench import fabric  # noqa: E402
from bench.lib import cpio, kernel, linux, report, rows, svg  # noqa: E402
from bench.lib.compare import SWEEP_FULL, Case, Comparison, Options  # noqa: E402
from bench.lib.pool import checked_result  # noqa: E402
from bench.lib.rows import BenchError, Refused, Table  # noqa: E402
from deploy.lab import tap  # noqa: E402
from deploy.lab.tap import expect, expect_equal, expect_in  # noqa: E402

MIB = 1 << 20


def expect_refused(function, part):
    try:
        function()
    except BenchError as error:
        expect_in(part, str(error), 'the reason')
        return
    raise AssertionError(f'nothing was refused; wanted: {part}')


def test_row():
    row = rows.row('c', 'dilos', 0.5, [3.0, 1.0, 2.00049], 'ns')
    expect_equal(row, {'claim': 'c', 'system': 'dilos', 'local_ratio': 0.5, 'median': 2.0,
                       'min': 1.0, 'max': 3.0, 'runs': 3, 'unit': 'ns'}, 'row')
    expect_equal(rows.row('c', 'x', None, [1234.56], 'ns')['median'], 1235, 'large figures')
    expect_refused(lambda: rows.row('c', 'dilos', 0.5, [], 'ns'), 'no run of dilos')
    expect_refused(lambda: rows.row('c', 'dilos', 0.5, [1, 0], 'ns'), 'no work takes no time')


def test_ratio_is_paired_by_run():
    # The medians' ratio would be 3/2; run by run it is 1/2, 3/2, 8/1.
    row = rows.ratio('c', 'a', 'b', None, [1, 3, 8], [2, 2, 1])
    expect_equal((row['system'], row['unit']), ('a/b', 'ratio'), 'names')
    expect_equal((row['median'], row['min'], row['max']), (1.5, 0.5, 8), 'figures')
    expect_equal(rows.ratio('c', 'a', 'b', None, [4, 1, 1], [1, 2, 4])['median'], 0.5,
                 'the median of ratios, not the ratio of medians')
    expect_refused(lambda: rows.ratio('c', 'a', 'b', None, [1, 2], [1]), "can't be paired")


def test_table():
    table = Table()
    table.add('c', 0.5, 'linux-swap', 30, 'ns')
    table.add('c', 0.5, 'dilos', 10, 'ns')
    table.add('d', 1.0, 'linux', 5, 'ms')
    expect_equal([(r['claim'], r['system'], r['median']) for r in table.rows()],
                 [('c', 'dilos', 10), ('c', 'linux-swap', 30), ('c', 'dilos/linux-swap', 0.333),
                  ('d', 'linux', 5)], 'rows')
    expect_refused(lambda: table.add('c', 0.5, 'dilos', 1, 'ms'), 'figures in ms and ns')


def test_dump_and_load():
    made = [rows.row('c', 's', None, [1], 'ns')]
    expect_equal(rows.load(rows.dump(made) + '\n'), made, 'what was written is read')
    expect_refused(lambda: rows.load('{"claim": "c"}'), 'line 1 is no row: system')
    expect_refused(lambda: rows.load('\n[1]'), 'line 2 is no row')
    expect_refused(lambda: rows.load('nonsense'), 'line 1 is not JSON')


def test_results_are_checked():
    text = 'noise\n{"units": 2, "ns": 10, "checksum": "ab"}\n'
    expect_equal(checked_result(text, 'ab', 'x')['ns'], 10, 'a right one')
    expect_refused(lambda: checked_result(text, 'ac', 'x'), 'wrong results give no figure')
    expect_refused(lambda: checked_result('', 'ab', 'x'), 'printed no result')
    expect_refused(lambda: checked_result(text + text, 'ab', 'x'), 'printed no result')
    expect_refused(lambda: checked_result('{"ns": 0, "checksum": "ab"}', 'ab', 'x'), 'no result')
    expect_equal(rows.result_line('{broken'), None, 'broken JSON')


def case(claim='c', ratio=0.125, wanted=200 * MIB, **more):
    return Case(claim, 'pages', ['random', 1], ratio, wanted, 'ns', **more)


def test_local_memory():
    expect_equal(case().local_bytes, 25 * MIB, 'an eighth')
    expect_equal(case(wanted=200 * MIB + 7).local_bytes, 25 * MIB, 'parts of a byte')
    expect_equal(case(wanted=201 * MIB).local_bytes, 26 * MIB, 'rounded up')
    expect_equal(case(ratio=1.0, own_bytes=16 * MIB).local_bytes, 216 * MIB, 'with its own')
    expect(case().swap_bytes() > 200 * MIB, 'swap holds all of it')


def sweep(options, cases, timings):
    """Runs the sweep's decisions with these times: timings(key, variant name, run)."""
    comparison = Comparison(cases, options)

    def boot(group, _name, _swap, variants, _words=(), _poll_queues=0):
        return {(c.key, v): {'ns': timings(c.key, v.name, boot.run), 'units': 1}
                for c in group for v in variants[c.key]}
    comparison._boot = boot
    for boot.run in range(options.baseline_runs):
        comparison._run_swap(boot.run)
    comparison._settle_sweeps()
    return comparison


def test_sweep_takes_the_best_of_all_runs():
    first = {'page-cluster=0': 5, 'page-cluster=3': 4, 'page-cluster=5 idle=poll': 3}

    def timings(_key, name, run):
        # The winner of the first run is not the best in the end.
        return first.get(name, 100) if run == 0 or name != 'page-cluster=5 idle=poll' else 50
    comparison = sweep(Options(3, keep=3), [case()], timings)
    taken_part = [v.name for v, r in comparison.swap[case().key].items() if len(r) == 3]
    expect_equal(sorted(taken_part), sorted(first), 'the best three go on')
    expect_equal(comparison.table.values('c', 0.125, 'linux-swap'), [4, 4, 4], 'figures')


def test_baselines_may_take_part_in_fewer_runs():
    comparison = Comparison([case('c'), case('d')],
                            Options(3, baseline_runs=1, by_claim=True))
    done = []
    comparison._run_dilos = lambda c, run: done.append((run, c.claim, 'dilos'))
    comparison._run_swap = lambda run, cases: done.append((run, cases[0].claim, 'swap'))
    comparison._run_linux = lambda run, system, _swap, cases: done.append(
        (run, cases[0].claim, system))
    for run in range(3):
        for cases in comparison._groups():
            comparison._run_group(run, cases)
    expect_equal([row for row in done if row[0] == 0],
                 [(0, claim, system) for claim in 'cd'
                  for system in ('dilos', 'linux', 'swap', 'linux-zram')], 'all, claim by claim')
    expect_equal([row for row in done if row[0] > 0],
                 [(run, claim, system) for run in (1, 2) for claim in 'cd'
                  for system in ('dilos', 'linux')], 'those that do not swap')
    table = rows.Table()
    for value in (2, 4, 6):
        table.add('c', 0.5, 'dilos', value, 'ns')
    table.add('c', 0.5, 'linux-swap', 4, 'ns')
    pair = [row for row in table.rows() if row['unit'] == 'ratio']
    expect_equal([(row['median'], row['runs']) for row in pair], [(0.5, 1)], 'of the first run')
    only_first = sweep(Options(3, baseline_runs=1), [case()], lambda *_: 7)
    expect_equal(only_first.table.values('c', 0.125, 'linux-swap'), [7], 'one figure')


def test_sweep_has_all_variants_in_the_first_run():
    seen = []
    sweep(Options(1), [case()], lambda _key, name, _run: seen.append(name) or 1)
    expect_equal(sorted(seen), sorted(v.name for v in SWEEP_FULL), 'variants')
    expect_equal(len(set(seen)), 12, 'three page clusters in four kinds of setting')
    expect_refused(lambda: rows.best_variant({}), 'no variant')
    expect_equal(rows.best_variant({'a': 2, 'b': 1, 'c': 1}), 'b', 'the first of equals')


SERIAL = ('[    0.0] boot\r\n@ready\r\n@begin job0\r\n{"ns": 1}\r\n'
          '@end job0 status=0 peak=4096 pswpin=1 pswpout=2 pgmajfault=3\r\n'
          '@begin job1\r\nKilled\r\n'
          '@end job1 status=137 peak=1 pswpin=0 pswpout=0 pgmajfault=0\r\n@begin job2\r\nhalf')


def test_what_a_linux_guest_says():
    outcomes, errors = linux.parse(SERIAL)
    expect_equal(errors, [], 'errors')
    one = outcomes['job0']
    expect_equal((one.status, one.output, one.peak_bytes, one.pages_in, one.pages_out,
                  one.major_faults), (0, '{"ns": 1}', 4096, 1, 2, 3), 'job0')
    expect_equal((outcomes['job1'].status, outcomes['job1'].output), (137, 'Killed'), 'job1')
    expect_equal((outcomes['job2'].status, outcomes['job2'].output), (None, 'half'), 'job2')
    expect_equal(linux.parse('@error insmod x\n')[1], ['@error insmod x'], 'an error')


def serial_outcomes(text, jobs):
    with tempfile.NamedTemporaryFile('w', suffix='.serial') as f:
        f.write(text)
        f.flush()
        return linux.LinuxGuests._outcomes(f.name, jobs)


def test_a_job_that_failed_gives_no_figure():
    jobs = [linux.Job(f'job{i}', ['x']) for i in range(3)]
    expect_equal(serial_outcomes(SERIAL, jobs[:1])['job0'].status, 0, 'a good one')
    expect_refused(lambda: serial_outcomes(SERIAL, jobs[:2]), 'ended with status 137')
    expect_refused(lambda: serial_outcomes(SERIAL, [jobs[2]]), 'ended with status None')
    expect_refused(lambda: serial_outcomes(SERIAL, [linux.Job('jobX', ['x'])]), 'no status')
    expect_refused(lambda: serial_outcomes('panic', jobs), 'did not come up')
    expect_refused(lambda: serial_outcomes('@ready\n@error no swap on vda', []), 'no swap on vda')


def test_job_line():
    job = linux.Job('a', ['/bench/x', 'two words', '$HOME'], 4096, 5, ['A=b c'], True)
    expect_equal(job.line(), "job a 4096 5 always env 'A=b c' /bench/x 'two words' '$HOME'",
                 'quoting')
    expect_equal(linux.Job('a', ['x']).line(), 'job a max 3 never x', 'no limit')


def test_init_is_a_shell_script():
    path = os.path.join(os.environ['DILOS_SOURCE'], 'bench/lib/linux_init.sh')
    done = subprocess.run(['sh', '-n', path], capture_output=True, text=True, check=False)
    expect_equal((done.returncode, done.stderr), (0, ''), 'its syntax')


def test_cpio():
    out = io.BytesIO()
    archive = cpio.Archive(out)
    archive.folder('bin')
    archive.data('bin/x', b'hello')
    archive.link('l', 'bin/x')
    archive.close()
    data = out.getvalue()
    expect_equal(len(data) % 4, 0, 'aligned')
    expect_equal(data[:6], b'070701', 'magic')
    second = data.index(b'070701', 6)
    fields = [int(data[second + 6 + 8 * i:second + 14 + 8 * i], 16) for i in range(13)]
    expect_equal((fields[1], fields[4], fields[6], fields[11]), (0o100755, 1, 5, 6),
                 'mode, links, size, length of the name')
    expect_equal(data[second + 110:second + 116], b'bin/x\0', 'name')
    expect_equal(data[second + 116:second + 121], b'hello', 'contents')
    expect(data.rstrip(b'\0').endswith(b'TRAILER!!!'), 'the end')


def fake_kernel(folder):
    modules = {'drivers/block/virtio_blk': b'virtio,virtio_ring', 'drivers/virtio/virtio': b'',
               'drivers/virtio/virtio_ring': b'virtio', 'a/with-dash': b'no_such'}
    base = os.path.join(folder, 'linux-image-9')
    for name, needs in modules.items():
        path = os.path.join(base, 'lib/modules/9.1/kernel', name + '.ko')
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(b'ELF\0license=GPL\0depends=' + needs + b'\0vermagic=9\0')
    for name in ('boot/vmlinuz-9.1', 'bin/busybox'):
        os.makedirs(os.path.dirname(os.path.join(base, name)), exist_ok=True)
        with open(os.path.join(base, name), 'wb') as f:
            f.write(b'x')


def test_kernel_of_the_cache():
    with tempfile.TemporaryDirectory() as folder:
        os.environ['DILOS_BENCH_CACHE'] = folder
        try:
            kernel.Kernel()
            raise AssertionError('an empty cache has no kernel')
        except Refused as error:
            expect_in('deploy/setup --bench', str(error), 'the remedy')
        fake_kernel(folder)
        found = kernel.Kernel()
        expect_equal(found.version, '9.1', 'version')
        expect_equal([os.path.basename(p) for p in found.with_needed(['virtio_blk'])],
                     ['virtio.ko', 'virtio_ring.ko', 'virtio_blk.ko'], 'in order of need')
        expect_refused(lambda: found.with_needed(['zram']), 'no module zram')
        expect_refused(lambda: found.with_needed(['with_dash']), 'no module no_such')


def plot_rows():
    return [rows.row('c', 'linux-swap', 0.125, [40, 50, 60], 'ns/page'),
            rows.row('c', 'dilos', 0.125, [10, 20, 30], 'ns/page'),
            rows.row('c', 'dilos/linux-swap', 0.125, [0.4], 'ratio')]


def test_plot():
    text = svg.chart('a<b', plot_rows())
    expect_equal(svg.chart('a<b', plot_rows()), text, 'drawn again')
    document = xml.dom.minidom.parseString(text)
    bars = document.getElementsByTagName('rect')
    expect_equal([bar.getAttribute('fill') for bar in bars],
                 ['#ffffff', svg.COLOURS['dilos'], svg.COLOURS['linux-swap']], 'dilos first')
    widths = [float(bar.getAttribute('width')) for bar in bars[1:]]
    expect_equal([round(w / widths[0], 2) for w in widths], [1, 2.5], 'lengths as the medians')
    texts = [t.firstChild.data for t in document.getElementsByTagName('text')]
    expect_in('a<b', texts, 'the title')
    expect_in('12.5 % local', texts, 'the group')
    expect_in('50   (2.5 × dilos)', texts, 'figure and ratio')
    expect_equal(svg.chart('c', plot_rows()[2:]), None, 'ratios alone are not drawn')


def test_scale():
    linear = svg.Scale(10, 100)
    expect_equal((linear.log, linear.at(0)), (False, svg.LEFT), 'linear begins at 0')
    wide = svg.Scale(1000, 170000)
    expect_equal(wide.log, True, 'a wide spread')
    expect(svg.LEFT < wide.at(1000) < wide.at(170000) < svg.WIDTH - svg.RIGHT, 'inside')
    expect_equal([svg.number(v) for v in (0.3333, 12.34, 999, 1234567)],
                 ['0.333', '12.3', '999', '1 234 567'], 'numbers')


def test_report():
    section = report.section(plot_rows(), {'c': 'plots/c.svg'})
    expect_in('![c](plots/c.svg)', section, 'the plot')
    expect_in('| dilos | 0.125 | 20 | 10 | 30 | 3 | ns/page |', section, 'a row')
    document = f'above\n{report.BEGIN}\nold\n{report.END}\nbelow\n'
    once = report.replace(document, section)
    expect('old' not in once and once.startswith('above\n') and once.endswith('\nbelow\n'), 'place')
    expect_equal(report.replace(once, section), once, 'the same again')
    expect_refused(lambda: report.replace('no marks', 'x'), 'lacks the marks')


def test_plot_command():
    source = os.environ['DILOS_SOURCE']
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ('rows', 'doc.md', 'broken')]
        contents = [rows.dump(plot_rows()), f'{report.BEGIN}\n{report.END}\n', '{}']
        for path, text in zip(paths, contents):
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text)
        command = [sys.executable, os.path.join(source, 'bench/plot'), '--document', paths[1],
                   '--plots', os.path.join(folder, 'plots')]
        done = subprocess.run([*command, paths[0]], capture_output=True, text=True, check=False)
        expect_equal((done.returncode, done.stderr), (0, ''), 'plot')
        expect_equal(os.listdir(os.path.join(folder, 'plots')), ['c.svg'], 'plots')
        done = subprocess.run([*command, paths[2]], capture_output=True, text=True, check=False)
        expect_equal(done.returncode, 1, 'rows that are none')
        expect_in('broken: line 1 is no row', done.stderr, 'why')


def test_parts_of_a_turn_below_the_noise():
    """Parts of the agent's share are differences of times: they may come out as 0."""
    table = Table()
    measured, fabric.program = fabric.program, lambda *words: dict.fromkeys(
        [*fabric.STAGES, 'turn'], 0.0) | {'copy': 300.0}
    try:
        fabric.breakdown(table, fabric.Sizes(Options(runs=1, quick=True)), 0.0)
    finally:
        fabric.program = measured
    rows_made = table.rows()
    figures = {r['claim'].removeprefix('agent_share_'): r['median'] for r in rows_made}
    expect_equal(figures.pop('copy'), 300, 'copy, which is none')
    expect_equal(figures, dict.fromkeys(('take', 'parse', 'find', 'answer', 'fabric', 'rest',
                                         'work', 'handover'), 1), 'differences')


def run_bench(*arguments):
    return subprocess.run([sys.executable, os.path.join(os.environ['DILOS_SOURCE'], 'bench/run'),
                           *arguments], capture_output=True, text=True, check=False, timeout=30)


def test_run_refuses_bad_arguments():
    for arguments, part in ((['nonsense'], 'invalid choice'),
                            (['pager', 'nonsense'], 'no claim nonsense'),
                            (['pager', '--runs', '0'], 'at least one'),
                            (['apps', '--systems', 'windows'], 'no system windows'),
                            (['apps', '--ratios', '2'], 'from 0.01 to 1'),
                            (['apps', '--ratios', 'x'], 'wanted numbers')):
        done = run_bench(*arguments)
        expect_equal(done.returncode, 2, ' '.join(arguments))
        expect_in(part, done.stderr, 'why')
    expect_in('page_write_sequential', run_bench('pager', '--help').stdout, 'help')


sys.exit(tap.run(globals()))
