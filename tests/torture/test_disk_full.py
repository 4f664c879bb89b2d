"""A full disk raises a clear error, loses nothing, and saves succeed when there is space again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import Error, OperationalError, close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import migrate
from tests.servers import MariaDBServer, PostgresServer, Server, temporary_server
from tests.service.racing import alias_like
from tests.torture.conftest import Report
from tests.torture.disks import MEGABYTE, fill_disk, mount_small_disk, resize_disk
from tests.torture.recorder import CallRecorder
from tests.torture.verification import find_faults

pytestmark = [pytest.mark.torture, pytest.mark.timeout(600)]

SESSIONS = 4
ATTEMPTS = 20_000
SAVES_AFTERWARDS = 50

# Errors of MariaDB. It may end itself if it finds no space in the background.
TABLE_IS_FULL, CANNOT_CONNECT, CONNECTION_LOST = 1114, 2002, 2013


def save_until_full(recorder: CallRecorder) -> Error:
    """Save until the database raises an error; return it."""
    for number in range(ATTEMPTS):
        try:
            save(recorder, number)
        except Error as error:
            return error
    raise AssertionError("the disk was never full")


def save(recorder: CallRecorder, number: int) -> None:
    recorder.save(f"full/{number % SESSIONS}", number // SESSIONS + 1, f"{number}")


def assert_sound(recorder: CallRecorder, alias: str) -> None:
    assert find_faults(recorder.journal, alias) == []
    for number in range(SESSIONS):
        assert recorder.checkpointer.load_latest(f"full/{number}") is not None


def save_again(recorder: CallRecorder, alias: str) -> None:
    """Repeat the save that failed, and make more calls."""
    close_old_connections()
    saved = recorder.journal.acknowledged
    for number in range(saved, saved + SAVES_AFTERWARDS):
        save(recorder, number)
    recorder.fork("full/0", "full/fork")
    recorder.fork("full/1", "full/gone")
    recorder.delete("full/gone")
    assert recorder.journal.acknowledged == saved + SAVES_AFTERWARDS
    assert_sound(recorder, alias)


def report_full(
    report: Report, recorder: CallRecorder, alias: str, what: str, error: Error
) -> None:
    report(
        "disk full",
        alias,
        what_was_full=what,
        acknowledged_before=recorder.journal.acknowledged - SAVES_AFTERWARDS,
        lost=0,
        error=f"`{type(error).__name__}: {' '.join(str(error).split())[:90]}`",
    )


def fill_and_save_again(
    disk: Path, free: int, alias: str, report: Report, server: Server | None = None
) -> Error:
    """Save until a disk with ``free`` bytes is full, then make space and save; return the error.

    A ``server`` that ended itself is started again once there is space.
    """
    ballast = fill_disk(disk, free)
    recorder = CallRecorder(alias)
    error = save_until_full(recorder)
    if server is not None and server.has_ended():
        ballast.unlink()
        close_old_connections()
        server.start()
    assert_sound(recorder, alias)
    ballast.unlink(missing_ok=True)
    save_again(recorder, alias)
    report_full(report, recorder, alias, "the disk", error)
    assert type(error) is OperationalError
    return error


@pytest.mark.vendor("sqlite")
def test_sqlite_has_no_more_pages(scratch: BaseDatabaseWrapper, report: Report) -> None:
    limited = scratch.settings_dict["OPTIONS"]["init_command"] + "; PRAGMA max_page_count = 400"
    with alias_like(scratch.alias, "limited", OPTIONS={"init_command": limited}):
        recorder = CallRecorder("limited")
        error = save_until_full(recorder)
        assert_sound(recorder, "limited")
    recorder.use(scratch.alias)
    save_again(recorder, scratch.alias)
    report_full(report, recorder, scratch.alias, "`max_page_count`", error)
    assert type(error) is OperationalError
    assert "full" in str(error)


@pytest.mark.vendor("sqlite")
def test_the_disk_of_sqlite_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        mount_small_disk(8) as disk,
        django_db_blocker.unblock(),
        alias_like("default", "small", NAME=str(disk / "small.sqlite3")) as alias,
    ):
        migrate(connections[alias])
        error = fill_and_save_again(disk, MEGABYTE, alias, report)
    assert "full" in str(error)


@contextmanager
def migrated_database(server: PostgresServer | MariaDBServer) -> Iterator[str]:
    """Create the tables of the app on a server; yield the alias of its database."""
    server.create_database()
    with server.alias("small") as alias:
        migrate(connections[alias])
        yield alias


@pytest.mark.vendor("postgresql")
def test_the_disk_of_postgresql_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        mount_small_disk(120) as disk,
        temporary_server(PostgresServer, "--autovacuum=off", directory=disk) as server,
        django_db_blocker.unblock(),
        migrated_database(server) as alias,
    ):
        error = fill_and_save_again(disk, MEGABYTE // 2, alias, report)
        assert error.__cause__.sqlstate == "53100"


@pytest.mark.vendor("postgresql")
def test_the_disk_of_the_write_ahead_log_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        mount_small_disk(40) as disk,
        temporary_server(PostgresServer, "--max_wal_size=1GB", log_directory=disk) as server,
        django_db_blocker.unblock(),
        migrated_database(server) as alias,
    ):
        fill_disk(disk, 0)
        recorder = CallRecorder(alias)
        error = save_until_full(recorder)
        resize_disk(disk, 200)
        server.start()
        connections[alias].close()
        assert_sound(recorder, alias)
        save_again(recorder, alias)
        report_full(report, recorder, alias, "the disk of the write-ahead log", error)
    assert type(error) is OperationalError


@pytest.mark.vendor("mysql")
def test_the_disk_of_mariadb_is_full(report: Report, django_db_blocker: Any) -> None:
    with (
        mount_small_disk(160) as disk,
        temporary_server(MariaDBServer, "--innodb-log-file-size=8M", directory=disk) as server,
        django_db_blocker.unblock(),
        migrated_database(server) as alias,
    ):
        error = fill_and_save_again(disk, 2 * MEGABYTE, alias, report, server)
    assert error.args[0] in (TABLE_IS_FULL, CANNOT_CONNECT, CONNECTION_LOST)
