"""Writers are killed at any moment: nothing that was acknowledged is lost, and nothing is torn."""

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
from tests.torture.verifying import Revisions, faults, kept, victims, wait_for_quiet

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

WRITERS = 8
AT_ONCE = (1, 1, 1, 1, 2, 3, WRITERS)


def test_what_was_acknowledged_outlives_the_processes(
    scratch: BaseDatabaseWrapper,
    sizes: Sizes,
    seed: int,
    bar: Callable[..., Any],
    report: Report,
) -> None:
    chance = random.Random(seed)
    revisions = Revisions(scratch.alias)
    found: list[str] = []
    progress = bar(sizes.saves, "saves")
    started = time.monotonic()
    scratch.close()
    with Supervisor(connections.settings[scratch.alias], WRITERS, seed) as supervisor:
        journal = supervisor.journal
        while supervisor.killed < sizes.kills or journal.acknowledged < sizes.saves:
            left = max(1, (sizes.kills - supervisor.killed))
            pause = (sizes.saves - journal.acknowledged) / left
            supervisor.listen_to(journal.acknowledged + int(chance.uniform(1, max(2, 4 * pause))))
            supervisor.listen(chance.uniform(0, 0.005))
            supervisor.kill(chance.choice(AT_ONCE))
            found += revisions.faults()
            progress.update(journal.acknowledged - progress.n)
            progress.set_postfix(kills=supervisor.killed)
        supervisor.stop()
    seconds = time.monotonic() - started
    wait_for_quiet(scratch.alias)
    found += revisions.faults() + faults(journal, scratch.alias)
    report(
        "kills",
        scratch.alias,
        kills=supervisor.killed,
        calls_cut_short=journal.interrupted,
        of_them_kept=kept(journal, scratch.alias),
        acknowledged_saves=journal.acknowledged,
        lost=len(found),
        deadlocks=victims(journal, scratch.alias),
        conflicts=journal.refusals["ConcurrencyConflict"],
        other_errors=sum(call.result != DEADLOCK for call in journal.failures),
        seconds=round(seconds),
    )
    assert found == []
    assert {call.result for call in journal.failures} <= {DEADLOCK}
    assert journal.interrupted > 0
