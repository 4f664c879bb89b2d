"""Measure what sessions of each length cost: time, bytes, log, prune and vacuum.

The sizes are small, and the costs are per session, for ``simulation`` to add up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from benchmarks import harness
from benchmarks.harness import RESULTS, ROOT, format_table, plot_lines, time_call
from benchmarks.simulation import (
    COST_HEADS,
    MEASURED,
    Cost,
    Measurement,
    Report,
    Scenario,
    format_costs,
    format_totals,
    get_series,
)
from benchmarks.workloads import SEED, Prose, build_steps
from weavegraph_checkpoints import Checkpoint

KEEP_LAST = 10
"""The policy that is measured and simulated."""
LENGTHS = {1: 2000, 10: 300, 100: 60, 1000: 6}
"""Sessions of each length that are saved."""
TIMES_LARGER = 2
LENGTH_OF_LARGER = 100
"""Sessions of this length are measured again, this many times as many of them."""
REPEATS = 3
"""Each measurement is made so many times; the smallest value of each figure counts."""
MESSAGES_PER_STEP, CHARACTERS = 2, 134
SAVES_PER_VACUUM = 1000
"""On PostgreSQL the sessions are vacuumed after so many saves, as autovacuum would."""
TABLES = ("session", "step", "keyframe", "label")


def _measure_server(server: str, quick: bool) -> Measurement:
    """Measure sessions of each length on a server, one after the other in an empty database."""
    scale = 10 if quick else 1
    numbers = {length: max(2, sessions // scale) for length, sessions in LENGTHS.items()}
    return Measurement(
        server=server,
        costs={length: _measure(server, length, number) for length, number in numbers.items()},
        larger=_measure(server, LENGTH_OF_LARGER, numbers[LENGTH_OF_LARGER] * TIMES_LARGER),
        larger_length=LENGTH_OF_LARGER,
    )


def _measure(server: str, length: int, sessions: int) -> Cost:
    """Return the smallest of what several runs cost: other load on the machine only adds."""
    costs = [harness.run_alone(_measure_once, server, length, sessions) for _ in range(REPEATS)]
    cost = combine(costs)
    print(f"{server}: {sessions:,} × {length:,}: {cost}", flush=True)
    return cost


def combine(costs: Sequence[Cost]) -> Cost:
    """Return the smallest value of each figure."""
    combined: dict[str, Any] = {}
    for name in Cost.__struct_fields__:
        values = [getattr(cost, name) for cost in costs]
        if isinstance(values[0], dict):
            combined[name] = {key: min(value[key] for value in values) for key in values[0]}
        else:
            combined[name] = min(values)
    return Cost(**combined)


def _measure_once(server: str, length: int, sessions: int) -> Cost:
    with harness.temporary_databases({"default": server}):
        harness.create_tables("default")
        probe = PROBES[server](connections["default"])
        return _measure_sessions(probe, length, sessions)


def _measure_sessions(probe: Probe, length: int, sessions: int) -> Cost:
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

    service = DjangoCheckpointer()
    probe.prepare()
    empty, log_before = probe.get_bytes(), probe.get_log_bytes()
    save_seconds = [0.0] * sessions
    vacuum_seconds = 0.0
    for number, checkpoint in enumerate(_build(length, sessions)):
        save_seconds[number // length] += time_call(partial(service.save, checkpoint))
        if (number + 1) % SAVES_PER_VACUUM == 0:
            vacuum_seconds += probe.vacuum("session")
    log_bytes = probe.get_log_bytes() - log_before
    vacuum_seconds += probe.vacuum("session")
    for table in TABLES:
        probe.vacuum(table)
    stored = _subtract(probe.get_bytes(), empty)
    prune_seconds, pruned = _prune(keep_last=KEEP_LAST)
    prune_vacuum_seconds = sum(map(probe.vacuum, TABLES)) if pruned else 0.0
    probe.rewrite()
    kept = _subtract(probe.get_bytes(), empty)
    delete_seconds, _ = _prune(delete_all=True)
    return Cost(
        save_seconds=mean_of_fastest(save_seconds),
        log_bytes=log_bytes / sessions,
        stored_bytes={table: size / sessions for table, size in stored.items()},
        kept_bytes={table: size / sessions for table, size in kept.items()},
        save_vacuum_seconds=vacuum_seconds / sessions,
        prune_seconds=prune_seconds / sessions,
        prune_vacuum_seconds=prune_vacuum_seconds / sessions,
        delete_seconds=delete_seconds / sessions,
    )


def mean_of_fastest(seconds: Sequence[float]) -> float:
    """Return the mean of the fastest tenth, at least one: other load on the machine only adds."""
    fastest = sorted(seconds)[: max(1, len(seconds) // 10)]
    return sum(fastest) / len(fastest)


def _build(length: int, sessions: int) -> Iterator[Checkpoint]:
    """Yield the steps of growing conversations, one after the other."""
    prose = Prose(random.Random(SEED))
    for number in range(sessions):
        yield from build_steps(f"session-{number:07}", length, MESSAGES_PER_STEP, CHARACTERS, prose)


def _subtract(sizes: dict[str, int], empty: dict[str, int]) -> dict[str, int]:
    return {table: max(size - empty[table], 0) for table, size in sizes.items()}


def _prune(*, keep_last: int | None = None, delete_all: bool = False) -> tuple[float, int]:
    """Return the seconds of a prune, and how many steps it deleted."""
    from datetime import timedelta

    from weavegraph_checkpoints.domain.retention import RetentionPolicy
    from weavegraph_checkpoints.pruning import prune

    inactive = timedelta(0) if delete_all else None
    began = time.perf_counter()
    result = prune(RetentionPolicy(keep_last=keep_last, delete_inactive=inactive))
    return time.perf_counter() - began, result.steps


class Probe:
    """What a database says of its sizes, and how its space is made reusable."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def prepare(self) -> None:
        """Prepare the empty tables."""

    def get_bytes(self) -> dict[str, int]:
        """Return the bytes of each table, with its indexes."""
        raise NotImplementedError

    def get_log_bytes(self) -> int:
        """Return how many bytes the server has written to its log; 0 if unknown."""
        return 0

    def vacuum(self, table: str) -> float:
        """Make the space of dead rows reusable; return the seconds, 0 where that is no work."""
        return 0.0

    def rewrite(self) -> None:
        """Return the space of dead rows to the file system."""

    def fetch(self, sql: str, *parameters: Any) -> Any:
        """Return the first column of the first row."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchone()[0]

    def execute(self, *statements: str) -> None:
        """Run statements, and discard the rows."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                if cursor.description:
                    cursor.fetchall()


def _name(table: str) -> str:
    return f"weavegraph_checkpoints_{table}"


class PostgreSQLProbe(Probe):
    """Vacuums by hand what autovacuum would, so that it can be timed."""

    def prepare(self) -> None:
        """See ``Probe.prepare``."""
        off = "SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)"
        self.execute(*(f"ALTER TABLE {_name(table)} {off}" for table in TABLES))

    def get_bytes(self) -> dict[str, int]:
        """See ``Probe.get_bytes``."""
        size = "SELECT pg_total_relation_size(%s::regclass)"
        return {table: self.fetch(size, _name(table)) for table in TABLES}

    def get_log_bytes(self) -> int:
        """See ``Probe.get_log_bytes``."""
        return int(self.fetch("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def vacuum(self, table: str) -> float:
        """See ``Probe.vacuum``."""
        return time_call(lambda: self.execute(f"VACUUM (INDEX_CLEANUP ON) {_name(table)}"))

    def rewrite(self) -> None:
        """See ``Probe.rewrite``."""
        self.execute(*(f"VACUUM FULL {_name(table)}" for table in TABLES))


class MariaDBProbe(Probe):
    """InnoDB purges dead rows by itself."""

    def get_bytes(self) -> dict[str, int]:
        """See ``Probe.get_bytes``."""
        self.execute(*(f"ANALYZE TABLE {_name(table)}" for table in TABLES))
        size = (
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s"
        )
        return {table: int(self.fetch(size, _name(table))) for table in TABLES}

    def get_log_bytes(self) -> int:
        """See ``Probe.get_log_bytes``."""
        return int(
            self.fetch(
                "SELECT variable_value FROM information_schema.global_status"
                " WHERE variable_name = 'INNODB_OS_LOG_WRITTEN'"
            )
        )

    def rewrite(self) -> None:
        """See ``Probe.rewrite``."""
        self.execute(*(f"OPTIMIZE TABLE {_name(table)}" for table in TABLES))


class SQLiteProbe(Probe):
    """The file has all tables; its free pages are not counted."""

    def get_bytes(self) -> dict[str, int]:
        """See ``Probe.get_bytes``."""
        pages = self.fetch("PRAGMA page_count") - self.fetch("PRAGMA freelist_count")
        return {"file": pages * self.fetch("PRAGMA page_size")}

    def rewrite(self) -> None:
        """See ``Probe.rewrite``."""
        self.execute("VACUUM")


PROBES: dict[str, Callable[[BaseDatabaseWrapper], Probe]] = {
    "SQLite": SQLiteProbe,
    "PostgreSQL": PostgreSQLProbe,
    "MariaDB": MariaDBProbe,
}


def measure_simulation(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure each server, and compute the scenario of the documentation from it."""
    run = harness.describe_run()
    measurements = [_measure_server(server, quick) for server in servers]
    report = Report(run=run, keep_last=KEEP_LAST, measurements=measurements)
    scenario = Scenario()
    heads, rows = format_totals(report, scenario)
    title = "Gigabytes of 1,000,000,000 steps, by the average number of steps of a session"
    return {
        MEASURED: msgspec.json.format(msgspec.json.encode(report)).decode() + "\n",
        RESULTS: format_table(COST_HEADS, format_costs(report)),
        ROOT / "docs" / "scale-out-simulation.md": format_table(heads, rows),
        ROOT / "docs" / "images" / "simulation.svg": plot_lines(
            title, get_series(report, scenario)
        ),
    }
