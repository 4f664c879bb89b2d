"""Writers are killed at any time: no acknowledged save is lost, no row is partly written."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.torture.conftest import Report, Sizes
from tests.torture.journal import DEADLOCK
from tests.torture.supervisor import Supervisor
from tests.torture.verification import (
    RevisionMonitor,
    count_deadlocks,
    count_deltas,
    count_kept_saves,
    find_faults,
    wait_for_disconnects,
)

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

WRITERS = 8
AT_ONCE = (1, 1, 1, 1, 2, 3, WRITERS)


def test_acknowledged_saves_survive_killed_writers(
    scratch: BaseDatabaseWrapper,
    sizes: Sizes,
    seed: int,
    progress_bar: Callable[..., Any],
    report: Report,
) -> None:
    chance = random.Random(seed)
    revisions = RevisionMonitor(scratch.alias)
    found: list[str] = []
    progress = progress_bar(sizes.saves, "saves")
    started = time.monotonic()
    scratch.close()
    with Supervisor([connections.settings[scratch.alias]], WRITERS, seed) as supervisor:
        journal = supervisor.journal
        while supervisor.killed < sizes.kills or journal.acknowledged < sizes.saves:
            left = max(1, (sizes.kills - supervisor.killed))
            pause = (sizes.saves - journal.acknowledged) / left
            supervisor.wait_for_saves(
                journal.acknowledged + int(chance.uniform(1, max(2, 4 * pause)))
            )
            supervisor.receive(chance.uniform(0, 0.005))
            supervisor.kill(chance.choice(AT_ONCE))
            found += revisions.find_faults()
            progress.update(journal.acknowledged - progress.n)
            progress.set_postfix(kills=supervisor.killed)
        supervisor.stop()
    seconds = time.monotonic() - started
    wait_for_disconnects(scratch.alias)
    found += revisions.find_faults() + find_faults(journal, scratch.alias)
    report(
        "kills",
        scratch.alias,
        kills=supervisor.killed,
        interrupted_calls=journal.interrupted,
        interrupted_saves_stored=count_kept_saves(journal, scratch.alias),
        acknowledged_saves=journal.acknowledged,
        stored_as_changes=(deltas := count_deltas(scratch.alias)),
        lost=len(found),
        deadlocks=count_deadlocks(journal, scratch.alias),
        conflicts=journal.refusals["ConcurrencyConflict"],
        other_errors=sum(call.result != DEADLOCK for call in journal.failures),
        seconds=round(seconds),
    )
    assert found == []
    assert {call.result for call in journal.failures} <= {DEADLOCK}
    assert journal.interrupted > 0
    assert deltas > 0
