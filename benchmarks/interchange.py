"""Measures import, export, and Django's own dumpdata and loaddata.

``make bench-interchange`` makes a database like the crate's, brings it into a database of
its own on SQLite, and on each server whose URL is set (``TEST_POSTGRES_URL``,
``TEST_MARIADB_URL``), and writes the table into ``docs/interchange.md``. Every run is a
fresh process.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import loading
from benchmarks.running import alone, peak, write_between

PAGE = ROOT / "docs" / "interchange.md"
BEGIN, END = "<!-- measured -->", "<!-- end -->"
SEED = 9
STATE_BYTES = 2000
STEPS_A_SESSION = 100
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run in a process of its own."""

    steps: int
    seconds: float
    peak: float
    """Megabytes of the process at its peak."""

    @property
    def rate(self) -> str:
        """Steps a second."""
        return f"{self.steps / self.seconds:,.0f}"


def make_crate(database: loading.Database, path: str, sessions: int, steps: int) -> None:
    """Make a file like the crate's, with prose in its states."""
    loading.use(database)
    from weavegraph_checkpoints.interchange.crate import SCHEMA

    words = random.Random(SEED)
    with closing(sqlite3.connect(path, isolation_level=None)) as crate:
        for statement in SCHEMA:
            crate.execute(statement)
        crate.execute("BEGIN")
        for session in range(sessions):
            crate.execute(
                "INSERT INTO sessions (id, concurrency_limit) VALUES (?, 4)", [f"run-{session:06}"]
            )
            crate.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, '[]', '[\"messages\"]')",
                (_step(words, session, step) for step in range(1, steps + 1)),
            )
        crate.execute("COMMIT")


def _step(words: random.Random, session: int, step: int) -> tuple[object, ...]:
    vocabulary = ("the", "agent", "reads", "a", "page", "and", "writes", "an", "answer", "again")
    prose = " ".join(words.choice(vocabulary) for _ in range(STATE_BYTES // 6))
    content = [prose[i : i + 160] for i in range(0, STATE_BYTES - 700, 160)]
    items = ",".join(f'{{"role":"user","content":"{each}"}}' for each in content)
    state = (
        f'{{"messages":{{"version":{step},"items":[{items}]}},"extra":{{"version":1,"map":'
        f'{{"score":{words.random()},"step":{step}}}}},"errors":{{"version":1,"items":[]}}}}'
    )
    at = (BEGAN + timedelta(seconds=step)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    seen = f'{{"Custom(\\"plan\\")":{{"messages":{step},"extra":1}}}}'
    return f"run-{session:06}", step, at, state, '["Custom:plan"]', seen, '["Custom:plan"]'


def measure(database: loading.Database, work: str, path: str) -> Run:
    """Do one of ``WORKS``, and measure it."""
    loading.use(database)
    from django.db import connection

    connection.ensure_connection()
    started = time.perf_counter()
    WORKS[work](path)
    seconds = time.perf_counter() - started
    from weavegraph_checkpoints.models import Step

    return Run(steps=Step.objects.count(), seconds=seconds, peak=peak() / 1e6)


def _import(path: str) -> None:
    from weavegraph_checkpoints.interchange import import_history, open_source

    with open_source(path) as source:
        import_history(source)


def _export(path: str) -> None:
    from weavegraph_checkpoints.interchange import export_history

    export_history(f"{path}.export")


def _dump(path: str) -> None:
    from django.core.management import call_command

    call_command("dumpdata", "weavegraph_checkpoints", format="jsonl", output=f"{path}.jsonl")


def _load(path: str) -> None:
    from django.core.management import call_command

    call_command("loaddata", f"{path}.jsonl", verbosity=0)


def _empty(path: str) -> None:
    from weavegraph_checkpoints.models import Session, Step

    Step.objects.all()._raw_delete(using="default")
    Session.objects.all()._raw_delete(using="default")


WORKS: dict[str, Callable[[str], None]] = {
    "import": _import,
    "import again": _import,
    "export": _export,
    "dumpdata": _dump,
    "empty": _empty,
    "loaddata": _load,
}


def rows(name: str, sessions: int, steps: int) -> Iterator[str]:
    """Yield the rows of the table of one database, each as soon as it is measured."""
    with tempfile.TemporaryDirectory(prefix="weavegraph-benchmark-") as folder:
        path = f"{folder}/crate.sqlite3"
        database = loading.own_database(name, folder)
        alone(make_crate, database, path, sessions, steps)
        version = alone(loading.create, database)
        own = {**database, "NAME": database["TEST"]["NAME"]}
        try:
            for work in WORKS:
                run = alone(measure, own, work, path)
                if work == "empty":
                    continue
                cells = (
                    f"{name} {version}",
                    work,
                    f"{run.steps:,}",
                    f"{run.seconds:.1f}",
                    run.rate,
                    f"{run.peak:.0f}",
                )
                yield f"| {' | '.join(cells)} |"
            sizes = [Path(path + suffix).stat().st_size / 1e6 for suffix in ("", ".jsonl")]
            megabytes = f"{sizes[0]:.0f} MB, dump {sizes[1]:.0f} MB"
            yield f"| {name} {version} | size of the crate's file | {megabytes} | | | |"
        finally:
            alone(loading.drop, database)


HEADER = (
    "| database | work | steps | seconds | steps a second | MB at the peak |\n"
    "|---|---|---|---|---|---|"
)


def main() -> None:
    """Print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", action="append", choices=loading.available())
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--steps", type=int, default=STEPS_A_SESSION)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    options = parser.parse_args()
    lines = [HEADER]
    print(HEADER, flush=True)
    for name in options.database or loading.available():
        for line in rows(name, options.sessions, options.steps):
            lines.append(line)
            print(line, flush=True)
    if options.write:
        write_between(PAGE, BEGIN, END, "\n".join(lines))


if __name__ == "__main__":
    main()
