# SPDX-License-Identifier: Apache-2.0
"""Rows as Markdown: a table and a plot a claim, put between two marks of a document."""
from .rows import BenchError
from .svg import number

BEGIN = '<!-- figures: written by bench/plot -->'
END = '<!-- end of figures -->'


def by_claim(rows):
    found = {}
    for row in rows:
        found.setdefault(row['claim'], []).append(row)
    return found


def table(rows):
    lines = ['| system | local ratio | median | min | max | runs | unit |',
             '|---|---|---|---|---|---|---|']
    for row in rows:
        local = '' if row['local_ratio'] is None else f'{row["local_ratio"]:g}'
        figures = ' | '.join(number(row[key]) for key in ('median', 'min', 'max'))
        lines.append(f'| {row["system"]} | {local} | {figures} | {row["runs"]} | {row["unit"]} |')
    return '\n'.join(lines)


def section(rows, plots):
    """plots: {claim: path of its plot as the document sees it}."""
    parts = []
    for claim, own in by_claim(rows).items():
        parts.append(f'### {claim}')
        if claim in plots:
            parts.append(f'![{claim}]({plots[claim]})')
        parts.append(table(own))
    return '\n\n'.join(parts)


def replace(document, text):
    """The document with what is between the marks replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f'the document lacks the marks {BEGIN} and {END}')
    return f'{before}{BEGIN}\n{text}\n{END}{after}'
