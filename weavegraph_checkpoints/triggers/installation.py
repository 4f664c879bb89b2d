"""Install and remove the snapshot trigger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps as global_apps
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.triggers.definition import Trigger
from weavegraph_checkpoints.triggers.v1 import mysql, postgresql, sqlite

APP_LABEL = "weavegraph_checkpoints"
LATEST = "v1"

_VERSIONS: dict[str, dict[str, Callable[[str, str, str], list[Trigger]]]] = {
    "v1": {
        "mysql": mysql.triggers,
        "postgresql": postgresql.triggers,
        "sqlite": sqlite.triggers,
    },
}

_NO_TRIGGER_PRIVILEGE = 1419
NO_TRIGGER_PRIVILEGE_HINT = (
    "The binary log is on, and the user may not create triggers. Ask an administrator "
    "for SET GLOBAL log_bin_trust_function_creators = 1 (a parameter of the instance "
    "where MariaDB is managed), or run the migration as a user with the privilege SUPER."
)


def supports(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the app supports this database."""
    if connection.vendor == "mysql":
        return bool(connection.mysql_is_mariadb)  # type: ignore[attr-defined]
    return connection.vendor in _VERSIONS[LATEST]


def definitions(
    connection: BaseDatabaseWrapper, apps: Any = global_apps, version: str = LATEST
) -> list[Trigger]:
    """Return the triggers of a version; none for an unsupported database."""
    if not supports(connection):
        return []
    tables = (
        apps.get_model(APP_LABEL, name)._meta.db_table for name in ("Session", "Step", "Keyframe")
    )
    return _VERSIONS[version][connection.vendor](*tables)


def install(
    using: str = DEFAULT_DB_ALIAS, *, apps: Any = global_apps, version: str = LATEST
) -> None:
    """Create the trigger on the database ``using``, or replace an existing one.

    ``migrate`` does this; call it if the trigger was lost, or the tables were created without
    ``migrate``. Raise Django's ``OperationalError``, with a hint, if MariaDB does not permit
    it (error 1419).
    """
    connection = connections[using]
    with connection.schema_editor() as editor:
        for trigger in definitions(connection, apps, version):
            execute(editor, trigger.create)


def remove(
    using: str = DEFAULT_DB_ALIAS, *, apps: Any = global_apps, version: str = LATEST
) -> None:
    """Drop the trigger from the database ``using`` if it exists."""
    connection = connections[using]
    with connection.schema_editor() as editor:
        for trigger in definitions(connection, apps, version):
            execute(editor, trigger.drop)


def execute(schema_editor: Any, statements: tuple[str, ...]) -> None:
    """Run the statements of a trigger; add a hint if MariaDB does not permit them.

    For ``sqlmigrate``, which prints them, MariaDB's client needs a delimiter that the bodies
    of the triggers do not contain.
    """
    if getattr(schema_editor, "collect_sql", False) and schema_editor.connection.vendor == "mysql":
        for statement in statements:
            schema_editor.collected_sql += ["DELIMITER $$", f"{statement}$$", "DELIMITER ;"]
        return
    try:
        for statement in statements:
            schema_editor.execute(statement, params=None)
    except OperationalError as error:
        if error.args[:1] == (_NO_TRIGGER_PRIVILEGE,):
            error.args = (*error.args[:1], f"{error.args[1]} {NO_TRIGGER_PRIVILEGE_HINT}")
        raise
