"""Eight processes on two sessions: no deadlocks; on MariaDB at most 1 in 10 000 calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.builders import orphans, wrong_snapshots
from tests.forkserver import forkserver_context, use_database
from tests.torture.conftest import Report, Sizes
from tests.torture.journal import DEADLOCK

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3600)]

PROCESSES = 8
CALLS_PER_TASK = 250
REFUSALS = {"ConcurrencyConflict", "SessionNotFound", "SessionExists"}


def test_no_call_is_aborted_by_a_deadlock(
    scratch: BaseDatabaseWrapper,
    sizes: Sizes,
    seed: int,
    progress_bar: Callable[..., Any],
    report: Report,
) -> None:
    from tests.torture import deadlock_worker

    # SQLite has a single write lock, so that it has no deadlocks between rows.
    calls = sizes.calls // 5 if scratch.vendor == "sqlite" else sizes.calls
    progress = progress_bar(calls, "calls")
    counts: Counter[str] = Counter()
    scratch.close()
    started = time.monotonic()
    with ProcessPoolExecutor(
        PROCESSES,
        mp_context=forkserver_context(),
        initializer=use_database,
        initargs=(connections.settings[scratch.alias],),
    ) as pool:
        tasks = [
            pool.submit(
                deadlock_worker.make_calls,
                f"{seed}/{number}",
                CALLS_PER_TASK,
                (deadlock_worker.AUTOCOMMIT, deadlock_worker.IN_ATOMIC)[number % 2],
            )
            for number in range(calls // CALLS_PER_TASK)
        ]
        for task in as_completed(tasks):
            counts += task.result()
            progress.update(CALLS_PER_TASK)
    seconds = time.monotonic() - started
    deadlocks = counts.pop(f"{DEADLOCK} {deadlock_worker.IN_ATOMIC}", 0)
    retries = counts.pop("retries", 0)
    failed = {kind: count for kind, count in counts.items() if kind not in REFUSALS}
    report(
        "deadlocks",
        scratch.alias,
        processes=PROCESSES,
        sessions=len(deadlock_worker.SESSIONS),
        calls=len(tasks) * CALLS_PER_TASK,
        refused=sum(counts[kind] for kind in REFUSALS),
        retries=retries,
        deadlocks_in_atomic=deadlocks,
        failed=sum(failed.values()),
        seconds=round(seconds),
    )
    assert failed == {}
    # Gap locks of MariaDB can deadlock if several processes create a session that was deleted.
    assert retries + deadlocks == 0 or scratch.vendor == "mysql"
    assert retries + deadlocks <= max(1, len(tasks) * CALLS_PER_TASK / 10_000)
    assert orphans(scratch.alias) == []
    assert wrong_snapshots(scratch.alias) == []
