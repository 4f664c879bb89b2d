"""Tables and plots of long histories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import ROOT, format_ms, format_table, plot_lines

OURS, WHOLE = "this app", "whole states"


class Cell(NamedTuple):
    """The median and the mean of some calls, in seconds."""

    median: float
    mean: float


Timings = dict[str, dict[str, Cell]]
"""By operation and candidate."""
Sizes = Mapping[str, float]
"""Bytes by candidate."""


@dataclass
class Measured:
    """What was measured of one shape of histories."""

    timings: Timings
    disk: Sizes = field(default_factory=dict)
    """Bytes on disk for each step, of candidates that saved the whole session."""
    log: Sizes = field(default_factory=dict)
    """Bytes in the log of the server for each save."""
    memory: Sizes = field(default_factory=dict)
    """Bytes of memory for a page."""


Growing = dict[int, Measured]
"""What was measured of growing conversations, by their number of steps."""


class Results(NamedTuple):
    """The results of a server: a table of all, and growing conversations."""

    table: str
    growing: Growing


def format_rows(title: str, measured: Measured) -> Iterator[list[str]]:
    """Yield the rows of a shape: the value of each candidate, and its ratio to this app's."""
    for operation, cells in measured.timings.items():
        values = {name: cell.median for name, cell in cells.items()}
        yield [title, f"{operation}, ms", *_format_values(measured, values, format_ms)]
    means = {name: cell.mean for name, cell in measured.timings["save"].items()}
    for operation, sizes, format_value in (
        ("save, ms, mean", means, format_ms),
        ("kB on disk per step", measured.disk, _format_kb),
        ("kB of log per save", measured.log, _format_kb),
        ("page of 25, MB of memory", measured.memory, _format_mb),
    ):
        if sizes and measured.disk:
            yield [title, operation, *_format_values(measured, sizes, format_value)]


def _format_values(
    measured: Measured, values: Sizes, format_value: Callable[[float], str]
) -> list[str]:
    names = list(measured.timings["save"])
    texts = [format_value(values[name]) if name in values else "–" for name in names]
    ours = values[OURS]
    ratios = [
        f"{values[name] / ours:.2f}" if name in values and ours else "–"
        for name in names
        if name != OURS
    ]
    return texts + ratios


def _format_kb(size: float) -> str:
    return f"{size / 1000:.1f}"


def _format_mb(size: float) -> str:
    return f"{size / 1e6:.1f}"


def format_growing(servers: Mapping[str, Growing], *, with_whole: bool) -> str:
    """Return a table of growing conversations: a row for each candidate of each server."""
    lengths = " · ".join(f"{steps:,}" for steps in sorted(next(iter(servers.values()))))
    rows = []
    for server, growing in servers.items():
        measured = [growing[steps] for steps in sorted(growing)]
        for name in measured[0].disk:
            if name == WHOLE and not with_whole:
                continue
            cells = [_format_cell(measured, name, operation) for operation in GROWING_COLUMNS]
            rows.append([name if "langgraph" in name else f"{name} ({server})", *cells])
    return format_table([f"{lengths} steps", *GROWING_COLUMNS], rows)


def _format_cell(measured: Sequence[Measured], name: str, column: str) -> str:
    return " · ".join(
        _format_pair(GROWING_COLUMNS[column](each, name), GROWING_COLUMNS[column](each, OURS))
        for each in measured
    )


def _format_pair(value: float | None, ours: float | None) -> str:
    if value is None or ours is None:
        return "–"
    text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
    return text if value == ours else f"{text} ×{value / ours:.1f}"


def _get_time(operation: str) -> Callable[[Measured, str], float | None]:
    return lambda measured, name: measured.timings[operation][name].median * 1000


def _get_disk(measured: Measured, name: str) -> float | None:
    return measured.disk[name] / 1000 if name in measured.disk else None


GROWING_COLUMNS: dict[str, Callable[[Measured, str], float | None]] = {
    "save, ms": _get_time("save"),
    "load latest, ms": _get_time("load latest, warm"),
    "first load latest, ms": _get_time("load latest, cold"),
    "page of 25, ms": _get_time("page of 25, cold"),
    "kB on disk per step": _get_disk,
}


def plot_growing(servers: Mapping[str, Growing]) -> dict[Path, str]:
    """Return plots of the bytes of a step, and of the time of a save, by steps."""
    images = ROOT / "docs" / "images"
    return {
        images / "histories.svg": plot_lines(
            "kB on disk per step of a growing conversation, by its number of steps",
            {server: _get_lines(growing, _get_disk) for server, growing in servers.items()},
        ),
        images / "histories-saves.svg": plot_lines(
            "Milliseconds per save of a growing conversation, by its number of steps",
            {server: _get_lines(growing, _get_time("save")) for server, growing in servers.items()},
        ),
    }


def _get_lines(
    growing: Growing, get_value: Callable[[Measured, str], float | None]
) -> dict[str, dict[int, float]]:
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    for steps, measured in growing.items():
        for name in measured.timings["save"]:
            value = get_value(measured, name)
            if value is not None:
                lines[name][steps] = value
    return lines
