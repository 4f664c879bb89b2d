"""Measure saves on one, two and three nodes of Galera, what a conflict costs, and reads.

All nodes are temporary and share this machine with the writers, so that the figures show what
replication costs, and not what more machines add.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from django.db import Error, connections

from benchmarks import harness
from benchmarks.harness import RESULTS, ROOT, format_ms, format_table
from benchmarks.workloads import SEED, Prose, build_steps
from weavegraph_checkpoints import Checkpoint

PAGE = ROOT / "docs" / "scale-out-galera.md"
WRITERS = 6
STEPS = 50
"""Different checkpoints that a writer saves in turn."""
CHARACTERS = 2000
"""The length of the message in each."""
SECONDS_TO_START = 3.0
SYNC_WAIT = 7

SHARED = f"{WRITERS} writers, one session"
SPREADS = {
    "1 writer, 1 session": (1, False),
    f"{WRITERS} writers, each its own session": (WRITERS, False),
    SHARED: (WRITERS, True),
}
"""The number of writers, and whether they share a session."""


@dataclass(frozen=True)
class Measured:
    """The saves of some writers."""

    seconds: Sequence[float]
    """How long each took."""
    retries: int
    failures: int
    """Saves that failed after all retries."""
    duration: float

    @property
    def rate(self) -> float:
        """Saves per second."""
        return len(self.seconds) / self.duration


class RetryCounter(logging.Handler):
    """Count the retries that the app logs."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def measure_galera(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure one server, and clusters of one to three nodes, if Galera is installed."""
    from tests.servers.galera import find_provider

    if "MariaDB" not in servers or find_provider() is None:
        return {}
    duration = 2.0 if quick else 15.0
    found: dict[str, dict[str, Measured]] = {}
    reads: list[list[str]] = []
    for size in range(4):
        name = "no cluster" if size == 0 else f"{size} node{'s' if size > 1 else ''}"
        with temporary_nodes(size) as databases:
            harness.run_alone(_migrate, databases[0])
            found[name] = {
                spread: _measure_writers(databases, writers, is_shared, duration)
                for spread, (writers, is_shared) in SPREADS.items()
            }
            if size == 3:
                found["3 nodes, written on one"] = {
                    spread: _measure_writers(databases[:1], writers, is_shared, duration)
                    for spread, (writers, is_shared) in SPREADS.items()
                }
                rounds = 100 if quick else 1000
                for sync_wait in (0, SYNC_WAIT):
                    reads.append(harness.run_alone(_measure_reads, databases, sync_wait, rounds))
    text = "\n\n".join([format_saves(found), format_conflicts(found), format_reads(reads)])
    return {RESULTS: text, PAGE: text}


@contextmanager
def temporary_nodes(size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the settings of the databases of a new cluster; of one plain server for size 0."""
    from example_project.database_url import SAFE_OPTIONS
    from tests.servers import MariaDBServer, galera_cluster, temporary_server

    engine = "django.db.backends.mysql"
    with ExitStack() as stack:
        nodes: Sequence[MariaDBServer] = (
            stack.enter_context(galera_cluster(size))
            if size
            else [stack.enter_context(temporary_server(MariaDBServer))]
        )
        nodes[0].create_database()
        yield [
            {
                "ENGINE": engine,
                "NAME": "weavegraph",
                "USER": node.user,
                "HOST": "127.0.0.1",
                "PORT": str(node.port),
                "OPTIONS": SAFE_OPTIONS[engine],
            }
            for node in nodes
        ]


def _migrate(database: dict[str, Any]) -> None:
    harness.configure({"default": database})
    harness.create_tables("default")


def _measure_writers(
    databases: Sequence[dict[str, Any]], writers: int, is_shared: bool, duration: float
) -> Measured:
    start = time.time() + SECONDS_TO_START
    context = get_context("spawn")
    with ProcessPoolExecutor(writers, mp_context=context) as pool:
        running = [
            pool.submit(
                _save_repeatedly,
                databases[number % len(databases)],
                "shared" if is_shared else f"own-{number}",
                number,
                start,
                duration,
            )
            for number in range(writers)
        ]
        done = [each.result() for each in running]
    return Measured(
        seconds=[second for each in done for second in each.seconds],
        retries=sum(each.retries for each in done),
        failures=sum(each.failures for each in done),
        duration=duration,
    )


def _save_repeatedly(
    database: dict[str, Any], session_id: str, number: int, start: float, duration: float
) -> Measured:
    """Save for some time, without the concurrency check, in a process of its own."""
    harness.configure({"default": database})
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

    retries = RetryCounter()
    logger = logging.getLogger("weavegraph_checkpoints.retries")
    logger.addHandler(retries)
    logger.propagate = False
    service = DjangoCheckpointer()
    template = _build_steps(session_id, STEPS, number)
    seconds: list[float] = []
    failures = 0
    service.load_latest(session_id)
    time.sleep(max(0.0, start - time.time()))
    saved = 0
    while time.time() < start + duration:
        checkpoint = template[saved % STEPS]
        saved += 1
        began = time.perf_counter()
        try:
            service.save(checkpoint)
        except Error:
            failures += 1
        else:
            seconds.append(time.perf_counter() - began)
    connections["default"].close()
    return Measured(seconds, retries.count, failures, duration)


def _build_steps(session_id: str, steps: int, number: int) -> list[Checkpoint]:
    prose = Prose(random.Random(SEED + number))
    return build_steps(session_id, steps, 1, CHARACTERS, prose, growing=False)


def _measure_reads(databases: Sequence[dict[str, Any]], sync_wait: int, rounds: int) -> list[str]:
    """Read on one node what was just saved on another."""
    options = databases[1]["OPTIONS"]
    command = f"{options['init_command']}, wsrep_sync_wait={sync_wait}"
    reading = {**databases[1], "OPTIONS": {**options, "init_command": command}}
    harness.configure({"default": databases[0], "reading": reading})
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

    writer, reader = DjangoCheckpointer("default"), DjangoCheckpointer("reading")
    session_id = f"reads-{sync_wait}"
    times: list[float] = []
    lags: list[float] = []
    reader.load_latest(session_id)
    for checkpoint in _build_steps(session_id, rounds, 0):
        writer.save(checkpoint)
        began = time.perf_counter()
        latest = reader.load_latest(session_id)
        times.append(time.perf_counter() - began)
        if latest is None or latest.step < checkpoint.step:
            while (latest := reader.load_latest(session_id)) is None or (
                latest.step < checkpoint.step
            ):
                pass
            lags.append(time.perf_counter() - began)
    return [
        f"{sync_wait}",
        f"{len(lags) / rounds:.1%}",
        format_ms(max(lags)) if lags else "–",
        format_ms(median(times)),
        format_ms(quantiles(times, n=100)[98]),
    ]


def format_saves(found: dict[str, dict[str, Measured]]) -> str:
    """Return the saves per second, and the milliseconds of one save."""
    rows = []
    for name, measured in found.items():
        cells = [
            f"{each.rate:.0f} ({format_ms(median(each.seconds))})" for each in measured.values()
        ]
        rows.append([name, *cells])
    return format_table(["saves per second (median ms)", *SPREADS], rows)


def format_conflicts(found: dict[str, dict[str, Measured]]) -> str:
    """Return what saves to one session cost."""
    rows = []
    for name, measured in found.items():
        each = measured[SHARED]
        calls = len(each.seconds) + each.failures
        rows.append(
            [
                name,
                f"{each.retries / calls:.2f}",
                f"{each.failures / calls:.2%}",
                format_ms(median(each.seconds)),
                format_ms(quantiles(each.seconds, n=100)[98]),
            ]
        )
    heads = [SHARED, "retries per save", "failed saves"]
    return format_table([*heads, "median ms", "99 % ms"], rows)


def format_reads(rows: Sequence[Sequence[str]]) -> str:
    """Return how often, and for how long, a read misses a save on another node."""
    heads = ["`wsrep_sync_wait`", "stale reads", "longest until seen, ms", "`load_latest`, ms"]
    return format_table([*heads, "99 % ms"], rows)
