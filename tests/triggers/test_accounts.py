"""Database accounts that may only read and write rows, and that are dropped or restored."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections

from tests.builders import save_history, wrong_snapshots
from tests.scratch import migrate
from tests.servers import MariaDBServer, PostgresServer, Server, temporary_server
from tests.triggers.helpers import SESSION, STEP
from weavegraph_checkpoints import StepQuery, health, pruning, triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.checks import check_databases
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import stats

ALIAS = "account"
SERVERS = {"mysql": MariaDBServer, "postgresql": PostgresServer}
PREFIX = "weavegraph_checkpoints."

pytestmark = pytest.mark.vendor("mysql", "postgresql")


@pytest.fixture(scope="module")
def running(django_test_environment: None) -> Iterator[Server]:
    """A server that need not outlive a crash."""
    vendor = connections["default"].vendor
    fast = {"mysql": "--innodb-flush-log-at-trx-commit=0", "postgresql": "--fsync=off"}
    with temporary_server(SERVERS[vendor], fast[vendor]) as server:
        yield server


@pytest.fixture
def server(running: Server, django_db_blocker: Any) -> Iterator[Server]:
    """A server with a new database, migrated by ``migrator``, who may do all in it."""
    running.execute("DROP DATABASE IF EXISTS weavegraph")
    running.create_database()
    if isinstance(running, MariaDBServer):
        running.execute(
            "CREATE OR REPLACE USER migrator@'127.0.0.1'",
            "GRANT ALL ON weavegraph.* TO migrator@'127.0.0.1'",
            "CREATE OR REPLACE USER app@'127.0.0.1'",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON weavegraph.* TO app@'127.0.0.1'",
        )
    else:
        running.execute(
            "DROP ROLE IF EXISTS migrator",
            "DROP ROLE IF EXISTS app",
            "CREATE ROLE migrator LOGIN",
            "CREATE ROLE app LOGIN",
            "ALTER DATABASE weavegraph OWNER TO migrator",
        )
    with django_db_blocker.unblock():
        with connected(running, "migrator") as alias:
            migrate(connections[alias])
        if isinstance(running, PostgresServer):
            running.execute(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app",
                "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app",
                name="weavegraph",
            )
        yield running


@contextmanager
def connected(server: Server, user: str) -> Iterator[str]:
    with server.alias(ALIAS, USER=user) as alias:
        yield alias


def run_check(*options: str) -> tuple[int, str]:
    """Run ``check_checkpoints``; return its exit status and its output."""
    out = io.StringIO()
    try:
        call_command("check_checkpoints", *options, database=ALIAS, stdout=out, stderr=out)
    except SystemExit as error:
        return int(error.code or 0), out.getvalue()
    return 0, out.getvalue()


def warnings() -> dict[str, Any]:
    found = check_databases(databases=[ALIAS])
    messages = {message.id.removeprefix(PREFIX): message for message in found}
    assert len(messages) == len(found)
    return messages


def test_an_account_that_may_only_read_and_write_rows(server: Server) -> None:
    with connected(server, "app") as alias:
        checkpointer = DjangoCheckpointer(alias)
        save_history(checkpointer, "a", [1, 2, 3])
        checkpointer.fork_session("a", "b")
        assert checkpointer.query_steps("a", StepQuery(ran_node="x")).page_info.total_count == 0
        pruned = pruning.prune(RetentionPolicy(keep_last=1), using=alias)
        assert (pruned.steps, pruned.finished) == (4, True)
        assert checkpointer.delete_session("b")
        assert wrong_snapshots(alias) == []
        assert [f for f in health.verify(using=alias, deep=True) if not f.is_note] == []
        assert stats.collect(using=alias).steps == 1
        status, out = run_check("--deep", "--repair")
        assert status == 0
        assert "no problems" in out
        if isinstance(server, PostgresServer):
            assert warnings() == {}


@pytest.mark.vendor("mysql")
class TestUnverifiable:
    """Without the privilege TRIGGER, MariaDB shows that a trigger exists, but not its source."""

    def test_the_check_says_so_once(self, server: Server) -> None:
        with connected(server, "app"):
            (check_id,) = found = warnings()
        assert check_id == "W009"
        assert "TRIGGER" in found[check_id].msg
        assert all(
            f"{STEP}_snapshot_{event}" in found[check_id].msg
            for event in ("insert", "update", "delete")
        )

    def test_the_command_prints_a_note(self, server: Server) -> None:
        with connected(server, "app"):
            status, out = run_check("--repair")
            assert status == 0
            note, summary = out.splitlines()
            assert note.startswith("trigger-unverifiable: ")
            assert note.endswith("needs the privilege TRIGGER")
            assert summary == "checked 0 sessions and 0 steps: no problems, triggers not verified"
            status, out = run_check("--format", "json")
            document = json.loads(out)
        assert (status, document["problems"], document["found"]) == (0, [], 0)
        assert [note["problem"] for note in document["notes"]] == ["trigger-unverifiable"]

    def test_a_trigger_that_is_missing_is_still_found(self, server: Server) -> None:
        server.execute(f"DROP TRIGGER {STEP}_snapshot_update", name="weavegraph")
        with connected(server, "app"):
            assert set(warnings()) == {"W001", "W009"}
            status, out = run_check("--repair")
        assert status == 1
        assert f"trigger-missing: {STEP}_snapshot_update, cannot be installed: " in out

    def test_nothing_is_left_of_the_attempt_to_fire_it(self, server: Server) -> None:
        with connected(server, "app"):
            warnings()
            run_check("--repair")
        for table in (SESSION, STEP):
            assert server.execute(f"SELECT COUNT(*) FROM {table}", name="weavegraph") == [(0,)]


@pytest.mark.vendor("mysql")
class TestDefiner:
    """MariaDB runs a trigger as the account that created it."""

    ACCOUNTS = ("root", "app", "other")

    @pytest.fixture(autouse=True)
    def other(self, server: Server) -> None:
        server.execute(
            "CREATE OR REPLACE USER other@'127.0.0.1'",
            "GRANT ALL ON weavegraph.* TO other@'127.0.0.1'",
            "CREATE OR REPLACE USER root@'127.0.0.1'",
            "GRANT ALL ON *.* TO root@'127.0.0.1'",
        )

    @pytest.mark.parametrize("user", ACCOUNTS)
    def test_an_account_that_exists(self, server: Server, user: str) -> None:
        with connected(server, user):
            assert set(warnings()) == ({"W009"} if user == "app" else set())

    @pytest.mark.parametrize("user", ACCOUNTS)
    def test_an_account_that_was_dropped(self, server: Server, user: str) -> None:
        server.execute("DROP USER migrator@'127.0.0.1'")
        with connected(server, user) as alias:
            with pytest.raises(DatabaseError, match="1449"):
                save_history(DjangoCheckpointer(alias), "a", [1])
            found = triggers.problems(connections[alias])
            assert {problem.kind for problem in found} == {"orphaned"}
            messages = check_databases(databases=[alias])
            assert {message.id for message in messages} == {f"{PREFIX}W008"}
            assert all("migrator" in message.msg for message in messages)
            assert all("--repair" in str(message.hint) for message in messages)
            status, out = run_check()
            assert status == 1
            assert f"trigger-orphaned: {STEP}_snapshot_insert runs as " in out

    @pytest.mark.parametrize("user", ["root", "other"])
    def test_repair_makes_the_user_the_definer(self, server: Server, user: str) -> None:
        server.execute("DROP USER migrator@'127.0.0.1'")
        with connected(server, user) as alias:
            status, out = run_check("--repair")
            assert (status, out.count("(repaired)")) == (0, 3)
            assert triggers.problems(connections[alias]) == []
        with connected(server, "app") as alias:
            save_history(DjangoCheckpointer(alias), "a", [1, 2])
            assert wrong_snapshots(alias) == []

    def test_repair_by_an_account_that_may_not(self, server: Server) -> None:
        server.execute("DROP USER migrator@'127.0.0.1'")
        with connected(server, "app"):
            status, out = run_check("--repair")
        assert status == 1
        assert out.count("cannot be installed: ") == 3

    @pytest.mark.parametrize("user", ACCOUNTS)
    def test_an_account_that_lost_its_privileges(self, server: Server, user: str) -> None:
        server.execute("REVOKE ALL ON weavegraph.* FROM migrator@'127.0.0.1'")
        with connected(server, user) as alias:
            with pytest.raises(DatabaseError, match="1142"):
                save_history(DjangoCheckpointer(alias), "a", [1])
            (found, *_) = check_databases(databases=[alias])
        assert found.id == f"{PREFIX}W008"
        assert "without the necessary privileges" in found.msg

    def test_an_account_that_may_only_read(self, server: Server) -> None:
        """It cannot fire the trigger, so nothing is said about its account."""
        server.execute(
            "CREATE OR REPLACE USER reader@'127.0.0.1'",
            "GRANT SELECT ON weavegraph.* TO reader@'127.0.0.1'",
        )
        with connected(server, "reader"):
            assert set(warnings()) == {"W009"}
            assert run_check()[0] == 0
