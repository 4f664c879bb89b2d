"""Which database each call of the service uses, and what it answers while the replica lags."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import InternalError, OperationalError, connections

from tests.builders import a_history, save_history
from tests.replica.calls import documented_aliases
from tests.replica.conftest import Asked, Paused
from tests.replica.documented import DATABASES, PRIMARY, REPLICA, reads_from_primary
from tests.servers import PostgresReplica, PostgresServer, temporary_server
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import compaction, health, pruning
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import stats
from weavegraph_checkpoints.interchange import export_history, import_history, open_source

pytestmark = pytest.mark.vendor("postgresql")

Service = DjangoCheckpointer
READS: dict[str, Callable[[Service], Any]] = {
    "load_latest": lambda service: service.load_latest("run"),
    "load_latest_with_version": lambda service: service.load_latest_with_version("run"),
    "load_version": lambda service: service.load_version("run"),
    "load": lambda service: service.load("run", 1),
    "get_labels": lambda service: service.get_labels("run"),
    "list_sessions": lambda service: service.list_sessions(),
    "query_steps": lambda service: service.query_steps("run"),
    "find_sessions": lambda service: service.find_sessions(labels={"env": "test"}),
}
WRITES: dict[str, Callable[[Service], Any]] = {
    "save": lambda service: service.save(a_checkpoint("run", 6)),
    "save_with_concurrency_check": lambda service: service.save_with_concurrency_check(
        a_checkpoint("run", 7), 6
    ),
    "set_labels": lambda service: service.set_labels("run", {"env": "live"}),
    "fork_session": lambda service: service.fork_session("run", "fork"),
    "delete_session": lambda service: service.delete_session("run"),
}
EVERYTHING = RetentionPolicy(delete_inactive=timedelta(0))


@pytest.fixture
def run(routed: Service, replica: PostgresReplica) -> Service:
    """The routed checkpointer, with the session ``run`` of five steps on both servers."""
    save_history(routed, "run", range(1, 6))
    routed.set_labels("run", {"env": "test"})
    replica.catch_up()
    return routed


def test_every_method_is_documented() -> None:
    methods = {
        name
        for name in dir(DjangoCheckpointer)
        if not name.startswith("_") and callable(getattr(DjangoCheckpointer, name))
    }
    # An asynchronous twin calls its synchronous method.
    methods -= {f"a{name}" for name in methods}
    assert methods == set(documented_aliases("The service")) == set(READS | WRITES)


@pytest.mark.parametrize("name", READS | WRITES)
def test_each_call_uses_the_documented_database(run: Service, asked: Asked, name: str) -> None:
    if name == "save_with_concurrency_check":
        run.save(a_checkpoint("run", 6))
    call = (READS | WRITES)[name]
    assert asked(lambda: call(run)) == documented_aliases("The service")[name]


def test_a_block_can_read_from_the_primary(run: Service, asked: Asked) -> None:
    def query() -> None:
        run.query_steps("run")

    with reads_from_primary():
        assert asked(query) == {PRIMARY}
        with reads_from_primary(False):
            assert asked(query) == {PRIMARY}
    assert asked(query) == {REPLICA}


def test_a_lagging_replica_is_never_resumed_from(run: Service, paused: Paused) -> None:
    with paused():
        (sixth,) = a_history("run", [6])
        run.save_with_concurrency_check(sixth, 5)
        run.save(a_checkpoint("other", 1))
        run.set_labels("run", {"env": "live"})
        latest = run.load_latest("run")
        assert latest is not None
        assert (latest.step, latest.state) == (6, sixth.state)
        assert run.load("run", 6) == sixth
        assert run.get_labels("run") == {"env": "live"}
        page = run.query_steps("run")
        assert [kept.step for kept in page.checkpoints] == [5, 4, 3, 2, 1]
        assert page.page_info.total_count == 5
        assert run.query_steps("other").page_info.total_count == 0
        assert run.list_sessions() == ["run"]
        assert [each.session_id for each in run.find_sessions(labels={"env": "test"}).sessions] == [
            "run"
        ]
        assert not run.find_sessions(labels={"env": "live"}).sessions
        with reads_from_primary():
            assert run.query_steps("run").checkpoints[0] == sixth
            assert run.list_sessions() == ["other", "run"]
        assert run.delete_session("run")
        assert run.load_latest("run") is None
        assert run.query_steps("run").page_info.total_count == 5
    assert run.list_sessions() == ["other"]
    assert run.query_steps("run").page_info.total_count == 0


def test_a_cursor_continues_in_what_the_replica_has(run: Service, paused: Paused) -> None:
    for number in range(6):
        run.save(a_checkpoint(f"s{number}", 1))
    with paused():
        first = run.find_sessions(limit=3)
        run.save(a_checkpoint("s0", 2))
        second = run.find_sessions(limit=3, after=first.next_after)
    third = run.find_sessions(limit=3, after=second.next_after)
    found = [each.session_id for page in (first, second, third) for each in page.sessions]
    assert found == ["s5", "s4", "s3", "s2", "s1", "s0", "run"]


def test_a_page_of_the_replica_has_every_keyframe(
    run: Service, replica: PostgresReplica, changes: None, paused: Paused
) -> None:
    """Replay stops after every few commits; each page is read without what was remembered."""
    history = a_history("changes", range(1, 41))
    for start in range(0, 40, 8):
        for checkpoint in history[start : start + 8]:
            run.save(checkpoint)
        with paused():
            for checkpoint in history[start + 8 : start + 10]:
                run.save(checkpoint)
            kept = run.query_steps("changes").checkpoints
            assert list(reversed(kept)) == history[: start + 8]


@pytest.mark.parametrize("name", WRITES)
def test_a_replica_refuses_writes(run: Service, name: str) -> None:
    with pytest.raises(InternalError, match="read-only transaction") as caught:
        WRITES[name](DjangoCheckpointer(REPLICA))
    assert caught.value.__cause__.sqlstate == "25006"  # type: ignore[union-attr]
    assert run.list_sessions() == DjangoCheckpointer(PRIMARY).list_sessions() == ["run"]


@pytest.mark.parametrize("name", READS)
def test_a_replica_answers_every_read(run: Service, name: str) -> None:
    on_replica, on_primary = DjangoCheckpointer(REPLICA), DjangoCheckpointer(PRIMARY)
    assert READS[name](on_replica) == READS[name](on_primary)


def test_a_replica_refuses_whatever_else_writes(run: Service) -> None:
    for call in (
        lambda: pruning.prune(EVERYTHING, using=REPLICA),
        lambda: compaction.compact(using=REPLICA, whole=True),
        lambda: call_command("prune_checkpoints", "--keep-last=1", database=REPLICA),
    ):
        with pytest.raises(InternalError, match="read-only transaction"):
            call()
    assert run.query_steps("run").page_info.total_count == 5


def test_functions_use_the_documented_databases(run: Service, asked: Asked, tmp_path: Path) -> None:
    target = tmp_path / "history.sqlite3"
    for read in (
        lambda: stats.collect(),
        lambda: export_history(target),
    ):
        assert asked(read) == {REPLICA}
    for write in (
        lambda: list(health.verify()),
        lambda: compaction.compact(),
        lambda: pruning.prune(RetentionPolicy(keep_last=3)),
    ):
        assert asked(write) == {PRIMARY}
    with open_source(str(target)) as source:
        assert asked(lambda: import_history(source, on_conflict="skip")) == {PRIMARY}


def test_checks_and_dry_runs_work_on_the_replica(run: Service, asked: Asked) -> None:
    out = StringIO()
    deep = ("check_checkpoints", "--deep", "--database", REPLICA)
    assert asked(lambda: call_command(*deep, stdout=out)) == {REPLICA}
    dry = ("prune_checkpoints", "--keep-last=2", "--dry-run", "--database", REPLICA)
    assert asked(lambda: call_command(*dry, stdout=out)) == {REPLICA}
    assert "3 steps" in out.getvalue()
    assert list(health.verify(using=REPLICA)) == []


def addresses(*servers: PostgresServer) -> dict[str, str]:
    return {
        "HOST": ",".join("127.0.0.1" for _ in servers),
        "PORT": ",".join(str(server.port) for server in servers),
    }


def test_the_documented_addresses_find_a_server_that_can_do_it(
    run: Service, primary: PostgresServer, replica: PostgresReplica
) -> None:
    documented = DATABASES["default"]["OPTIONS"]
    assert DATABASES["default"]["HOST"].split(",") == ["db1.internal", "db2.internal"]
    assert DATABASES["replica"]["HOST"].split(",") == ["db2.internal", "db1.internal"]
    with replica.alias("writer", **addresses(replica, primary), OPTIONS=documented) as alias:
        DjangoCheckpointer(alias).save(a_checkpoint("written", 1))
    assert run.load("written", 1) is not None
    with temporary_server(PostgresReplica, "--fsync=off", primary=primary) as other:
        other.catch_up()
        with other.alias("lists", **addresses(other, primary)) as alias:
            assert connections[alias].pg_version
            assert DjangoCheckpointer(alias).list_sessions() == ["written", "run"]
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT pg_is_in_recovery()")
                assert cursor.fetchone() == (True,)
            connections[alias].close()
            other.kill()
            assert DjangoCheckpointer(alias).list_sessions() == ["written", "run"]
        with other.alias("alone") as alias, pytest.raises(OperationalError):
            DjangoCheckpointer(alias).list_sessions()


def test_the_age_of_what_a_replica_has(
    run: Service, replica: PostgresReplica, paused: Paused
) -> None:
    age = "SELECT now() - pg_last_xact_replay_timestamp()"
    ((before,),) = replica.execute(age)
    with paused():
        run.save(a_checkpoint("run", 6))
        ((behind,),) = replica.execute(age)
    assert timedelta(0) <= before < behind
