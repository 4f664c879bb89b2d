"""A database of its own for tests that change the schema, or dump and restore it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

APP = "weavegraph_checkpoints"


@contextmanager
def scratch_database(alias: str = "scratch", **options: Any) -> Iterator[BaseDatabaseWrapper]:
    """Make an empty database under an alias of its own, and drop it at the end.

    ``options`` are added to the OPTIONS of the database.
    """
    model = connections.settings["other"]
    name = str(model["NAME"]).replace("other", alias)
    connections.settings[alias] = {
        **model,
        "NAME": name,
        "OPTIONS": {**model["OPTIONS"], **options},
        "TEST": {**model["TEST"], "NAME": name},
    }
    connection = connections[alias]
    connection.creation._create_test_db(verbosity=0, autoclobber=True)
    connection.close()
    try:
        yield connection
    finally:
        connection.close()
        connection.creation._destroy_test_db(name, verbosity=0)
        del connections[alias]
        del connections.settings[alias]


def migrate(connection: BaseDatabaseWrapper, target: str | None = None) -> None:
    """Migrate the app alone, to the newest migration or to ``target``."""
    targets = [APP] if target is None else [APP, target]
    call_command("migrate", *targets, database=connection.alias, verbosity=0)


def execute(connection: BaseDatabaseWrapper, *statements: str) -> None:
    """Run statements without parameters."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def query(connection: BaseDatabaseWrapper, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return [tuple(row) for row in cursor.fetchall()]
