"""Measures every call of the service, and the lists of sessions, at 10 000 and 1 000 000 steps."""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, islice
from statistics import median
from typing import Any

from django.db import connections, transaction

from benchmarks import candidates, loading
from benchmarks.peers import Effort
from benchmarks.workloads import SEED, Prose, small
from weavegraph_checkpoints import Checkpoint, NodeKind, StepQuery

STEPS_A_SESSION = 100
STATE_CHARACTERS = 900
STATES = 200
RARE_EVERY = 40
DEEP = "deep"
LISTED = 50
REPEATS = 41
FEW_REPEATS = 7
ROWS_AT_ONCE = 5000
DEPTHS = (0, 0.01, 0.1, 0.5, 0.99)

Call = Callable[[], Any]
Making = Callable[["Calls"], Iterator[Call]]


def scale(effort: Effort) -> dict[str, Any]:
    """Measure on each server: the small database beside the large one."""
    small_size, large_size = effort.sizes
    result: dict[str, Any] = {
        "sizes": list(effort.sizes),
        "steps_a_session": STEPS_A_SESSION,
        "deep_steps": large_size // 10,
        "state_bytes": 0,
        "filled": {},
        "caches": {},
        "servers": {},
    }
    with tempfile.TemporaryDirectory(prefix="weavegraph-benchmark-") as folder:
        databases = {}
        for server in effort.servers:
            for suffix in ("small", "large"):
                database = loading.own_database(server, folder, f"_{suffix}")
                database["NAME"] = database["TEST"]["NAME"]
                databases[f"{server}-{suffix}"] = database
        candidates.configure(databases)
        for server in effort.servers:
            aliases = f"{server}-small", f"{server}-large"
            try:
                for alias in aliases:
                    candidates.create_database(alias)
                    candidates.create_tables(alias)
                fill(aliases[0], small_size // STEPS_A_SESSION)
                began = time.perf_counter()
                result["state_bytes"] = fill(
                    aliases[1], large_size // STEPS_A_SESSION, deep=large_size // 10
                )
                result["filled"][server] = time.perf_counter() - began
                result["caches"][server] = candidates.cache(server, aliases[1])
                print(f"{server}: filled in {result['filled'][server]:.0f} s", flush=True)
                result["servers"][server] = _measured(*map(Calls, aliases), large_size // 10)
            finally:
                for alias in aliases:
                    candidates.drop_database(alias)
    return result


# Filling


def fill(alias: str, sessions: int, *, deep: int = 0) -> int:
    """Fill the empty tables by plain SQL, and return the bytes of a state on average."""
    from weavegraph_checkpoints import triggers
    from weavegraph_checkpoints.backends.base import SESSION, STEP

    connection = connections[alias]
    prose = Prose(random.Random(SEED))
    states = [_state(prose) for _ in range(STATES)]
    shapes = [(_session(number), STEPS_A_SESSION) for number in range(sessions)]
    if deep:
        shapes.append((DEEP, deep))
    now = datetime.now(UTC)
    triggers.remove(using=alias)
    _insert(
        connection,
        f"{SESSION} (id, owner, concurrency_limit, created_at, updated_at, last_step, revision,"
        " status, forked_from, last_message_count, last_error_count, last_state_bytes,"
        " last_frontier, last_versions_seen, last_state)",
        (
            _session_row(connection, name, steps, now - timedelta(seconds=position), states)
            for position, (name, steps) in enumerate(shapes)
        ),
    )
    _insert(
        connection,
        f"{STEP} (session_id, step, created_at, message_count, error_count, state_bytes,"
        " frontier, ran_nodes, skipped_nodes, updated_channels, versions_seen, state)",
        (
            _step_row(connection, name, step, now - timedelta(seconds=steps - step), states)
            for name, steps in shapes
            for step in range(1, steps + 1)
        ),
    )
    triggers.install(using=alias)
    loading.settle(connection)
    return round(sum(map(len, states)) / len(states))


def _session(number: int) -> str:
    return f"session-{number:07}"


def _state(prose: Prose) -> str:
    item = {"role": "assistant", "content": prose.of(STATE_CHARACTERS)}
    return json.dumps(
        {
            "messages": {"version": 1, "items": [item]},
            "extra": {"version": 1, "map": {"budget": 0.5}},
            "errors": {"version": 1, "items": []},
        },
        separators=(",", ":"),
    )


def _ran(step: int) -> str:
    if step % RARE_EVERY == 0:
        return '["Custom:escalate"]'
    return f'["Custom:{("plan", "act", "review")[step % 3]}"]'


def _session_row(
    connection: Any, name: str, steps: int, at: datetime, states: list[str]
) -> tuple[Any, ...]:
    instant = loading.instant(connection, at)
    state = states[steps % STATES]
    status = "finished" if name[-1] in "0123456" else "resumable"
    counts = (steps, steps, status, "", 1, 0, len(state))
    return name, "", 1, instant, instant, *counts, '["Custom:act"]', "{}", state


def _step_row(
    connection: Any, name: str, step: int, at: datetime, states: list[str]
) -> tuple[Any, ...]:
    state = states[step % STATES]
    small_columns = (1, 0, len(state), '["Custom:act"]', _ran(step), "[]", '["messages"]', "{}")
    return name, step, loading.instant(connection, at), *small_columns, state


def _insert(connection: Any, into: str, rows: Iterator[tuple[Any, ...]]) -> None:
    """Insert many rows: by COPY where there is one."""
    with transaction.atomic(connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION unique_checks = 0, foreign_key_checks = 0")
        marks = ", ".join(["%s"] * (into.count(",") + 1))
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            cursor.executemany(f"INSERT INTO {into} VALUES ({marks})", batch)
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION unique_checks = 1, foreign_key_checks = 1")


# Calls


class Calls:
    """What is asked of one database; each call of a kind asks for another session."""

    def __init__(self, alias: str) -> None:
        from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
        from weavegraph_checkpoints.models import Session

        self.alias = alias
        self.checkpointer = DjangoCheckpointer(using=alias)
        self.sessions = Session.objects.using(alias)
        self.size = self.sessions.exclude(id=DEEP).count()
        self._chance = random.Random(SEED)
        self._prose = Prose(random.Random(SEED))

    def ids(self) -> Iterator[str]:
        """Yield ids at random."""
        while True:
            yield _session(self._chance.randrange(self.size))

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Yield the next step of sessions at random."""
        for session_id in self.ids():
            (newest,) = small(session_id, 1, STATE_CHARACTERS, self._prose)
            yield Checkpoint(
                session_id=session_id,
                step=self.sessions.values_list("last_step", flat=True).get(id=session_id) + 1,
                state=newest.state,
                frontier=newest.frontier,
                versions_seen=newest.versions_seen,
                ran_nodes=newest.ran_nodes,
                updated_channels=newest.updated_channels,
            )

    def saves(self) -> Iterator[Call]:
        """Save a new step."""
        for checkpoint in self.checkpoints():
            yield partial(self.checkpointer.save, checkpoint)

    def checked_saves(self) -> Iterator[Call]:
        """Save a new step after the expected one."""
        save = self.checkpointer.save_with_concurrency_check
        for checkpoint in self.checkpoints():
            yield partial(save, checkpoint, checkpoint.step - 1)

    def latest(self) -> Iterator[Call]:
        """Load the newest step."""
        return (partial(self.checkpointer.load_latest, each) for each in self.ids())

    def loads(self) -> Iterator[Call]:
        """Load a step in the middle."""
        return (partial(self.checkpointer.load, each, 50) for each in self.ids())

    def pages(self, **query: Any) -> Iterator[Call]:
        """Read a page of steps."""
        asked = StepQuery(limit=25, **query)
        return (partial(self.checkpointer.query_steps, each, asked) for each in self.ids())

    def forks(self) -> Iterator[Call]:
        """Copy a session of 100 steps."""
        for number, each in zip(count(), self.ids(), strict=False):
            yield partial(self.checkpointer.fork_session, each, f"fork-{number}", at_step=100)

    def deletes(self) -> Iterator[Call]:
        """Delete what was forked."""
        return (partial(self.checkpointer.delete_session, f"fork-{each}") for each in count())

    def listed(self) -> Iterator[Call]:
        """List the ids of all sessions."""
        while True:
            yield self.checkpointer.list_sessions

    def lists(self, narrow: Callable[[Any], Any], *, late: bool = False) -> Iterator[Call]:
        """Read a page of sessions, as the API does."""
        start = max(self.size - LISTED, 0) if late else 0
        found = narrow(self.sessions.newest_first().defer_state())[start : start + LISTED]
        while True:
            yield lambda: list(found.all())


KINDS: dict[str, Making] = {
    "save": lambda calls: calls.saves(),
    "save_with_concurrency_check": lambda calls: calls.checked_saves(),
    "load_latest": lambda calls: calls.latest(),
    "load": lambda calls: calls.loads(),
    "query_steps, newest 25": lambda calls: calls.pages(),
    "query_steps, offset 75": lambda calls: calls.pages(offset=75),
    "query_steps, max_step 50": lambda calls: calls.pages(max_step=50),
    "query_steps, a frequent node": lambda calls: calls.pages(ran_node=NodeKind.custom("plan")),
    "query_steps, a rare node": lambda calls: calls.pages(ran_node=NodeKind.custom("escalate")),
    "fork_session": lambda calls: calls.forks(),
    "delete_session": lambda calls: calls.deletes(),
    "list_sessions": lambda calls: calls.listed(),
    "sessions, newest 50": lambda calls: calls.lists(lambda found: found),
    "sessions of a status": lambda calls: calls.lists(
        lambda found: found.filter(status="finished")
    ),
    "sessions by the start of the id": lambda calls: calls.lists(
        lambda found: found.with_id_prefix("session-00000")
    ),
    "sessions, the last page by offset": lambda calls: calls.lists(lambda found: found, late=True),
}


def _measured(few: Calls, many: Calls, deep_steps: int) -> dict[str, Any]:
    result: dict[str, Any] = {"calls": {}, "plans": {}}
    for name, make in KINDS.items():
        repeats = FEW_REPEATS if name == "list_sessions" else REPEATS
        making = make(few), make(many)
        queries = [
            _queries(each.alias, next(calls))
            for each, calls in zip((few, many), making, strict=True)
        ]
        spent: tuple[list[float], list[float]] = ([], [])
        for turn in range(repeats):
            for side in (0, 1) if turn % 2 else (1, 0):
                call = next(making[side])
                began = time.perf_counter()
                call()
                spent[side].append(time.perf_counter() - began)
        result["calls"][name] = {
            "seconds": [median(each) for each in spent],
            "queries": [len(each) for each in queries],
        }
        result["plans"][name] = [
            step for statement in queries[1] for step in _plan(many.alias, *statement)
        ]
    result["depths"] = _depths(many, deep_steps)
    return result


def _queries(alias: str, call: Call) -> list[tuple[str, Any]]:
    """Return the statements of a call."""
    heard: list[tuple[str, Any]] = []
    with connections[alias].execute_wrapper(candidates.listener(heard)):
        call()
    return heard


def _depths(calls: Calls, steps: int) -> dict[str, dict[str, float]]:
    """Measure a page of 25 at some depths of the long session."""
    checkpointer = calls.checkpointer
    backend = checkpointer._for_read()

    def rows(max_step: int) -> Any:
        condition = "session_id = %s AND step <= %s ORDER BY step DESC LIMIT %s OFFSET %s"
        return tuple(backend._checkpoints(DEEP, condition, [DEEP, max_step, 25, 0]))

    found = {}
    for share in DEPTHS:
        depth = int(steps * share)
        by_step = StepQuery(limit=25, max_step=steps - depth)
        by_offset = StepQuery(limit=25, offset=depth)
        works: dict[str, Call] = {
            "rows by max_step": partial(rows, steps - depth),
            "call by max_step": partial(checkpointer.query_steps, DEEP, by_step),
            "call by offset": partial(checkpointer.query_steps, DEEP, by_offset),
        }
        found[str(depth)] = {name: _median(work) for name, work in works.items()}
    return found


def _median(work: Call) -> float:
    spent = []
    for _ in range(FEW_REPEATS * 2):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return median(spent)


# Plans


def _plan(alias: str, sql: str, parameters: Any) -> list[str]:
    """Return in short how a statement is run."""
    if not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql):
        return []
    connection = connections[alias]
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", parameters)
        rows = cursor.fetchall()
        names = [column[0] for column in cursor.description]
    return list(dict.fromkeys(SHORT[connection.vendor](rows, names)))


def _of_sqlite(rows: list[Any], names: list[str]) -> Iterator[str]:
    return (
        row[3].replace("weavegraph_checkpoints_", "") for row in rows if "SCAN CONST" not in row[3]
    )


def _of_postgresql(rows: list[Any], names: list[str]) -> Iterator[str]:
    for (line,) in rows:
        node = line.partition("(cost")[0].replace("->", "").strip()
        if "(cost" in line and ("Scan" in node or "Sort" in node):
            yield node.replace("weavegraph_checkpoints_", "")


def _of_mariadb(rows: list[Any], names: list[str]) -> Iterator[str]:
    for row in rows:
        found = dict(zip(names, row, strict=True))
        if found["rows"] is not None:
            table = found["table"].replace("weavegraph_checkpoints_", "")
            yield f"{table}: {found['type']} by {found['key']}, {found['rows']} rows"


SHORT = {"sqlite": _of_sqlite, "postgresql": _of_postgresql, "mysql": _of_mariadb}
