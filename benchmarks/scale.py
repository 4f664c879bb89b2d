"""Measure how calls, pruning and interchange grow with the size of the tables."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from io import StringIO
from itertools import count, product
from pathlib import Path
from statistics import median
from typing import Any

from django.db import connections

from benchmarks import harness
from benchmarks.harness import RESULTS, Databases, format_ms, format_table, time_call
from benchmarks.workloads import SEED, Prose, build_steps
from weavegraph_checkpoints import Checkpoint, NodeKind, StepQuery

STEPS_PER_SESSION = 100
RARE_NODE_EVERY = 40
REPEATS = 41
LIST_PAGE_SIZE = 50
MAX_EXCHANGED_STEPS = 100_000


def fill_sessions(alias: str, steps: int, steps_per_session: int, characters: int) -> None:
    """Fill the tables with sessions of the same length, a multiple of 100."""
    template = [
        replace(step, ran_nodes=["escalate"]) if step.step % RARE_NODE_EVERY == 0 else step
        for step in build_steps(
            "template", 100, 1, characters, Prose(random.Random(SEED)), growing=False
        )
    ]
    ids, offsets = range(steps // steps_per_session), range(0, steps_per_session, 100)
    copies = [(get_id(number), offset) for number, offset in product(ids, offsets)]
    harness.fill(alias, template, copies)


def get_id(number: int) -> str:
    """Return the id of a session."""
    return f"session-{number:07}"


# Calls


class Target:
    """Builds calls on a filled database, each on a random session."""

    def __init__(self, alias: str, steps: int) -> None:
        from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
        from weavegraph_checkpoints.models import Session

        self.alias = alias
        self.service = DjangoCheckpointer(using=alias)
        self.sessions = Session.objects.using(alias)
        self.size = steps // STEPS_PER_SESSION
        self.listed = self.sessions.newest_first().defer_state()
        self.last_offset = max(self.size - LIST_PAGE_SIZE, 0)
        self.forks, self.deleted_forks = count(), count()
        self._random = random.Random(SEED)
        self._prose = Prose(random.Random(SEED))

    def get_random_id(self) -> str:
        """Return the id of a session."""
        return get_id(self._random.randrange(self.size))

    def get_random_number(self) -> int:
        """Return a number of up to four digits."""
        return self._random.randrange(10_000)

    def build_next(self) -> Checkpoint:
        """Return the next step of a session."""
        session_id = self.get_random_id()
        (checkpoint,) = build_steps(session_id, 1, 1, 900, self._prose)
        last = self.sessions.values_list("last_step", flat=True).get(id=session_id)
        return replace(checkpoint, step=last + 1, created_at=datetime.now(UTC))

    def build_checked_save(self) -> Callable[[], Any]:
        """Return a save that checks the last step."""
        checkpoint = self.build_next()
        save = self.service.save_with_concurrency_check
        return partial(save, checkpoint, checkpoint.step - 1)

    def build_query(self, **query: Any) -> Callable[[], Any]:
        """Return a read of a page of 25 steps."""
        page = StepQuery(limit=25, **query)
        return partial(self.service.query_steps, self.get_random_id(), page)


CALLS: dict[str, Callable[[Target], Callable[[], Any]]] = {
    "save": lambda on: partial(on.service.save, on.build_next()),
    "save_with_concurrency_check": lambda on: on.build_checked_save(),
    "load_latest": lambda on: partial(on.service.load_latest, on.get_random_id()),
    "load": lambda on: partial(on.service.load, on.get_random_id(), 50),
    "query_steps, newest 25": lambda on: on.build_query(),
    "query_steps, offset 75": lambda on: on.build_query(offset=75),
    "query_steps, max_step 50": lambda on: on.build_query(max_step=50),
    "query_steps, a frequent node": lambda on: on.build_query(ran_node=NodeKind.custom("plan")),
    "query_steps, a rare node": lambda on: on.build_query(ran_node=NodeKind.custom("escalate")),
    "fork_session": lambda on: partial(
        on.service.fork_session, on.get_random_id(), f"fork-{next(on.forks)}", at_step=100
    ),
    "delete_session": lambda on: partial(
        on.service.delete_session, f"fork-{next(on.deleted_forks)}"
    ),
    "list_sessions": lambda on: on.service.list_sessions,
    "find_sessions by status": lambda on: partial(on.service.find_sessions, status="finished"),
    "set_labels": lambda on: partial(
        on.service.set_labels, on.get_random_id(), {"customer": str(on.get_random_number())}
    ),
    "sessions, newest 50": lambda on: partial(list, on.listed[:LIST_PAGE_SIZE]),
    "sessions by status": lambda on: partial(
        list, on.listed.filter(status="finished")[:LIST_PAGE_SIZE]
    ),
    "sessions by id prefix": lambda on: partial(
        list, on.listed.with_id_prefix("session-00000")[:LIST_PAGE_SIZE]
    ),
    "sessions, last page by offset": lambda on: partial(list, on.listed[on.last_offset :]),
}


def measure_scale(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure every call of the service at 10 000 and at 1 000 000 steps."""
    sizes = (1000, 10_000) if quick else (10_000, 1_000_000)
    names = {f"{server}-{size}": server for server in servers for size in sizes}
    rows = [[call] for call in CALLS]
    with harness.temporary_databases(names):
        for server in servers:
            targets = []
            for size in sizes:
                alias = f"{server}-{size}"
                harness.create_tables(alias)
                fill_sessions(alias, size, STEPS_PER_SESSION, 900)
                targets.append(Target(alias, size))
            for row, build in zip(rows, CALLS.values(), strict=True):
                row += _measure_call(build, targets)
    heads = [
        f"{server}: {head}"
        for server in servers
        for head in (*(f"{size:,}" for size in sizes), "×", "queries")
    ]
    return {RESULTS: format_table(["milliseconds at steps", *heads], rows)}


def _measure_call(build: Callable[[Target], Callable[[], Any]], targets: list[Target]) -> list[str]:
    queries = []
    for target in targets:
        call = build(target)
        with harness.record_statements(target.alias) as statements:
            call()
        queries.append(str(len(statements)))
    seconds: dict[Target, list[float]] = {target: [] for target in targets}
    for turn in range(REPEATS):
        for target in targets if turn % 2 else reversed(targets):
            seconds[target].append(time_call(build(target)))
    small, large = map(median, seconds.values())
    return [format_ms(small), format_ms(large), f"{large / small:.2f}", "/".join(queries)]


# Pruning and interchange


def measure_pruning(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure prunes, exports and imports, each in its own process."""
    heads = ["database", "sessions × steps", "operation", "steps", "seconds", "steps/s"]
    sizes = (1000,) if quick else (10_000, 100_000, 1_000_000)
    rows = [row for each in servers for row in harness.run_alone(_operate, each, sizes)]
    return {RESULTS: format_table([*heads, "MB above idle"], rows, texts=3)}


def _operate(server: str, sizes: tuple[int, ...]) -> list[list[str]]:
    rows = []
    with harness.temporary_databases({"default": server}) as databases:
        harness.create_tables("default")
        version = connections["default"].get_database_version()
        name = f"{server} {'.'.join(map(str, version))}"
        for steps, length in ((steps, n) for n in (STEPS_PER_SESSION, None) for steps in sizes):
            length = length or steps
            fill_sessions("default", steps, length, 300)
            connections["default"].close()
            path = f"{tempfile.mkdtemp()}/history.sqlite3"
            for operation in OPERATIONS:
                if steps > MAX_EXCHANGED_STEPS and operation in ("export", "import"):
                    continue
                done, seconds, memory = harness.run_alone(_measure, databases, operation, path)
                row = [name, f"{steps // length:,} × {length:,}", operation, f"{done:,}"]
                row += [f"{seconds:.2f}", f"{done / seconds:,.0f}", f"{memory / 1e6:.0f}"]
                rows.append(row)
                print(*row, sep=" | ", flush=True)
    return rows


def _measure(databases: Databases, operation: str, path: str) -> tuple[int, float, int]:
    """Return the steps, the seconds, and the bytes above the idle process."""
    harness.configure(databases, WEAVEGRAPH_CHECKPOINTS={"RETENTION": [{"keep_last": 10}]})
    import_module("weavegraph_checkpoints.interchange")
    connections["default"].ensure_connection()
    idle, began = harness.get_resident_memory(), time.perf_counter()
    steps = OPERATIONS[operation](path)
    return steps, time.perf_counter() - began, max(harness.get_peak_memory() - idle, 0)


def _prune(*, dry_run: bool = False, **policy: Any) -> int:
    from weavegraph_checkpoints.domain.retention import RetentionPolicy
    from weavegraph_checkpoints.pruning import prune

    return prune(RetentionPolicy(**policy), dry_run=dry_run).steps


def _export(path: str) -> int:
    from weavegraph_checkpoints.interchange import export_history

    return export_history(path).steps


def _import(path: str) -> int:
    from weavegraph_checkpoints.interchange import import_history, open_source

    with open_source(path) as source:
        return import_history(source).added


def _run_stats(path: str) -> int:
    from django.core.management import call_command

    from weavegraph_checkpoints.models import Step

    call_command("checkpoint_stats", stdout=StringIO())
    return Step.objects.count()


OPERATIONS: dict[str, Callable[[str], int]] = {
    "export": _export,
    "checkpoint_stats": _run_stats,
    "dry run, keep_last=10": lambda path: _prune(keep_last=10, dry_run=True),
    "prune, keep_last=10": lambda path: _prune(keep_last=10),
    "import": _import,
    "prune, delete_inactive": lambda path: _prune(delete_inactive=timedelta(0)),
}
"""What is run on the filled tables, in this order; the import restores what was pruned."""
