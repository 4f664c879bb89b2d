"""Measure ``find_sessions`` by labels next to a page by status, and explain its plans."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from django.db import connections, transaction

from benchmarks import harness
from benchmarks.harness import RESULTS, format_ms, format_table, time_call
from benchmarks.workloads import SEED, Prose, build_steps

CUSTOMERS = 10_000
TEAMS = 20
REPEATS = 41
BATCH_SIZE = 5000
WORST = "labels that no session has together"
"""Reads all sessions, and is measured once."""
EXPLAINED = ("a rare and a frequent label", "two frequent labels")

Target = Callable[..., Any]

PAGES: dict[str, dict[str, Any]] = {
    "by status": {"status": "finished"},
    "all sessions": {},
    "a rare label": {"labels": {"customer": "7"}},
    "a frequent label": {"labels": {"env": "prod"}},
    "a rare and a frequent label": {"labels": {"customer": "7", "env": "prod"}},
    "two frequent labels": {"labels": {"env": "prod", "team": "3"}},
    "two rare labels": {"labels": {"customer": "7", "team": "7"}},
    "three labels and a status": {
        "labels": {"customer": "7", "env": "prod", "team": "7"},
        "status": "finished",
    },
    WORST: {"labels": {"env": "test", "team": "3"}},
    "a label that no session has": {"labels": {"customer": "none"}},
}
"""The conditions of each page of 50."""


def measure_labels(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure pages of ``find_sessions`` at 1 000 000 sessions with three labels each."""
    size = 10_000 if quick else 1_000_000
    found = [harness.run_alone(_measure, server, size) for server in servers]
    heads = [head for each in servers for head in (f"{each}, ms", "× by status", "queries")]
    rows = [[title, *(cell for cells, _ in found for cell in cells[title])] for title in PAGES]
    plans = "\n\n".join(text for _, text in found)
    table = format_table([f"50 of {size:,} sessions", *heads], rows)
    return {RESULTS: f"{table}\n\n{plans}"}


def get_labels(number: int) -> dict[str, str]:
    """Return the labels of a session: of 10 000 customers, two environments and 20 teams."""
    return {
        "customer": str(number % CUSTOMERS),
        "env": "test" if number % 10 == 0 else "prod",
        "team": str(number % TEAMS),
    }


def _measure(server: str, size: int) -> tuple[dict[str, list[str]], str]:
    with harness.temporary_databases({"default": server}):
        from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

        harness.create_tables("default")
        template = build_steps("template", 1, 1, 300, Prose(random.Random(SEED)), growing=False)
        harness.fill("default", template, (), (f"run-{number}" for number in range(size)))
        _insert_labels(size)
        find = DjangoCheckpointer().find_sessions
        seconds: dict[str, list[float]] = {title: [] for title in PAGES}
        for repeat in range(REPEATS):
            for title, conditions in PAGES.items():
                if title == WORST and repeat:
                    continue
                seconds[title].append(time_call(lambda conditions=conditions: find(**conditions)))
        by_status = median(seconds["by status"])
        cells, plans = {}, []
        for title, conditions in PAGES.items():
            with harness.record_statements("default") as statements:
                find(**conditions)
            took = median(seconds[title])
            cells[title] = [format_ms(took), f"{took / by_status:.2f}", str(len(statements))]
            if title in EXPLAINED:
                plans.append(f"{server}, {title}:\n\n```text\n{_explain(*statements[-1])}\n```")
        return cells, "\n\n".join(plans)


def _insert_labels(size: int) -> None:
    from weavegraph_checkpoints.models import Label

    connection = connections["default"]
    quote = connection.ops.quote_name
    sql = f"INSERT INTO {Label._meta.db_table} (session_id, {quote('key')}, value)"
    rows = _iter_labels(size)
    with transaction.atomic(), connection.cursor() as cursor:
        while batch := list(islice(rows, BATCH_SIZE)):
            cursor.executemany(f"{sql} VALUES (%s, %s, %s)", batch)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _iter_labels(size: int) -> Iterator[tuple[str, str, str]]:
    for number in range(size):
        for key, value in get_labels(number).items():
            yield f"run-{number}", key, value


def _explain(sql: str, params: Any) -> str:
    """Return the plan of a statement, a line for each row."""
    connection = connections["default"]
    prefix = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{prefix} {sql}", params)
        rows = cursor.fetchall()
    if connection.vendor == "sqlite":
        return "\n".join(str(row[3]) for row in rows)
    return "\n".join(" | ".join("" if cell is None else str(cell) for cell in row) for row in rows)
