"""The disk is full: a clear error, nothing lost, and all is well when there is space again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import Error, OperationalError, close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import migrate
from tests.servers import MariaDBServer, PostgresServer, private
from tests.service.racing import alias_like
from tests.torture.conftest import Report
from tests.torture.disks import MEGABYTE, grow, leave_free, small_disk
from tests.torture.told import Told
from tests.torture.verifying import faults

pytestmark = [pytest.mark.torture, pytest.mark.timeout(600)]

SESSIONS = 4
ATTEMPTS = 20_000
SAVES_AFTERWARDS = 50


def fill(told: Told) -> Error:
    """Save until the database refuses; return its error."""
    for number in range(ATTEMPTS):
        try:
            save(told, number)
        except Error as error:
            return error
    raise AssertionError("the disk was never full")


def save(told: Told, number: int) -> None:
    told.save(f"full/{number % SESSIONS}", number // SESSIONS + 1, f"{number}")


def assert_sound(told: Told, alias: str) -> None:
    assert faults(told.journal, alias) == []
    for number in range(SESSIONS):
        assert told.checkpointer.load_latest(f"full/{number}") is not None


def go_on(told: Told, alias: str) -> None:
    """Repeat the save that failed, and save more."""
    close_old_connections()
    saved = told.journal.acknowledged
    for number in range(saved, saved + SAVES_AFTERWARDS):
        save(told, number)
    told.fork("full/0", "full/fork")
    told.fork("full/1", "full/gone")
    told.delete("full/gone")
    assert told.journal.acknowledged == saved + SAVES_AFTERWARDS
    assert_sound(told, alias)


def report_full(report: Report, told: Told, alias: str, what: str, error: Error) -> None:
    report(
        "disk full",
        alias,
        what_was_full=what,
        acknowledged_before=told.journal.acknowledged - SAVES_AFTERWARDS,
        lost=0,
        error=f"`{type(error).__name__}: {' '.join(str(error).split())[:90]}`",
    )


def fill_and_go_on(disk: Path, free: int, alias: str, report: Report) -> Error:
    """Save until a disk with so many bytes free is full, then make room; return the error."""
    ballast = leave_free(disk, free)
    told = Told(alias)
    error = fill(told)
    assert_sound(told, alias)
    ballast.unlink()
    go_on(told, alias)
    report_full(report, told, alias, "the disk", error)
    assert type(error) is OperationalError
    return error


@pytest.mark.vendor("sqlite")
def test_sqlite_has_no_more_pages(scratch: BaseDatabaseWrapper, report: Report) -> None:
    limited = scratch.settings_dict["OPTIONS"]["init_command"] + "; PRAGMA max_page_count = 400"
    with alias_like(scratch.alias, "limited", OPTIONS={"init_command": limited}):
        told = Told("limited")
        error = fill(told)
        assert_sound(told, "limited")
    told.use(scratch.alias)
    go_on(told, scratch.alias)
    report_full(report, told, scratch.alias, "`max_page_count`", error)
    assert type(error) is OperationalError
    assert "full" in str(error)


@pytest.mark.vendor("sqlite")
def test_the_disk_of_sqlite_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        small_disk(8) as disk,
        django_db_blocker.unblock(),
        alias_like("default", "small", NAME=str(disk / "small.sqlite3")) as alias,
    ):
        migrate(connections[alias])
        error = fill_and_go_on(disk, MEGABYTE, alias, report)
    assert "full" in str(error)


@contextmanager
def prepared(server: PostgresServer | MariaDBServer) -> Iterator[str]:
    """Make the app's tables on a server; gives the alias."""
    server.create_database()
    with server.alias("small") as alias:
        migrate(connections[alias])
        yield alias


@pytest.mark.vendor("postgresql")
def test_the_disk_of_postgresql_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        small_disk(120) as disk,
        private(PostgresServer, "--autovacuum=off", directory=disk) as server,
        django_db_blocker.unblock(),
        prepared(server) as alias,
    ):
        error = fill_and_go_on(disk, MEGABYTE // 2, alias, report)
        assert error.__cause__.sqlstate == "53100"


@pytest.mark.vendor("postgresql")
def test_the_disk_of_the_write_ahead_log_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        small_disk(40) as disk,
        private(PostgresServer, "--max_wal_size=1GB", log_directory=disk) as server,
        django_db_blocker.unblock(),
        prepared(server) as alias,
    ):
        leave_free(disk, 0)
        told = Told(alias)
        error = fill(told)
        grow(disk, 200)
        server.start()
        connections[alias].close()
        assert_sound(told, alias)
        go_on(told, alias)
        report_full(report, told, alias, "the disk of the write-ahead log", error)
    assert type(error) is OperationalError


@pytest.mark.vendor("mysql")
def test_the_disk_of_mariadb_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        small_disk(160) as disk,
        private(MariaDBServer, "--innodb-log-file-size=8M", directory=disk) as server,
        django_db_blocker.unblock(),
        prepared(server) as alias,
    ):
        error = fill_and_go_on(disk, 2 * MEGABYTE, alias, report)
    assert error.args[0] == 1114
