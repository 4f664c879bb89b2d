"""The server itself is killed under load: what was acknowledged is there when it is back."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from tests.scratch import migrate
from tests.servers import Server, private
from tests.torture.conftest import Report, Sizes
from tests.torture.journal import DEADLOCK, Journal
from tests.torture.supervisor import Supervisor
from tests.torture.verifying import Revisions, faults, victims, wait_for_quiet

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(3600),
    pytest.mark.vendor("postgresql", "mysql"),
]

WRITERS = 8
SAVES_BETWEEN = 400
SECONDS_DOWN = 0.5


def test_what_was_acknowledged_outlives_the_server(
    server_kind: type[Server],
    sizes: Sizes,
    seed: int,
    bar: Callable[..., Any],
    report: Report,
    django_db_blocker: Any,
) -> None:
    chance = random.Random(seed)
    progress = bar(sizes.server_kills, "server kills")
    found: list[str] = []
    kills: list[float] = []
    ups: list[float] = []
    waits: list[float] = []
    with (
        private(server_kind) as server,
        server.alias("private") as alias,
        django_db_blocker.unblock(),
    ):
        server.create_database()
        migrate(connections[alias])
        revisions = Revisions(alias)
        connections[alias].close()
        with Supervisor(connections.settings[alias], WRITERS, seed) as supervisor:
            journal = supervisor.journal
            for _ in range(sizes.server_kills):
                supervisor.listen_to(journal.acknowledged + chance.randrange(SAVES_BETWEEN))
                supervisor.listen(chance.uniform(0, 0.05))
                kills.append(time.monotonic())
                server.kill(whole=chance.random() < 0.5)
                supervisor.listen(chance.uniform(0, SECONDS_DOWN))
                server.start()
                ups.append(time.monotonic())
                supervisor.listen_to(journal.acknowledged + 1)
                waits.append(time.monotonic() - kills[-1])
                found += revisions.faults()
                progress.update()
            supervisor.stop()
        wait_for_quiet(alias)
        found += revisions.faults() + faults(journal, alias)
        report(
            "server kills",
            alias,
            kills=sizes.server_kills,
            acknowledged_saves=journal.acknowledged,
            lost=len(found),
            deadlocks=victims(journal, alias),
            calls_that_failed=len(journal.failures),
            errors=", ".join(sorted({call.result for call in journal.failures})),
            failed_again_after_the_restart=failed_twice(journal, kills, ups),
            most_seconds_until_the_next_save=max(waits),
        )
    assert found == []
    assert {call.result for call in journal.failures} - {DEADLOCK} == {"OperationalError"}
    assert failed_twice(journal, kills, ups) == 0


def failed_twice(journal: Journal, kills: list[float], ups: list[float]) -> int:
    """Count the calls that failed although the server was up and the connection new.

    A writer notices by one call that its connection is dead; its next call makes another.
    """
    failed: Counter[tuple[int, float]] = Counter()
    for up, killed in zip(ups, [*kills[1:], math.inf], strict=True):
        failed += Counter(
            (call.slot, up)
            for call in journal.failures
            if up < call.begun and call.ended < killed and call.result != DEADLOCK
        )
    return sum(count - 1 for count in failed.values())
