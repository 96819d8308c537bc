# SPDX-License-Identifier: Apache-2.0
"""Rows of figures: pure arithmetic, tested with fixed inputs (tests/unit/bench).

A row is {claim, system, local_ratio, median, min, max, runs, unit}: a time per unit of work, lower
is better; or a ratio of two systems, system "A/B" and unit "ratio", paired run by run.
"""
import json
import statistics

KEYS = ('claim', 'system', 'local_ratio', 'median', 'min', 'max', 'runs', 'unit')
RATIO = 'ratio'
# The order of rows within a claim; what isn't named comes last.
ORDER = ('dilos', 'device', 'linux-swap', 'linux-zram', 'linux')


class BenchError(Exception):
    """No figure can be given; the text says why."""


class Refused(BenchError):
    """What the claim needs isn't there (a program, a kernel, threads); the text says what."""


def row(claim, system, local_ratio, values, unit):
    """One row from the figures of all runs."""
    if not values:
        raise BenchError(f'{claim}: no run of {system} gave a figure')
    if any(value <= 0 for value in values):
        raise BenchError(f'{claim}: {system} reports {min(values)} {unit}: no work takes no time')
    return {'claim': claim, 'system': system, 'local_ratio': local_ratio,
            'median': _short(statistics.median(values)), 'min': _short(min(values)),
            'max': _short(max(values)), 'runs': len(values), 'unit': unit}


def _short(value):
    """Enough digits to compare, not more than are true."""
    return round(value, 3) if value < 1000 else round(value)


def ratio(claim, a, b, local_ratio, a_values, b_values):
    """The row of A/B. Run i of A is divided by run i of B: both had the same neighbours."""
    if len(a_values) != len(b_values):
        raise BenchError(f'{claim}: {len(a_values)} runs of {a} and {len(b_values)} of {b} '
                         "can't be paired")
    return row(claim, f'{a}/{b}', local_ratio, [x / y for x, y in zip(a_values, b_values)], RATIO)


class Table:
    """Figures by (claim, local ratio, system). Rows: claims as they began, systems as in ORDER."""

    def __init__(self):
        self.figures = {}
        self.units = {}

    def add(self, claim, local_ratio, system, value, unit):
        self.figures.setdefault((claim, local_ratio), {}).setdefault(system, []).append(value)
        if self.units.setdefault(claim, unit) != unit:
            raise BenchError(f'{claim}: figures in {unit} and {self.units[claim]}')

    def values(self, claim, local_ratio, system):
        return self.figures.get((claim, local_ratio), {}).get(system, [])

    def rows(self, subject='dilos'):
        """Of each system, then subject/system over the runs that both have: the first ones."""
        found = []
        for (claim, local_ratio), unordered in self.figures.items():
            systems = {system: unordered[system] for system in sorted(unordered, key=_place)}
            found += [row(claim, system, local_ratio, values, self.units[claim])
                      for system, values in systems.items()]
            mine = systems.get(subject)
            found += [ratio(claim, subject, system, local_ratio, mine[:len(values)],
                            values[:len(mine)])
                      for system, values in systems.items() if mine and system != subject]
        return found


def _place(system):
    return (ORDER.index(system) if system in ORDER else len(ORDER), system)


def best_variant(figures):
    """Of {variant: value} the one with the least; the first of equals, so that it is stable."""
    if not figures:
        raise BenchError('no variant gave a figure')
    return min(figures, key=figures.get)


def dump(rows):
    return ''.join(json.dumps(r) + '\n' for r in rows)


def load(text):
    """Rows from JSON lines; a line that is no row is an error that names it."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            parsed = json.loads(line)
        except ValueError:
            raise BenchError(f'line {number} is not JSON: {line[:60]}') from None
        missing = [key for key in KEYS if not isinstance(parsed, dict) or key not in parsed]
        if missing:
            raise BenchError(f'line {number} is no row: {", ".join(missing)} missing')
        found.append(parsed)
    return found


def result_line(text):
    """The one JSON object with a checksum that a bench program printed; None if it printed none or
    several."""
    lines = [line.strip() for line in text.splitlines()
             if line.strip().startswith('{') and '"checksum"' in line]
    try:
        return json.loads(lines[0]) if len(lines) == 1 else None
    except ValueError:
        return None
