"""Eight processes on two sessions: no call is the victim of a deadlock, on MariaDB hardly any."""

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
from tests.forked import processes, use
from tests.torture.conftest import Report, Sizes
from tests.torture.journal import DEADLOCK

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3600)]

CROWD = 8
CALLS_A_TASK = 250
REFUSALS = {"ConcurrencyConflict", "SessionNotFound", "SessionExists"}


def test_nobody_is_the_victim_of_a_deadlock(
    scratch: BaseDatabaseWrapper,
    sizes: Sizes,
    seed: int,
    bar: Callable[..., Any],
    report: Report,
) -> None:
    from tests.torture import crowd

    # SQLite has a single lock: nothing can be waited for crosswise.
    calls = sizes.calls // 5 if scratch.vendor == "sqlite" else sizes.calls
    progress = bar(calls, "calls")
    counts: Counter[str] = Counter()
    scratch.close()
    started = time.monotonic()
    with ProcessPoolExecutor(
        CROWD,
        mp_context=processes(),
        initializer=use,
        initargs=(connections.settings[scratch.alias],),
    ) as pool:
        tasks = [
            pool.submit(
                crowd.call,
                f"{seed}/{number}",
                CALLS_A_TASK,
                (crowd.OUTSIDE, crowd.INSIDE)[number % 2],
            )
            for number in range(calls // CALLS_A_TASK)
        ]
        for task in as_completed(tasks):
            counts += task.result()
            progress.update(CALLS_A_TASK)
    seconds = time.monotonic() - started
    victims = counts.pop(f"{DEADLOCK} {crowd.INSIDE}", 0)
    tried_again = counts.pop("tried again", 0)
    failed = {kind: count for kind, count in counts.items() if kind not in REFUSALS}
    report(
        "deadlocks",
        scratch.alias,
        processes=CROWD,
        sessions=len(crowd.SESSIONS),
        calls=len(tasks) * CALLS_A_TASK,
        refused=sum(counts[kind] for kind in REFUSALS),
        tried_again=tried_again,
        victims_inside_atomic=victims,
        failed=sum(failed.values()),
        seconds=round(seconds),
    )
    assert failed == {}
    # MariaDB's gap locks may make one where several create a session that is deleted.
    assert tried_again + victims == 0 or scratch.vendor == "mysql"
    assert tried_again + victims <= max(1, len(tasks) * CALLS_A_TASK / 10_000)
    assert orphans(scratch.alias) == []
    assert wrong_snapshots(scratch.alias) == []
