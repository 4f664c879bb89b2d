"""Three nodes of MariaDB Galera: writers on all of them while nodes die and are cut off."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from tests.torture.cluster import Cluster, Faults
from tests.torture.conftest import Report, Sizes
from tests.torture.journal import DEADLOCK, UNREAD_TRIGGER, Journal
from tests.torture.supervisor import Supervisor
from tests.torture.verification import RevisionMonitor, find_faults
from weavegraph_checkpoints.models import Step

MAX_UNREAD_TRIGGERS = 5
"""At least two were seen in 24 faults; a trigger that stays unreadable fails every save."""

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(7200),
    pytest.mark.vendor("mysql"),
]


def test_acknowledged_saves_survive_killed_and_isolated_nodes(
    cluster: Cluster,
    sizes: Sizes,
    seed: int,
    progress_bar: Callable[..., Any],
    report: Report,
) -> None:
    progress = progress_bar(sizes.node_faults, "faults")
    aliases = cluster.aliases + cluster.waiting
    using = cluster.waiting[0]
    revisions = RevisionMonitor(using)
    before = cluster.count_transfers()
    found: list[str] = []
    with Supervisor(
        [connections.settings[alias] for alias in aliases], len(aliases), seed
    ) as supervisor:
        journal = supervisor.journal
        faults = Faults(cluster, supervisor, random.Random(seed))
        for _ in faults.happen(sizes.node_faults):
            found += revisions.find_faults()
            progress.update()
        supervisor.stop()
    found += cluster.find_differences()
    found += revisions.find_faults()
    found += find_faults(journal, using, stale_slots=range(len(cluster.aliases)))
    call_command("check_checkpoints", "--deep", database=using, verbosity=0)
    transfers = cluster.count_transfers() - before
    results = Counter(call.result for call in journal.failures)
    report(
        "galera faults",
        using,
        **{"losses_of_quorum": 0, **faults.counts},
        incremental_transfers=transfers["IST"],
        whole_transfers=transfers["SST"],
        acknowledged_saves=journal.acknowledged,
        lost=len(found),
        acknowledged_when_cut_off=len(faults.acknowledged_while_isolated),
        conflicts_retried=sum("(1213, " in message for message in journal.warnings),
        retries_of_1047=sum("(1047, " in message for message in journal.warnings),
        conflicts_in_atomic=results[DEADLOCK],
        unread_triggers=results[UNREAD_TRIGGER],
        failed_calls=results["OperationalError"],
        max_seconds_until_next_save=max(faults.waits),
    )
    assert found == [], faults.history
    assert transfers["IST"] > 0
    assert transfers["SST"] > 0
    assert faults.acknowledged_while_isolated == []
    assert results.keys() <= {DEADLOCK, "OperationalError", UNREAD_TRIGGER}
    assert results["OperationalError"] > 0
    assert results[UNREAD_TRIGGER] <= MAX_UNREAD_TRIGGERS
    assert find_stored_deadlocks(journal, using) == []


def find_stored_deadlocks(journal: Journal, using: str) -> list[str | None]:
    """Return the saves that are stored although they failed with a deadlock."""
    nodes = Step.objects.using(using).values_list("ran_nodes", flat=True)
    stored = {names[0] for names in nodes.iterator()}
    failed = [call.token for call in journal.failures if call.result == DEADLOCK]
    return [token for token in failed if f"Custom:{token}" in stored]
