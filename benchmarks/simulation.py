"""Compute what a large history costs from what small ones cost, without a database.

    python -m benchmarks.simulation --steps=1e9 --sessions=1e7 --days=365

The measured costs are in ``growth.json``, which ``make bench BENCH_ARGS=--only=simulation`` writes.
"""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, log2
from pathlib import Path
from statistics import NormalDist

import msgspec

MEASURED = Path(__file__).resolve().parent / "growth.json"
STRATA = 10_000
"""Sessions are computed in so many groups of equally many, each of one length."""
SIGMA = 1.35
"""Spread of the lengths: of 100 steps on average, the median has 40 and one of a hundred 930."""
SECONDS_PER_DAY = 86_400
FREEZE_AGE = 200_000_000
"""PostgreSQL's default of ``autovacuum_freeze_max_age``, in transactions."""
DEAD_ROW_BYTES, VACUUM_MEMORY = 6, 64 * 2**20
"""What PostgreSQL up to 16 remembers of a dead row, and its default ``maintenance_work_mem``."""
PARTITIONED = ("step", "keyframe")
CHART_MEANS = (3, 10, 30, 100, 300, 1000)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one session of some length costs."""

    save_seconds: float
    """Of all its saves, by one client."""
    log_bytes: float
    """In the log of the server; 0 if the server has none."""
    stored_bytes: dict[str, float]
    """By table, with indexes, after a vacuum."""
    kept_bytes: dict[str, float]
    """After the prune, rewritten."""
    save_vacuum_seconds: float
    """To vacuum what the saves left dead."""
    prune_seconds: float
    prune_vacuum_seconds: float
    delete_seconds: float
    """To delete what the prune kept."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on one server."""

    server: str
    costs: dict[int, Cost]
    """By the steps of a session."""
    larger: Cost
    """Of sessions of ``larger_length`` steps, of which there were several times as many."""
    larger_length: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured, and when and where."""

    run: str
    keep_last: int
    measurements: list[Measurement]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A history to compute."""

    steps: float = 1e9
    sessions: float = 1e7
    days: float = 365
    """How long it took to save, evenly."""
    partition_bytes: float = 32e9
    """The most that a partition of steps with its keyframes shall have."""
    sigma: float = SIGMA


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a scenario costs on one server."""

    stored_bytes: float
    partitioned_bytes: float
    """Of the tables that partitions by session divide."""
    kept_bytes: float
    log_bytes: float
    save_seconds: float
    save_vacuum_seconds: float
    prune_seconds: float
    prune_vacuum_seconds: float
    delete_seconds: float
    deleted_steps: float
    """Of the prune."""
    partitions: int
    freezes: float
    """Times that PostgreSQL has to freeze all rows because of the number of transactions."""

    def count_index_passes(self, partitions: int) -> int:
        """Return how often a vacuum of the pruned steps of a partition reads their indexes."""
        remembered = self.deleted_steps / partitions * DEAD_ROW_BYTES
        return ceil(remembered / VACUUM_MEMORY)


def get_lengths(scenario: Scenario) -> list[float]:
    """Return the length of a session of each group: log-normal, at least 1, with the exact mean."""
    mean = scenario.steps / scenario.sessions
    if mean < 1:
        raise ValueError("there are more sessions than steps")
    quantiles = (NormalDist().inv_cdf((number + 0.5) / STRATA) for number in range(STRATA))
    shape = [exp(scenario.sigma * quantile) for quantile in quantiles]
    # The shortest are raised to 1; the others are scaled so that the mean is right.
    scale, rest = 1.0, sum(shape)
    for raised, shortest in enumerate(shape):
        scale = (mean * STRATA - raised) / rest
        if scale * shortest >= 1:
            break
        rest -= shortest
    return [max(1.0, scale * each) for each in shape]


def interpolate(values: Mapping[int, float], length: float) -> float:
    """Return the value at a length: straight lines between the measured lengths and beyond."""
    known = sorted(values)
    if len(known) == 1:
        return values[known[0]] * length / known[0]
    right = min(max(bisect_right(known, length), 1), len(known) - 1)
    below, above = known[right - 1], known[right]
    slope = (values[above] - values[below]) / (above - below)
    return max(values[below] + slope * (length - below), 0.0)


def simulate(measurement: Measurement, scenario: Scenario, keep_last: int) -> Totals:
    """Add up the costs of all sessions of a scenario."""
    lengths = get_lengths(scenario)
    weight = scenario.sessions / STRATA

    def total(get_value: Callable[[Cost], float]) -> float:
        values = {length: get_value(cost) for length, cost in measurement.costs.items()}
        return sum(interpolate(values, length) for length in lengths) * weight

    partitioned = total(lambda cost: sum(cost.stored_bytes.get(name, 0) for name in PARTITIONED))
    return Totals(
        stored_bytes=total(lambda cost: sum(cost.stored_bytes.values())),
        partitioned_bytes=partitioned,
        kept_bytes=total(lambda cost: sum(cost.kept_bytes.values())),
        log_bytes=total(lambda cost: cost.log_bytes),
        save_seconds=total(lambda cost: cost.save_seconds),
        save_vacuum_seconds=total(lambda cost: cost.save_vacuum_seconds),
        prune_seconds=total(lambda cost: cost.prune_seconds),
        prune_vacuum_seconds=total(lambda cost: cost.prune_vacuum_seconds),
        delete_seconds=total(lambda cost: cost.delete_seconds),
        deleted_steps=sum(max(length - keep_last, 0) for length in lengths) * weight,
        partitions=count_partitions(partitioned, scenario.partition_bytes),
        freezes=scenario.steps / FREEZE_AGE,
    )


def count_partitions(size: float, partition_bytes: float) -> int:
    """Return how many hash partitions keep each below a size: a power of two, to be split later."""
    return int(2 ** ceil(log2(max(size / partition_bytes, 1))))


# The report


def format_bytes(size: float) -> str:
    """Return a size with three digits and its unit, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def format_seconds(seconds: float) -> str:
    """Return a time with three digits in seconds, minutes, hours or days."""
    for unit, length in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < length:
            return f"{seconds:.3g} {unit}"
        seconds /= 24 if unit == "h" else 60
    return f"{seconds:.3g} days"


def format_costs(report: Report) -> list[list[str]]:
    """Return a row for each server and length, and one that says how the larger run differs."""
    rows = []
    for each in report.measurements:
        for length, cost in each.costs.items():
            cells = _format_cost(cost, length, report.keep_last)
            rows.append([f"{each.server}, {length:,}", *cells])
        rows.append(
            [
                f"{each.server}, {each.larger_length:,}, larger run",
                *_format_cost(each.larger, each.larger_length, report.keep_last),
            ]
        )
    return rows


COST_HEADS = [
    "sessions of so many steps",
    "ms per save",
    "bytes per step",
    "log bytes per save",
    "µs of vacuum per save",
    "kept bytes per session",
    "µs of prune per deleted step",
    "µs of vacuum per deleted step",
    "µs to delete a kept step",
]


def _format_cost(cost: Cost, length: int, keep_last: int) -> list[str]:
    deleted, kept = max(length - keep_last, 0), min(length, keep_last)
    return [
        f"{cost.save_seconds / length * 1000:.2f}",
        f"{sum(cost.stored_bytes.values()) / length:,.0f}",
        f"{cost.log_bytes / length:,.0f}" if cost.log_bytes else "–",
        f"{cost.save_vacuum_seconds / length * 1e6:.1f}" if cost.save_vacuum_seconds else "–",
        f"{sum(cost.kept_bytes.values()):,.0f}",
        f"{cost.prune_seconds / deleted * 1e6:.1f}" if deleted else "–",
        f"{cost.prune_vacuum_seconds / deleted * 1e6:.1f}"
        if deleted and cost.prune_vacuum_seconds
        else "–",
        f"{cost.delete_seconds / kept * 1e6:.1f}",
    ]


def format_totals(report: Report, scenario: Scenario) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of a table: what the scenario costs on each server."""
    found = {
        each.server: simulate(each, scenario, report.keep_last) for each in report.measurements
    }
    per_day = scenario.days
    lines: dict[str, Callable[[str, Totals], str]] = {
        "bytes of all": lambda _, each: format_bytes(each.stored_bytes),
        "of which steps and keyframes": lambda _, each: (
            format_bytes(each.partitioned_bytes) if each.partitioned_bytes else "–"
        ),
        f"hash partitions of at most {format_bytes(scenario.partition_bytes)}": lambda _, each: (
            f"{each.partitions:,}" if each.partitioned_bytes else "–"
        ),
        "log": lambda _, each: format_bytes(each.log_bytes) if each.log_bytes else "–",
        "log a day": lambda _, each: (
            format_bytes(each.log_bytes / per_day) if each.log_bytes else "–"
        ),
        "saving, one client": lambda _, each: format_seconds(each.save_seconds),
        "busy clients on average": lambda _, each: (
            f"{each.save_seconds / per_day / SECONDS_PER_DAY:.2f}"
        ),
        "vacuum of what saves leave": lambda _, each: (
            format_seconds(each.save_vacuum_seconds) if each.save_vacuum_seconds else "–"
        ),
        "vacuums of all rows to freeze them": lambda server, each: (
            f"{each.freezes:.0f}" if server == "PostgreSQL" else "–"
        ),
        f"prune, keep_last={report.keep_last}": lambda _, each: format_seconds(each.prune_seconds),
        "steps it deletes": lambda _, each: f"{each.deleted_steps:,.0f}",
        "vacuum of what it deletes": lambda _, each: (
            format_seconds(each.prune_vacuum_seconds) if each.prune_vacuum_seconds else "–"
        ),
        "reads of each index by that vacuum: one table · a partition": lambda server, each: (
            f"{each.count_index_passes(1)} · {each.count_index_passes(each.partitions)}"
            if server == "PostgreSQL"
            else "–"
        ),
        "bytes it keeps": lambda _, each: format_bytes(each.kept_bytes),
        "delete the rest": lambda _, each: format_seconds(each.delete_seconds),
    }
    rows = [
        [name, *(get_cell(server, each) for server, each in found.items())]
        for name, get_cell in lines.items()
    ]
    return ["", *found], rows


Series = dict[str, dict[str, dict[int, float]]]


def get_series(report: Report, scenario: Scenario) -> Series:
    """Return the gigabytes by the average length, whole and pruned, for each server."""
    panels: Series = {}
    for each in report.measurements:
        whole: dict[int, float] = {}
        pruned: dict[int, float] = {}
        for mean in CHART_MEANS:
            sessions = scenario.steps / mean
            totals = simulate(each, replace(scenario, sessions=sessions), report.keep_last)
            whole[mean], pruned[mean] = totals.stored_bytes / 1e9, totals.kept_bytes / 1e9
        name = f"keep_last={report.keep_last}"
        head = f"{each.server}: GB, by steps a session"
        panels[head] = {"whole history": whole, name: pruned}
    return panels


def load(path: Path = MEASURED) -> Report:
    """Return what was measured last."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in columns."""
    table = [list(heads), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what a history of the given size costs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description="Compute what a large history costs from what small ones cost.",
    )
    default = Scenario()
    parser.add_argument("--steps", type=float, default=default.steps)
    parser.add_argument("--sessions", type=float, default=default.sessions)
    parser.add_argument("--days", type=float, default=default.days, help="in which it is saved")
    parser.add_argument(
        "--partition-bytes", type=float, default=default.partition_bytes, help="at most"
    )
    parser.add_argument(
        "--sigma", type=float, default=default.sigma, help="spread of the lengths; 0 for none"
    )
    options = parser.parse_args(arguments)
    report = load()
    print(report.run)
    if options.steps < options.sessions:
        parser.error("there are more sessions than steps")
    print_table(*format_totals(report, Scenario(**vars(options))))


if __name__ == "__main__":
    main()
