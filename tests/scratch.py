"""A scratch database for tests that change the schema, or dump and restore it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests import partitioning

APP = "weavegraph_checkpoints"


@contextmanager
def scratch_database(alias: str) -> Iterator[None]:
    """Create a database for ``scratch_connection``, and drop it at the end."""
    with _settings(alias):
        connection = connections[alias]
        connection.creation._create_test_db(verbosity=0, autoclobber=True)
        connection.close()
    yield
    with _settings(alias):
        connection = connections[alias]
        if connection.vendor != "sqlite":
            connection.creation._destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


@contextmanager
def scratch_connection(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """Yield a connection to a scratch database, and empty the database at the end."""
    with _settings(alias):
        try:
            yield connections[alias]
        finally:
            connections[alias].close()
            connections[alias] = connections.create_connection(alias)
            _empty(connections[alias])
            connections[alias].close()


@contextmanager
def _settings(alias: str) -> Iterator[None]:
    like = connections.settings["other"]
    name = str(like["NAME"]).replace("other", alias)
    own = {"NAME": name, "OPTIONS": {**like["OPTIONS"]}, "TEST": {**like["TEST"], "NAME": name}}
    connections.settings[alias] = {**like, **own}
    try:
        yield
    finally:
        del connections[alias]
        del connections.settings[alias]


def _empty(connection: BaseDatabaseWrapper) -> None:
    quote = connection.ops.quote_name
    if connection.vendor == "sqlite":
        Path(connection.settings_dict["NAME"]).unlink(missing_ok=True)
    elif connection.vendor == "mysql":
        name = quote(connection.settings_dict["NAME"])
        execute(
            connection,
            f"DROP DATABASE {name}",
            f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
        )
    else:
        schemas = query(
            connection,
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'",
        )
        execute(connection, *(f"DROP SCHEMA {quote(name)} CASCADE" for (name,) in schemas))
        execute(connection, "CREATE SCHEMA public")


def migrate(connection: BaseDatabaseWrapper, target: str | None = None) -> None:
    """Migrate only this app, to the newest migration or to ``target``."""
    targets = [APP] if target is None else [APP, target]
    call_command("migrate", *targets, database=connection.alias, verbosity=0)
    if target is None and partitioning.is_wanted():
        partitioning.partition(connection)


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
