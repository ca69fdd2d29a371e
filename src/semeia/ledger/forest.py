"""A forest plot as SVG: a line for each claim, its mean difference and interval beside zero and the margin.

Differences of one unit share an axis. Text and lines alone, so that a new result changes a few lines of the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 900, 170, 600
"""Of the picture, and where the axis begins and ends, in pixels."""
LINE, TITLE, FOOT = 26, 30, 34
"""Heights of a claim, of what stands above an axis, and below."""
COLOURS = {"holds": "#1a7f37", "fails": "#cf222e", "inconclusive": "#6e7781"}


@dataclass(frozen=True)
class Line:
    """One claim in the plot; numbers are signed so that more speaks for it."""

    name: str
    unit: str
    word: str
    difference: float
    low: float
    high: float
    margin: float


def forest(lines: Sequence[Line], *, title: str) -> str:
    """Draw lines, one panel a unit, in the order in which units first come."""
    units = list(dict.fromkeys(line.unit for line in lines))
    parts, top = [], TITLE
    for unit in units:
        panel = [line for line in lines if line.unit == unit]
        parts += _panel(panel, unit=unit, top=top)
        top += TITLE + LINE * len(panel) + FOOT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        'font-family="sans-serif" font-size="13">'
    )
    ground = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    return "\n".join([head, ground, _text(10, 20, title, weight="bold"), *parts, "</svg>", ""])


def _panel(lines: Sequence[Line], *, unit: str, top: float) -> list[str]:
    """One axis with its claims."""
    reach = max(max(abs(line.low), abs(line.high), line.margin) for line in lines) * 1.05 or 1.0
    middle, half = (LEFT + RIGHT) / 2, (RIGHT - LEFT) / 2

    def place(value: float) -> float:
        return middle + half * value / reach

    bottom = top + TITLE + LINE * len(lines)
    parts = [_text(10, top + 18, f"better by, {unit}", colour="#57606a")]
    step = tick(reach)
    for number in range(-int(reach / step), int(reach / step) + 1):
        x = place(number * step)
        parts.append(_stroke(x, top + TITLE, x, bottom, colour="#24292f" if number == 0 else "#d0d7de"))
        parts.append(_text(x, bottom + 16, f"{number * step:+.3g}" if number else "0", anchor="middle"))
    for number, line in enumerate(lines):
        y, colour = top + TITLE + LINE * (number + 0.5), COLOURS[line.word]
        parts.append(_text(10, y + 4, line.name))
        if line.margin:
            x = place(-line.margin)
            parts.append(_stroke(x, y - 9, x, y + 9, colour="#bf8700", dash="3 2"))
        parts.append(_stroke(place(line.low), y, place(line.high), y, colour=colour, width=2))
        parts.append(f'<circle cx="{place(line.difference):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        words = f"{line.difference:+.3f} ({line.low:+.3f} to {line.high:+.3f})"
        parts.append(_text(RIGHT + 14, y + 4, words))
        parts.append(_text(WIDTH - 10, y + 4, line.word, colour=colour, anchor="end"))
    return parts


def tick(reach: float) -> float:
    """A round step that puts two to five ticks on each side of zero."""
    rough = reach / 2
    power = 10 ** math.floor(math.log10(rough))
    return max(step * power for step in (1, 2, 5) if step * power <= rough)


def _text(x: float, y: float, words: str, *, colour: str = "#24292f", anchor: str = "start", weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{bold}>{escape(words)}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, *, colour: str, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashed}/>'
