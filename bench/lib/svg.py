# SPDX-License-Identifier: Apache-2.0
"""A bar chart of one claim's rows as SVG: text in, text out, the same every time."""
import math
from xml.sax.saxutils import escape

from .rows import ORDER, RATIO

WIDTH = 760
LEFT = 150           # names of systems
RIGHT = 190          # figures
TOP = 58
BAR = 20
GAP = 6
GROUP_GAP = 30
BOTTOM = 34
LOG_FROM = 30        # from this spread on, bars are on a logarithmic scale
TICKS_MAX = 6
COLOURS = {'dilos': '#1f77b4', 'device': '#7f7f7f', 'linux-swap': '#d62728',
           'linux-zram': '#ff7f0e', 'linux': '#2ca02c'}
OTHER_COLOUR = '#9467bd'
FONT = 'font-family="sans-serif"'


def number(value):
    """As people read it: three digits, thousands apart."""
    if value >= 1000:
        return f'{value:,.0f}'.replace(',', ' ')
    return f'{value:.3g}'


def ratio_name(local_ratio):
    if local_ratio is None:
        return ''
    return 'all in far memory' if local_ratio == 0 else f'{local_ratio * 100:g} % local'


class Scale:
    """Values to pixels; linear from 0, or logarithmic when the spread is large."""

    def __init__(self, low, high):
        self.log = high / low > LOG_FROM
        self.first = 10 ** math.floor(math.log10(low)) if self.log else 0
        # A bar of the least value shall be seen.
        if self.log and low / self.first < 1.5:
            self.first /= 10
        self.last = high * 1.02
        self.pixels = WIDTH - LEFT - RIGHT

    def at(self, value):
        if self.log:
            share = math.log(value / self.first) / math.log(self.last / self.first)
        else:
            share = value / self.last
        return LEFT + share * self.pixels

    def ticks(self):
        if self.log:
            first = round(math.log10(self.first))
            return [10.0 ** e for e in range(first, math.floor(math.log10(self.last)) + 1)]
        step = 10 ** math.floor(math.log10(self.last / 2))
        for factor in (1, 2, 5, 10):
            if self.last / (step * factor) <= TICKS_MAX:
                step *= factor
                break
        return [step * i for i in range(int(self.last / step) + 1)]


def _text(x, y, words, anchor='start', size=12, fill='#222222', weight='normal'):
    return (f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" font-weight="{weight}" '
            f'fill="{fill}" text-anchor="{anchor}">{escape(words)}</text>')


def _line(x1, y1, x2, y2, colour, width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def _bar(row, y, scale, reference):
    """One system: bar to the median, whisker from least to most, figure."""
    colour = COLOURS.get(row['system'], OTHER_COLOUR)
    end = scale.at(row['median'])
    middle = y + BAR / 2
    said = number(row['median'])
    if reference is not None and row is not reference:
        said += f'   ({number(row["median"] / reference["median"])} × dilos)'
    parts = [_text(LEFT - 8, y + BAR - 6, row['system'], 'end'),
             f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" '
             f'fill="{colour}"/>']
    if row['runs'] > 1:
        low, high = scale.at(row['min']), scale.at(row['max'])
        parts.append(_line(low, middle, high, middle, '#222222'))
        parts += [_line(x, middle - 4, x, middle + 4, '#222222') for x in (low, high)]
        end = max(end, high)
    parts.append(_text(end + 6, y + BAR - 6, said))
    return parts


def _place(row):
    system = row['system']
    return ORDER.index(system) if system in ORDER else len(ORDER)


def groups_of(rows):
    """[(local ratio, rows)] without the ratio rows."""
    found = {}
    for row in rows:
        if row['unit'] != RATIO:
            found.setdefault(row['local_ratio'], []).append(row)
    return [(local, sorted(group, key=_place)) for local, group in found.items()]


def chart(claim, rows):
    """The SVG of the rows of one claim (all of one unit), or None if there is nothing to draw."""
    groups = groups_of(rows)
    bars = [row for _, group in groups for row in group]
    if not bars:
        return None
    scale = Scale(min(r['min'] for r in bars), max(r['max'] for r in bars))
    height = (TOP + sum(GROUP_GAP + len(group) * (BAR + GAP) for _, group in groups) + BOTTOM)
    scale_name = ', logarithmic' if scale.log else ''
    runs = sorted({r['runs'] for r in bars})
    counted = '/'.join(map(str, runs)) + (' run' if runs == [1] else ' runs')
    subtitle = (f'{bars[0]["unit"]}{scale_name}; lower is better; median, least and most of '
                f'{counted}')
    parts = [_text(16, 24, claim, size=16, weight='bold'),
             _text(16, 43, subtitle, fill='#555555')]
    for tick in scale.ticks():
        x = scale.at(tick)
        parts += [_line(x, TOP, x, height - BOTTOM, '#dddddd'),
                  _text(x, height - BOTTOM + 16, number(tick) if tick else '0', 'middle', 11,
                        '#555555')]
    y = TOP
    for local, group in groups:
        parts.append(_text(LEFT, y + GROUP_GAP - 10, ratio_name(local), fill='#555555'))
        y += GROUP_GAP
        reference = next((r for r in group if r['system'] == 'dilos'), None)
        for row in group:
            parts += _bar(row, y, scale, reference)
            y += BAR + GAP
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">',
        f'<title>{escape(claim)}</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', *parts, '</svg>', ''])
