"""A streaming replica: commits that wait for it, and failover without loss."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from tests.replica.documented import CheckpointRouter
from tests.scratch import migrate
from tests.servers import PostgresReplica, PostgresServer, temporary_server
from tests.strategies import a_checkpoint
from tests.torture.conftest import Report
from tests.torture.supervisor import Supervisor
from tests.torture.verification import RevisionMonitor, find_faults
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(1800),
    pytest.mark.vendor("postgresql"),
]

WRITERS = 8
SAVES_BEFORE_THE_END = 1_000
OWN_READS = 50
SYNCHRONOUS = ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def primary(django_db_blocker: Any) -> Iterator[PostgresServer]:
    with temporary_server(PostgresServer) as server, django_db_blocker.unblock():
        server.create_database()
        with server.alias("primary") as alias:
            migrate(connections[alias])
        yield server


@pytest.fixture(scope="module")
def replica(primary: PostgresServer) -> Iterator[PostgresReplica]:
    with temporary_server(PostgresReplica, primary=primary) as server:
        server.catch_up()
        yield server


@pytest.fixture
def routed(
    primary: PostgresServer, replica: PostgresReplica, settings: Any, django_db_blocker: Any
) -> Iterator[DjangoCheckpointer]:
    """A checkpointer that uses the documented router."""
    with django_db_blocker.unblock(), aliases(primary, replica):
        settings.DATABASE_ROUTERS = [CheckpointRouter()]
        yield DjangoCheckpointer()
        for session_id in DjangoCheckpointer("primary").list_sessions():
            DjangoCheckpointer("primary").delete_session(session_id)


@contextmanager
def aliases(primary: PostgresServer, replica: PostgresReplica) -> Iterator[None]:
    with primary.alias("primary"), replica.alias("replica"):
        yield


@contextmanager
def synchronous(primary: PostgresServer) -> Iterator[None]:
    """Make each commit wait for the replica."""
    primary.execute(*SYNCHRONOUS)
    try:
        yield
    finally:
        primary.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


def test_a_commit_may_wait_until_the_replica_shows_it(
    routed: DjangoCheckpointer, primary: PostgresServer
) -> None:
    options = {"options": "-c synchronous_commit=remote_apply"}
    with synchronous(primary), primary.alias("patient", OPTIONS=options) as alias:
        for step in range(1, OWN_READS + 1):
            DjangoCheckpointer(alias).save(a_checkpoint("own", step))
            assert routed.query_steps("own").checkpoints[0].step == step


def test_failover_loses_no_acknowledged_save(
    seed: int, report: Report, django_db_blocker: Any
) -> None:
    chance = random.Random(seed)
    with (
        temporary_server(PostgresServer) as primary,
        django_db_blocker.unblock(),
        primary.alias("primary") as alias,
    ):
        primary.create_database()
        migrate(connections[alias])
        connections[alias].close()
        with (
            temporary_server(PostgresReplica, primary=primary) as replica,
            replica.alias("replica") as promoted,
            Supervisor([connections.settings[alias]], WRITERS, seed) as supervisor,
        ):
            primary.execute(*SYNCHRONOUS)
            journal = supervisor.journal
            supervisor.wait_for_saves(SAVES_BEFORE_THE_END)
            supervisor.receive(chance.uniform(0, 0.05))
            primary.kill()
            supervisor.stop()
            replica.promote()
            found = RevisionMonitor(promoted).find_faults() + find_faults(journal, promoted)
            report(
                "replica",
                promoted,
                acknowledged_saves=journal.acknowledged,
                lost_in_the_failover=len(found),
                failed_calls=len(journal.failures),
            )
            DjangoCheckpointer(promoted).save(a_checkpoint("afterwards", 1))
    assert found == []
