"""The connections of server processes to the database of the tests."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from django.db import OperationalError, connection

LIST_OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist"
    " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
KILL = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}


def count_connections(pid: int) -> int:
    """Return how many connections a process has to the database, except that of this thread.

    With SQLite these are the open descriptors of the write-ahead log, that of this thread
    included. The descriptors of the database itself are more: SQLite keeps them for later
    connections until the last connection is closed.
    """
    if connection.vendor == "sqlite":
        name = os.path.realpath(connection.settings_dict["NAME"]) + "-wal"
        opened = Path(f"/proc/{pid}/fd").iterdir()
        return [os.path.realpath(each) for each in opened].count(name)
    return len(_list_other_connections())


def kill_connections() -> None:
    """Let the database server close all connections except that of this thread."""
    with connection.cursor() as cursor:
        for number in _list_other_connections():
            with suppress(OperationalError):  # MariaDB raises it if the connection has ended.
                cursor.execute(KILL[connection.vendor], [number])


def _list_other_connections() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(LIST_OTHERS[connection.vendor])
        return [number for (number,) in cursor.fetchall()]
