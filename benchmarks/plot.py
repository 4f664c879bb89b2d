"""Bars as SVG, legible on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABELS, RIGHT = 960, 250, 90
ROW, HEAD, GAP, TOP = 24, 34, 14, 76

STYLE = """
    .card { fill: #ffffff; stroke: #d0d7de }
    .ours { fill: #0969da }
    .peer { fill: #bc4c00 }
    .bare { fill: #8c959f }
    .range, .line { stroke: #1f2328; stroke-width: 1.5 }
    .line { stroke-dasharray: 4 4 }
    text { fill: #1f2328; font-family: "Segoe UI", "Helvetica Neue", Helvetica, Arial, \
"DejaVu Sans", sans-serif; font-size: 13px }
    .title { font-size: 17px; font-weight: 600 }
    .head { font-size: 15px; font-weight: 600 }
    .small { fill: #59636e }
    .end { text-anchor: end }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d }
      .ours { fill: #4493f8 }
      .peer { fill: #f0883e }
      .bare { fill: #9198a1 }
      .range, .line { stroke: #f0f6fc }
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
    }
"""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, with the range that it lies in."""

    label: str
    value: float
    style: str
    """``ours``, ``peer`` or ``bare``."""
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> float:
        """How far to the right it goes."""
        return max(self.value, self.high or 0)


def bars(
    title: str,
    note: str,
    panels: Sequence[tuple[str, Sequence[Bar]]],
    *,
    line: float | None = None,
) -> str:
    """Return panels of horizontal bars, each with a scale of its own."""
    parts, y = [], TOP
    for head, each in panels:
        parts.append(f'  <text class="head" x="24" y="{y + 18}">{escape(head)}</text>')
        y += HEAD
        longest = max([bar.reach for bar in each] + [line or 0]) or 1
        unit = (WIDTH - LABELS - RIGHT) / longest
        for position, bar in enumerate(each):
            parts += _bar(bar, y + position * ROW, unit)
        bottom = y + len(each) * ROW
        if line is not None:
            x = LABELS + line * unit
            parts.append(f'  <path class="line" d="M{x:.1f} {y}V{bottom}" />')
        y = bottom + GAP
    summary = "; ".join(
        f"{head}: " + ", ".join(f"{bar.label} {_text(bar.value)}" for bar in each)
        for head, each in panels
    )
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}" width="{WIDTH}"'
        f' height="{y + 10}" role="img" aria-labelledby="title desc">'
    )
    return "\n".join(
        [
            opening,
            f'  <title id="title">{escape(title)}</title>',
            f'  <desc id="desc">{escape(note)} {escape(summary)}.</desc>',
            f"  <style>{STYLE}  </style>",
            f'  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{y + 9}" rx="8" />',
            f'  <text class="title" x="24" y="34">{escape(title)}</text>',
            f'  <text class="small" x="24" y="56">{escape(note)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _bar(bar: Bar, y: int, unit: float) -> list[str]:
    middle = y + ROW / 2 - 2
    width = max(bar.value * unit, 1)
    drawn = [
        f'  <text class="end" x="{LABELS - 10}" y="{y + 15}">{escape(bar.label)}</text>',
        f'  <rect class="{bar.style}" x="{LABELS}" y="{y + 2}" width="{width:.1f}"'
        f' height="{ROW - 8}" rx="2" />',
        f'  <text class="small" x="{LABELS + bar.reach * unit + 8:.1f}" y="{y + 15}">'
        f"{_text(bar.value)}</text>",
    ]
    if bar.low is not None and bar.high is not None:
        low, high = LABELS + bar.low * unit, LABELS + bar.high * unit
        drawn.append(f'  <path class="range" d="M{low:.1f} {middle}H{high:.1f}" />')
    return drawn


def _text(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
