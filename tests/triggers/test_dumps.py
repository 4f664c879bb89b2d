"""Dump and restore by the databases' own tools: the rows and the trigger are there after it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import execute, migrate, query, scratch_connection, scratch_database
from tests.triggers.helpers import (
    LONG_AGO,
    STEP,
    assert_snapshots_right,
    content,
    create_session,
    create_step,
    derived,
    revision,
    snapshot,
)
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.models import Session, Step

EXACT = {"tag": 9, "exact": [1e23, -0.0, "a\0b\\u0000", 10**4298, "日本語\U0001f600"]}


@pytest.fixture(scope="module")
def restored_server(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), scratch_database("restored"):
        yield


@pytest.fixture
def restored(restored_server: None, django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    """An empty database to restore into."""
    with django_db_blocker.unblock(), scratch_connection("restored") as connection:
        yield connection


@pytest.fixture
def dumped(scratch: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A database whose sessions are finished, resumable, empty and fallen back."""
    for name in ("a", "a ", "A", "empty"):
        create_session(name, using="scratch")
    for step in (2, 0, 7):
        create_step("a", step, tag=step, using="scratch")
    finished = content(3, ["End"]) | {"state": EXACT}
    Step.objects.using("scratch").create(session_id="a ", step=2**63 - 1, **finished)
    create_step("A", 1, tag=1, using="scratch")
    create_step("A", 2, tag=2, using="scratch")
    Step.objects.using("scratch").filter(session_id="A", step=2).delete()
    Session.objects.using("scratch").update(updated_at=LONG_AGO)
    return scratch


def rows(using: str) -> tuple[str, str]:
    """Return all that both tables hold, but when sessions were touched, and how often."""
    sessions, steps = Session.objects.using(using), Step.objects.using(using)
    touched = {"updated_at", "revision"}
    kept = [field.name for field in Session._meta.concrete_fields if field.name not in touched]
    return (
        repr(list(sessions.order_by("pk").values(*kept))),
        repr(list(steps.order_by("pk").values())),
    )


def assert_restored(*, untouched: bool) -> None:
    """Fail unless everything came back and the trigger works on."""
    assert rows("restored") == rows("scratch")
    assert_snapshots_right("restored")
    stored = Session.objects.using("restored").values_list("updated_at", flat=True)
    if untouched:
        assert set(stored) == {LONG_AGO}
        for name in ("a", "a ", "A", "empty"):
            assert revision(name, "restored") == revision(name, "scratch")
    assert triggers.problems(connections["restored"]) == []
    create_step("a", 9, tag=4, using="restored")
    assert snapshot("a", "restored") == derived({9: content(4)})
    Step.objects.using("restored").filter(session_id="a", step=9).delete()
    assert snapshot("a", "restored") == derived({7: content(7)})
    assert_snapshots_right("restored")


def run(
    program: str, *arguments: str, connection: BaseDatabaseWrapper, stdin: bytes = b""
) -> bytes:
    """Run a tool of the database on it; return what it wrote."""
    settings = connection.settings_dict
    secrets = {"PGPASSWORD": settings["PASSWORD"], "MYSQL_PWD": settings["PASSWORD"]}
    done = subprocess.run(
        [program, *arguments, *where(connection)],
        input=stdin,
        env=os.environ | {name: value for name, value in secrets.items() if value},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def where(connection: BaseDatabaseWrapper) -> list[str]:
    settings = connection.settings_dict
    flags = {"HOST": "--host", "PORT": "--port"}
    flags["USER"] = "--user" if connection.vendor == "mysql" else "--username"
    options = [f"{flag}={settings[key]}" for key, flag in flags.items() if settings[key]]
    name = str(settings["NAME"])
    if connection.vendor == "sqlite":
        return [name]
    return [*options, name if connection.vendor == "mysql" else f"--dbname={name}"]


@pytest.mark.vendor("postgresql")
class TestPostgreSQL:
    def dump(self, connection: BaseDatabaseWrapper, *options: str) -> bytes:
        return run("pg_dump", "--no-owner", *options, connection=connection)

    def load(self, restored: BaseDatabaseWrapper, sql: bytes) -> None:
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        run("psql", *options, connection=restored, stdin=sql)

    def test_whole_as_sql(self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper) -> None:
        execute(restored, "DROP SCHEMA public")
        self.load(restored, b"CREATE SCHEMA public;" + self.dump(dumped))
        assert_restored(untouched=True)

    @pytest.mark.parametrize("jobs", [[], ["--single-transaction"]])
    def test_whole_as_an_archive(
        self,
        dumped: BaseDatabaseWrapper,
        restored: BaseDatabaseWrapper,
        tmp_path: Path,
        jobs: list[str],
    ) -> None:
        (tmp_path / "archive").write_bytes(self.dump(dumped, "--format=custom"))
        options = ["--no-owner", "--exit-on-error", *jobs]
        run("pg_restore", *options, str(tmp_path / "archive"), connection=restored)
        assert_restored(untouched=True)

    def test_data_only_into_a_migrated_database(
        self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper
    ) -> None:
        migrate(restored)
        self.load(restored, self.dump(dumped, "--data-only", "--table=weavegraph*"))
        assert_restored(untouched=False)

    def test_data_only_with_triggers_disabled(
        self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper
    ) -> None:
        migrate(restored)
        options = ["--data-only", "--disable-triggers", "--table=weavegraph*"]
        self.load(restored, self.dump(dumped, *options))
        assert_restored(untouched=True)

    def test_steps_alone_into_sessions_that_are_there(
        self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper
    ) -> None:
        migrate(restored)
        for name in ("a", "a ", "A", "empty"):
            create_session(name, using="restored")
        self.load(restored, self.dump(dumped, "--data-only", f"--table={STEP}*"))
        assert_snapshots_right("restored")
        assert snapshot("a", "restored") == snapshot("a", "scratch")


@pytest.mark.vendor("mysql")
class TestMariaDB:
    def dump(self, connection: BaseDatabaseWrapper, *options: str) -> bytes:
        return run("mariadb-dump", *options, connection=connection)

    @pytest.mark.parametrize("options", [[], ["--skip-extended-insert"], ["--single-transaction"]])
    def test_whole(
        self,
        dumped: BaseDatabaseWrapper,
        restored: BaseDatabaseWrapper,
        options: list[str],
    ) -> None:
        run("mariadb", connection=restored, stdin=self.dump(dumped, *options))
        assert_restored(untouched=True)

    def test_data_only_into_a_migrated_database(
        self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper
    ) -> None:
        migrate(restored)
        ours = [f"--ignore-table={dumped.settings_dict['NAME']}.django_migrations"]
        data = self.dump(dumped, "--no-create-info", "--skip-triggers", *ours)
        run("mariadb", connection=restored, stdin=data)
        assert_snapshots_right("restored")
        assert triggers.problems(restored) == []


@pytest.mark.vendor("sqlite")
class TestSQLite:
    def test_backup(self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper) -> None:
        dumped.ensure_connection()
        with closing(sqlite3.connect(restored.settings_dict["NAME"])) as target:
            dumped.connection.backup(target)
        assert_restored(untouched=True)

    def test_vacuum_into(self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper) -> None:
        execute(dumped, f"VACUUM INTO '{restored.settings_dict['NAME']}'")
        assert_restored(untouched=True)

    def test_dump_as_sql(self, dumped: BaseDatabaseWrapper, restored: BaseDatabaseWrapper) -> None:
        dumped.ensure_connection()
        script = "\n".join(dumped.connection.iterdump())
        with closing(sqlite3.connect(restored.settings_dict["NAME"])) as target:
            target.executescript(script)
        assert_restored(untouched=True)

    def test_dump_holds_the_trigger_after_the_rows(self, dumped: BaseDatabaseWrapper) -> None:
        names = query(dumped, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
        assert {name for (name,) in names} == {
            trigger.name for trigger in triggers.definitions(dumped)
        }
