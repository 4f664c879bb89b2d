"""The SQL statements of the service, one class per database."""

from __future__ import annotations

from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints import telemetry, triggers
from weavegraph_checkpoints.backends.base import Backend
from weavegraph_checkpoints.backends.mariadb import MariaDBBackend
from weavegraph_checkpoints.backends.postgresql import PostgreSQLBackend
from weavegraph_checkpoints.backends.rows import StepRow, Version
from weavegraph_checkpoints.backends.sqlite import SQLiteBackend

__all__ = ["Backend", "StepRow", "Version", "get_backend"]

_BACKENDS: dict[str, type[Backend]] = {
    "mysql": MariaDBBackend,
    "postgresql": PostgreSQLBackend,
    "sqlite": SQLiteBackend,
}


def _note_database(call: telemetry.Call, backend: Backend) -> None:
    call.set_database(backend.connection)


@telemetry.observed(_note_database)
def get_backend(connection: BaseDatabaseWrapper) -> Backend:
    """Return the backend for a connection.

    Raise Django's ``NotSupportedError`` for a database that the app does not support.
    """
    if not triggers.supports(connection):
        raise NotSupportedError(
            f"weavegraph_checkpoints does not support {connection.display_name}"
        )
    return _BACKENDS[connection.vendor](connection)
