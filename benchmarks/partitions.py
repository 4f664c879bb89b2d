"""Partition a filled PostgreSQL database as docs/scale-out.md says, and compare it with another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

from django.db import connections

from benchmarks import harness
from benchmarks.harness import RESULTS, ROOT, format_ms, format_table, time_call
from benchmarks.scale import CALLS, STEPS_PER_SESSION, Target, fill_sessions, get_id

PAGE = ROOT / "docs" / "scale-out.md"
PLAIN, PARTITIONED = "plain", "partitioned"
LONG_EVERY = 10
"""One of so many sessions is long: its states are stored as changes to keyframes."""
REPEATS = 201
IDLE_SECONDS = 10.0
"""How long the writer is measured before the first phase."""
PAUSE_SECONDS = 0.01
"""How long the writer waits between two saves."""
COLD = ("load_latest", "load", "query_steps, newest 25")
"""Calls that are measured again while the process remembers no keyframe."""
UNMEASURED = ("list_sessions", "sessions, last page by offset")
"""Calls that read all sessions, whose table is the same."""
LOCKS = {
    "create": "nothing",
    "lock": "all writes",
    "copy": "the 50 sessions of a batch, against writes",
    "compare": "nothing",
    "copy again": "the new sessions, against writes",
    "swap": "all reads and writes",
}


def measure_partitions(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Partition 1 000 000 steps while others save; compare with the same rows as they were."""
    if "PostgreSQL" not in servers:
        return {}
    steps = 10_000 if quick else 1_000_000
    with harness.temporary_databases(dict.fromkeys((PLAIN, PARTITIONED), "PostgreSQL")):
        _fill(steps)
        _clone()
        texts = [
            _partition(steps),
            _compare_calls(steps, 21 if quick else REPEATS),
            _compare_maintenance(),
        ]
    text = "\n\n".join(texts)
    return {RESULTS: text, PAGE: text}


def _fill(steps: int) -> None:
    """Fill the plain database; the last tenth of its sessions is long."""
    from weavegraph_checkpoints import VersionedState
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

    harness.create_tables(PLAIN)
    sessions = steps // STEPS_PER_SESSION
    short = sessions - sessions // LONG_EVERY
    fill_sessions(PLAIN, short * STEPS_PER_SESSION, STEPS_PER_SESSION, 900)
    service = DjangoCheckpointer(using=PLAIN)
    first, messages = get_id(short), []
    for step in range(1, STEPS_PER_SESSION + 1):
        checkpoint = service.load(get_id(0), step)
        assert checkpoint is not None
        messages += checkpoint.state.messages.items
        grown = VersionedState.new(messages, checkpoint.state.extra.map)
        service.save(replace(checkpoint, session_id=first, state=grown))
    for number in range(short + 1, sessions):
        service.fork_session(first, get_id(number))
    _execute(PLAIN, "VACUUM ANALYZE")


def _clone() -> None:
    """Make the other database a copy of the plain one."""
    names = [connections[alias].settings_dict["NAME"] for alias in (PLAIN, PARTITIONED)]
    for alias in (PLAIN, PARTITIONED):
        connections[alias].close()
    with connections[PLAIN]._nodb_cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(f'DROP DATABASE "{names[1]}"')
        cursor.execute(f'CREATE DATABASE "{names[1]}" TEMPLATE "{names[0]}"')


def _execute(alias: str, sql: str) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


# The way there


@dataclass
class Waits:
    """When calls of a client began, and how many seconds each took."""

    calls: list[tuple[float, float]] = field(default_factory=list)

    def between(self, start: float, stop: float) -> list[float]:
        """Return the seconds of the calls that ran between two times, at least partly."""
        return [
            seconds for began, seconds in self.calls if began < stop and began + seconds > start
        ]


@contextmanager
def _clients(steps: int) -> Iterator[tuple[Waits, Waits]]:
    """Save, and load the newest step, of random sessions all the time, each in a thread."""
    stop = Event()
    errors: list[BaseException] = []

    def call(name: str, waits: Waits) -> None:
        target = Target(PARTITIONED, steps)
        try:
            while not stop.wait(PAUSE_SECONDS):
                built = CALLS[name](target)
                began = time.perf_counter()
                built()
                waits.calls.append((began, time.perf_counter() - began))
        except BaseException as error:
            errors.append(error)
        finally:
            connections[PARTITIONED].close()

    found = Waits(), Waits()
    threads = [
        Thread(target=call, args=arguments)
        for arguments in zip(("save", "load_latest"), found, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _partition(steps: int) -> str:
    from tests import partitioning

    times: dict[str, tuple[float, float]] = {}
    with _clients(steps) as clients:
        began = time.perf_counter()
        time.sleep(IDLE_SECONDS)
        times["before"] = began, time.perf_counter()
        for phase in LOCKS:
            began = time.perf_counter()
            partitioning.run(connections[PARTITIONED], phase)
            times[phase] = began, time.perf_counter()
    rows = []
    for phase, (start, stop) in times.items():
        row = [phase, LOCKS.get(phase, ""), f"{stop - start:.2f}"]
        for waits in clients:
            seconds = waits.between(start, stop)
            row += [format_ms(each(seconds)) if seconds else "–" for each in (median, max)]
        rows.append(row)
    heads = ["phase", "locked", "seconds", "save, ms", "longest", "load_latest, ms", "longest"]
    return format_table(heads, rows, texts=2)


# What is there then


def _compare_calls(steps: int, repeats: int) -> str:
    from weavegraph_checkpoints.backends.chains import memory

    targets = [Target(alias, steps) for alias in (PLAIN, PARTITIONED)]
    rows = []
    for name, is_cold in [(name, False) for name in CALLS] + [(name, True) for name in COLD]:
        if name in UNMEASURED:
            continue
        seconds: dict[str, list[float]] = {PLAIN: [], PARTITIONED: []}
        for turn in range(repeats):
            for target in targets if turn % 2 else reversed(targets):
                call = CALLS[name](target)
                if is_cold:
                    memory.clear()
                seconds[target.alias].append(time_call(call))
        title = f"{name}, no keyframe known" if is_cold else name
        rows.append([title, *_format_pair(*map(median, seconds.values()), format_ms)])
    return format_table(["call, ms", "plain", "partitioned", "×"], rows)


def _format_pair(
    plain: float, partitioned: float, to_text: Callable[[float], str]
) -> tuple[str, str, str]:
    return to_text(plain), to_text(partitioned), f"{partitioned / plain:.2f}"


def _prune(alias: str) -> None:
    from weavegraph_checkpoints.domain.retention import RetentionPolicy
    from weavegraph_checkpoints.pruning import prune

    prune(RetentionPolicy(keep_last=80), using=alias)


def _check(alias: str) -> None:
    from weavegraph_checkpoints.health import verify

    # The plain SQL that fills the tables makes these up.
    problems = {finding.problem for finding in verify(using=alias)}
    assert problems <= {"status", "session-counts"}, problems


WORK: dict[str, Callable[[str], object]] = {
    "check_checkpoints, s": _check,
    "prune, keep_last=80, s": _prune,
    "vacuum of all steps, s": lambda alias: _execute(alias, "VACUUM weavegraph_checkpoints_step"),
}


_STEPS = "FROM pg_class WHERE relkind = '{kind}' AND relname ~ '^weavegraph_(checkpoints_)?step'"
SIZES = {
    "largest index of steps, MB": (
        "SELECT max(pg_relation_size(oid)) / 1e6 " + _STEPS.format(kind="i")
    ),
    "steps with all indexes, MB": (
        "SELECT sum(pg_total_relation_size(oid)) / 1e6 " + _STEPS.format(kind="r")
    ),
}


def _compare_maintenance() -> str:
    rows = []
    for name, work in WORK.items():
        seconds = [time_call(partial(work, alias)) for alias in (PLAIN, PARTITIONED)]
        rows.append([name, *_format_pair(*seconds, lambda value: f"{value:.1f}")])
    for title, sql in SIZES.items():
        ((plain,),), ((partitioned,),) = (_execute(alias, sql) for alias in (PLAIN, PARTITIONED))
        rows.append(
            [title, *_format_pair(float(plain), float(partitioned), lambda value: f"{value:.1f}")]
        )
    return format_table(["work and sizes", "plain", "partitioned", "×"], rows)
