# SPDX-License-Identifier: Apache-2.0
"""Claims of `apps`: programs whose memory does not fit, against Linux swapping.

  quicksort              64-bit integers, in place
  kmeans                 Lloyd's iterations over points of eight coordinates
  compress, decompress   zstd level 3 over generated text, from memory to memory
  pagerank, betweenness  OpenMP over a generated Kronecker graph
  dataframe              group-bys, a join and a filter over taxi-trip-like rows, by columns

Local ratios 0.125, 0.25, 0.5 and 1.0 of what the program has resident in a native run; at 1.0 all
fits (16 MiB more), which is compared with Linux that has no swap. --quick: 0.125 and 1.0.
"""
import os
import subprocess
import tempfile

from .lib.compare import DILOS, LINUX, SWAP, ZRAM, Case, Comparison
from .lib.pool import MIB, program, progress
from .lib.rows import BenchError

RATIOS = (0.125, 0.25, 0.5, 1.0)
RATIOS_QUICK = (0.125, 1.0)
RATIOS_TINY = (0.5, 1.0)
# At ratio 1.0 nothing shall page: the unikernel's own memory comes on top.
OWN_BYTES = 16 * MIB
GRAPH = 'graph.bin'
SCALE = 18


class Sizes:
    """Of the programs' arguments. tiny: only to see that everything works."""

    def __init__(self, options):
        self.mib = 48 if options.tiny else 136 if options.quick else 160
        self.edges_per_vertex = 16 if options.tiny else 80 if options.quick else 96
        self.rounds = 1 if options.tiny or options.quick else 3


def quicksort(sizes):
    return 'quicksort', [sizes.mib, 1], 'ns/integer'


def kmeans(sizes):
    return 'kmeans', [sizes.mib, sizes.rounds, 1], 'ns/point'


def compress(sizes):
    return 'archive', ['compress', sizes.mib * 2 // 3, 1], 'ns/KiB'


def decompress(sizes):
    return 'archive', ['decompress', sizes.mib * 2 // 3, 1], 'ns/KiB'


def pagerank(sizes):
    return 'graph', ['pagerank', f'{{{GRAPH}}}', sizes.rounds], 'ns/edge'


def betweenness(sizes):
    return 'graph', ['betweenness', f'{{{GRAPH}}}', 1], 'ns/edge'


def dataframe(sizes):
    return 'dataframe', [sizes.mib, 1], 'ns/row'


PROGRAMS = {'quicksort': quicksort, 'kmeans': kmeans, 'compress': compress,
            'decompress': decompress, 'pagerank': pagerank, 'betweenness': betweenness,
            'dataframe': dataframe}
CLAIMS = tuple(PROGRAMS)
PREFETCH = 'readahead'


def systems_at(ratio, quick):
    if ratio < 1:
        return DILOS, SWAP, ZRAM
    return (DILOS, LINUX) if quick else (DILOS, SWAP, ZRAM, LINUX)


def make_case(claim, ratio, sizes, options, graph):
    name, arguments, unit = PROGRAMS[claim](sizes)
    parallel = name == 'graph'
    threads = options.threads if parallel else 1
    return Case(claim, name, arguments, ratio, None, unit,
                systems=systems_at(ratio, options.quick), prefetch=PREFETCH, vcpus=threads,
                files={GRAPH: graph} if parallel else {},
                environment=[f'OMP_NUM_THREADS={threads}'] if parallel else [],
                own_bytes=OWN_BYTES if ratio == 1 else 0, may_be_refused=threads > 1)


def make_graph(folder, edges_per_vertex):
    path = os.path.join(folder, GRAPH)
    progress(f'kronecker graph of 2^{SCALE} vertices, {edges_per_vertex} edges each')
    done = subprocess.run([program('kronecker'), path, str(SCALE), str(edges_per_vertex),
                           '1'],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f'the graph was not made: {done.stderr}')
    return path


def ratios_of(options):
    if options.ratios:
        return options.ratios
    return RATIOS_TINY if options.tiny else RATIOS_QUICK if options.quick else RATIOS


def run(claims, options):
    """(rows, [what was refused])"""
    sizes = Sizes(options)
    with tempfile.TemporaryDirectory(prefix='dilos-bench-') as folder:
        wanted = {PROGRAMS[claim](sizes)[0] for claim in claims}
        graph = make_graph(folder, sizes.edges_per_vertex) if 'graph' in wanted else None
        cases = [make_case(claim, ratio, sizes, options, graph)
                 for claim in claims for ratio in ratios_of(options)]
        comparison = Comparison(cases, options)
        comparison.run()
    return comparison.table.rows(), comparison.refused
