"""A streaming replica: which calls read from it, replication lag, and failover without loss."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import InternalError, connections

from tests.builders import a_history, save_history
from tests.docs.code_blocks import run_block
from tests.docs.markdown import page
from tests.scratch import migrate
from tests.servers import PostgresReplica, PostgresServer, temporary_server
from tests.service.statements import captured
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
        settings.DATABASE_ROUTERS = [documented_router()]
        yield DjangoCheckpointer()
        for session_id in DjangoCheckpointer("primary").list_sessions():
            DjangoCheckpointer("primary").delete_session(session_id)


@contextmanager
def aliases(primary: PostgresServer, replica: PostgresReplica) -> Iterator[None]:
    with primary.alias("primary"), replica.alias("replica"):
        yield


def documented_router() -> Any:
    (block,) = [each for each in page("reliability").blocks if "class Checkp" in each.text]
    namespace: dict[str, Any] = {}
    run_block(block, page("reliability"), namespace)
    namespace["PRIMARY"] = "primary"
    return namespace["CheckpointRouter"]()


def asked(call: Any) -> set[str]:
    """Return the aliases on which a call executed statements."""
    with captured("primary") as on_primary, captured("replica") as on_replica:
        call()
    found = {"primary": on_primary, "replica": on_replica}
    return {alias for alias, statements in found.items() if len(statements)}


def test_the_router_sends_histories_to_the_replica(
    routed: DjangoCheckpointer, replica: PostgresReplica
) -> None:
    history = save_history(routed, "session", range(1, 6))
    replica.catch_up()
    assert asked(lambda: routed.query_steps("session")) == {"replica"}
    assert asked(routed.list_sessions) == {"replica"}
    for call in (
        lambda: routed.load_latest("session"),
        lambda: routed.load("session", 1),
        lambda: routed.save(a_checkpoint("session", 6)),
        lambda: routed.save_with_concurrency_check(a_checkpoint("session", 7), 6),
        lambda: routed.fork_session("session", "fork"),
        lambda: routed.delete_session("fork"),
    ):
        assert asked(call) == {"primary"}
    assert list(reversed(history)) == list(routed.query_steps("session").checkpoints)[-5:]


def test_a_lagging_replica_is_never_resumed_from(
    routed: DjangoCheckpointer, replica: PostgresReplica
) -> None:
    save_history(routed, "session", [1])
    replica.catch_up()
    replica.execute("SELECT pg_wal_replay_pause()")
    try:
        (second,) = a_history("session", [2])
        routed.save_with_concurrency_check(second, 1)
        routed.save(a_checkpoint("other", 1))
        assert [kept.step for kept in routed.query_steps("session").checkpoints] == [1]
        assert routed.list_sessions() == ["session"]
        latest = routed.load_latest("session")
        assert latest is not None
        assert (latest.step, latest.state) == (2, second.state)
        assert routed.load("session", 2) == second
        own = DjangoCheckpointer("primary")
        assert own.query_steps("session").checkpoints[0] == second
        assert sorted(own.list_sessions()) == ["other", "session"]
        behind = DjangoCheckpointer("replica").load_latest("session")
        assert behind is not None
        assert behind.step == 1
    finally:
        replica.execute("SELECT pg_wal_replay_resume()")
    replica.catch_up()
    assert routed.query_steps("session").checkpoints[0] == second
    assert sorted(routed.list_sessions()) == ["other", "session"]


def test_a_replica_refuses_writes(routed: DjangoCheckpointer, replica: PostgresReplica) -> None:
    save_history(routed, "session", [1])
    replica.catch_up()
    behind = DjangoCheckpointer("replica")
    for call in (
        lambda: behind.save(a_checkpoint("session", 2)),
        lambda: behind.save(a_checkpoint("new", 1)),
        lambda: behind.fork_session("session", "fork"),
        lambda: behind.delete_session("session"),
    ):
        with pytest.raises(InternalError, match="read-only transaction"):
            call()
    assert behind.load("session", 1) is not None


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
