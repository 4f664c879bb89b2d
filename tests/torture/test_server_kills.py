"""The server is killed under load: acknowledged saves are stored after its restart."""

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
from tests.servers import Server, temporary_server
from tests.torture.conftest import Report, Sizes
from tests.torture.journal import DEADLOCK, Journal
from tests.torture.supervisor import Supervisor
from tests.torture.verification import (
    RevisionMonitor,
    count_deadlocks,
    find_faults,
    wait_for_disconnects,
)

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(3600),
    pytest.mark.vendor("postgresql", "mysql"),
]

WRITERS = 8
SAVES_BETWEEN = 400
SECONDS_DOWN = 0.5


def test_acknowledged_saves_survive_killed_servers(
    server_kind: type[Server],
    sizes: Sizes,
    seed: int,
    progress_bar: Callable[..., Any],
    report: Report,
    django_db_blocker: Any,
) -> None:
    chance = random.Random(seed)
    progress = progress_bar(sizes.server_kills, "server kills")
    found: list[str] = []
    kills: list[float] = []
    ups: list[float] = []
    waits: list[float] = []
    with (
        temporary_server(server_kind) as server,
        server.alias("temporary_server") as alias,
        django_db_blocker.unblock(),
    ):
        server.create_database()
        migrate(connections[alias])
        revisions = RevisionMonitor(alias)
        connections[alias].close()
        with Supervisor([connections.settings[alias]], WRITERS, seed) as supervisor:
            journal = supervisor.journal
            for _ in range(sizes.server_kills):
                supervisor.wait_for_saves(journal.acknowledged + chance.randrange(SAVES_BETWEEN))
                supervisor.receive(chance.uniform(0, 0.05))
                kills.append(time.monotonic())
                server.kill(whole=chance.random() < 0.5)
                supervisor.receive(chance.uniform(0, SECONDS_DOWN))
                server.start()
                ups.append(time.monotonic())
                supervisor.wait_for_saves(journal.acknowledged + 1)
                waits.append(time.monotonic() - kills[-1])
                found += revisions.find_faults()
                progress.update()
            supervisor.stop()
        wait_for_disconnects(alias)
        found += revisions.find_faults() + find_faults(journal, alias)
        report(
            "server kills",
            alias,
            kills=sizes.server_kills,
            acknowledged_saves=journal.acknowledged,
            lost=len(found),
            deadlocks=count_deadlocks(journal, alias),
            failed_calls=len(journal.failures),
            errors=", ".join(sorted({call.result for call in journal.failures})),
            failed_again_after_restart=count_repeated_failures(journal, kills, ups),
            max_seconds_until_next_save=max(waits),
        )
    assert found == []
    assert {call.result for call in journal.failures} - {DEADLOCK} == {"OperationalError"}
    assert count_repeated_failures(journal, kills, ups) == 0


def count_repeated_failures(journal: Journal, kills: list[float], ups: list[float]) -> int:
    """Return the number of calls that failed on a running server and a new connection.

    The first call of each writer after a restart may fail on its dead connection; it then
    reconnects.
    """
    failed: Counter[tuple[int, float]] = Counter()
    for up, killed in zip(ups, [*kills[1:], math.inf], strict=True):
        failed += Counter(
            (call.slot, up)
            for call in journal.failures
            if up < call.begun and call.ended < killed and call.result != DEADLOCK
        )
    return sum(count - 1 for count in failed.values())
