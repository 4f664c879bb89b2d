"""Measures pruning: steps per second, how time grows, memory above the idle process.

Beside it stands what ``checkpoint_stats`` takes with the same policy in ``RETENTION``.

``make bench-pruning`` fills a database of its own on SQLite, and on each server whose URL
is set (``TEST_POSTGRES_URL``, ``TEST_MARIADB_URL``), prunes it, and writes the tables into
``docs/retention-benchmark.md``. Every run is a fresh process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import loading
from benchmarks.running import alone, machine, peak, resident

PAGE = ROOT / "docs" / "retention-benchmark.md"
MARK = "<!-- measured -->"
SIZES = (10_000, 100_000, 1_000_000)
SEED = 5
STEPS_A_SESSION = 100
KEEP_LAST = 10


@dataclass(frozen=True)
class Shape:
    """How the steps lie, and what is pruned."""

    title: str
    sessions: Callable[[int], int]
    policy: dict[str, Any]


SHAPES = (
    Shape(
        f"sessions of {STEPS_A_SESSION} steps, `keep_last={KEEP_LAST}`",
        lambda size: size // STEPS_A_SESSION,
        {"keep_last": KEEP_LAST},
    ),
    Shape(
        f"one session of all steps, `keep_last={KEEP_LAST}`",
        lambda size: 1,
        {"keep_last": KEEP_LAST},
    ),
    Shape(
        "one session of all steps, `delete_inactive`",
        lambda size: 1,
        {"delete_inactive": timedelta(0)},
    ),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One prune in a process of its own."""

    steps: int
    seconds: float
    idle: int
    """Bytes of the process before, and at its peak."""
    peak: int

    @property
    def above_idle(self) -> float:
        """Megabytes of the peak above the idle process."""
        return max(0.0, (self.peak - self.idle) / 1e6)


def measure(database: loading.Database, policy: dict[str, Any], dry_run: bool) -> Run:
    """Prune, or count, and measure it."""
    loading.use(database)
    from django.db import connection

    from weavegraph_checkpoints.domain.retention import RetentionPolicy
    from weavegraph_checkpoints.pruning import prune

    connection.ensure_connection()
    idle = resident()
    started = time.perf_counter()
    result = prune(RetentionPolicy(**policy), dry_run=dry_run)
    seconds = time.perf_counter() - started
    assert result.finished
    return Run(steps=result.steps, seconds=seconds, idle=idle, peak=peak())


def measure_stats(database: loading.Database, policy: dict[str, Any]) -> float:
    """Return how many seconds the command takes."""
    loading.use(database)
    from django.conf import settings
    from django.core.management import call_command

    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": [policy]}
    started = time.perf_counter()
    call_command("checkpoint_stats", stdout=StringIO())
    return time.perf_counter() - started


def rows(name: str, sizes: tuple[int, ...], shapes: tuple[Shape, ...]) -> Iterator[str]:
    """Yield the rows of the table of one database, each as soon as it is measured."""
    with tempfile.TemporaryDirectory(prefix="weavegraph-benchmark-") as folder:
        database = loading.own_database(name, folder)
        version = alone(loading.create, database)
        own = {**database, "NAME": database["TEST"]["NAME"]}
        try:
            for shape in shapes:
                for size in sizes:
                    yield row(f"{name} {version}", own, shape, size)
        finally:
            alone(loading.drop, database)


def row(title: str, database: loading.Database, shape: Shape, size: int) -> str:
    """Fill, count, prune, and return a row of the table."""
    sessions = shape.sessions(size)
    now = datetime.now(UTC)
    alone(loading.fill, database, sessions, size // sessions, SEED, now)
    dry = alone(measure, database, shape.policy, True)
    stats_seconds = alone(measure_stats, database, shape.policy)
    real = alone(measure, database, shape.policy, False)
    assert dry.steps == real.steps
    cells = (
        title,
        shape.title,
        f"{size:,}",
        f"{real.steps:,}",
        f"{real.seconds:.1f}",
        f"{real.steps / real.seconds:,.0f}",
        f"{real.above_idle:.0f}",
        f"{dry.seconds:.1f}",
        f"{dry.above_idle:.0f}",
        f"{stats_seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| database | workload and policy | steps stored | steps pruned | seconds | steps a second"
    " | MB above idle | dry run, seconds | MB above idle | `checkpoint_stats`, seconds |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, action="append", help="steps; may be given again")
    parser.add_argument("--shape", type=int, action="append", help="number of the workload")
    parser.add_argument("--database", action="append", choices=loading.available())
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    shapes = tuple(SHAPES[number] for number in options.shape or range(len(SHAPES)))
    lines = [machine(f"seed {SEED}"), "", HEADER]
    print("\n".join(lines), flush=True)
    for name in options.database or loading.available():
        for line in rows(name, tuple(options.size or SIZES), shapes):
            lines.append(line)
            print(line, flush=True)
    if options.write:
        before = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(before + MARK + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
