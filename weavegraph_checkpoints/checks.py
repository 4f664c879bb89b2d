"""System checks.

Checks of the settings report errors. Checks that query a database report warnings of
``Tags.database``: an error of that tag would block ``migrate`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from weavegraph_checkpoints import conf, triggers
from weavegraph_checkpoints.models import Keyframe, Label, Session, Step
from weavegraph_checkpoints.triggers.installation import NO_TRIGGER_PRIVILEGE_HINT

APP = "weavegraph_checkpoints"
MIN_MARIADB_VERSION = (10, 11)


def register_checks() -> None:
    """Register every check of the app with Django."""
    register(check_settings, APP)
    register(check_vendors, APP)
    register(check_databases, Tags.database)


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check ``USE_TZ`` and the setting ``WEAVEGRAPH_CHECKPOINTS``."""
    messages: list[CheckMessage] = []
    if not settings.USE_TZ:
        messages.append(
            Error(
                "weavegraph_checkpoints needs USE_TZ = True.",
                hint="Set USE_TZ = True: the snapshot trigger writes timestamps in UTC.",
                id=f"{APP}.E002",
            )
        )
    try:
        unknown, malformed = conf.unknown_keys(), list(conf.malformed())
    except ImproperlyConfigured as error:
        unknown, malformed = [], [str(error)]
    messages += [
        Error(
            f"{conf.NAME} has the unknown key {key!r}.",
            hint=f"The keys are {', '.join(sorted(conf.READERS))}.",
            id=f"{APP}.E003",
        )
        for key in unknown
    ]
    messages += [
        Error(message, hint="docs/settings.md lists every key with its type.", id=f"{APP}.E004")
        for message in malformed
    ]
    return messages


def check_vendors(**kwargs: Any) -> list[CheckMessage]:
    """Check that every database that may hold the tables is supported."""
    names = {
        alias: _get_unsupported_name(connections[alias])
        for alias in connections
        if router.allow_migrate_model(alias, Session)
    }
    return [
        Error(
            f"weavegraph_checkpoints does not support {name} (database {alias!r}).",
            hint=(
                "Use SQLite, PostgreSQL 14 or newer, or MariaDB 10.11 or newer, or keep the "
                "app off this database with a router."
            ),
            id=f"{APP}.E001",
        )
        for alias, name in names.items()
        if name is not None
    ]


def _get_unsupported_name(connection: BaseDatabaseWrapper) -> str | None:
    """Return the name of a database that is not supported, else ``None``."""
    if connection.vendor in ("postgresql", "sqlite"):
        return None
    if connection.vendor != "mysql":
        return connection.display_name
    try:
        is_mariadb = connection.mysql_is_mariadb  # type: ignore[attr-defined]
        version = connection.mysql_version  # type: ignore[attr-defined]
    except DatabaseError:
        return None
    if not is_mariadb:
        return "MySQL"
    return None if version >= MIN_MARIADB_VERSION else f"MariaDB {'.'.join(map(str, version))}"


def check_databases(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the named databases that the app is migrated on."""
    return [
        message
        for alias in databases or ()
        if router.allow_migrate_model(alias, Session)
        for message in _check_database(connections[alias])
    ]


def _check_database(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if not triggers.supports(connection) or not _is_migrated(connection):
        return
    yield from _check_triggers(connection)
    for check in _VENDOR_CHECKS.get(connection.vendor, ()):
        yield from check(connection)


def _is_migrated(connection: BaseDatabaseWrapper) -> bool:
    """Return whether all our migrations are applied, and the tables exist."""
    loader = MigrationLoader(connection)
    ours = {key for key in loader.disk_migrations if key[0] == APP}
    if not ours.issubset(loader.applied_migrations):
        return False
    tables = connection.introspection.table_names()
    return {model._meta.db_table for model in (Session, Step, Keyframe, Label)}.issubset(tables)


_TRIGGER_PROBLEMS = {
    "missing": ("W001", "is missing"),
    "altered": ("W002", "is not the one that the app installs"),
    "disabled": ("W003", "is disabled"),
    "orphaned": ("W008", "cannot run"),
}


def _check_triggers(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    alias = connection.alias
    unverifiable = []
    for problem in triggers.problems(connection):
        if problem.kind == "unverifiable":
            unverifiable.append(problem.trigger)
            continue
        check_id, text = _TRIGGER_PROBLEMS[problem.kind]
        reason = f": it {problem.detail}" if problem.detail else ""
        effect = _get_effect(problem)
        yield Warning(
            f"The trigger {problem.trigger} {text} (database {alias!r}){reason}.",
            hint=(
                f"{effect}. Install it and repair the snapshots: run "
                f"manage.py check_checkpoints --repair --database {alias}."
            ),
            id=f"{APP}.{check_id}",
        )
    if unverifiable:
        yield Warning(
            f"The triggers {', '.join(unverifiable)} cannot be verified: the user of the "
            f"database {alias!r} does not have the privilege TRIGGER.",
            hint=(
                "The app works without this privilege. Run the check as the user that runs "
                f'migrate, or silence it with SILENCED_SYSTEM_CHECKS = ["{APP}.W009"].'
            ),
            id=f"{APP}.W009",
        )
    elif connection.vendor == "mysql":
        yield from _check_mariadb_privilege(connection)


def _get_effect(problem: triggers.Problem) -> str:
    if problem.kind == "orphaned":
        return "Saves fail"
    if problem.trigger.startswith(Keyframe._meta.db_table):
        return "Keyframes that steps need can be deleted without it"
    return "Snapshots become stale without it"


def _check_mariadb_privilege(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@log_bin AND NOT @@log_bin_trust_function_creators")
        (restricted,) = cursor.fetchone()
        cursor.execute("SHOW GRANTS")
        grants = [grant for (grant,) in cursor.fetchall()]
    if restricted and not any(map(_grants_super, grants)):
        yield Warning(
            f"The user of the database {connection.alias!r} cannot create triggers (error 1419).",
            hint=NO_TRIGGER_PRIVILEGE_HINT,
            id=f"{APP}.W004",
        )


def _grants_super(grant: str) -> bool:
    privileges, is_global, _ = grant.removeprefix("GRANT ").partition(" ON *.* TO ")
    return bool(is_global) and not {"ALL PRIVILEGES", "SUPER"}.isdisjoint(privileges.split(", "))


def _check_sqlite_transaction_mode(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or ""
    if mode.upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield Warning(
            f"The SQLite database {connection.alias!r} does not start transactions with IMMEDIATE.",
            hint=(
                'Set OPTIONS["transaction_mode"] = "IMMEDIATE": otherwise an atomic block that '
                "reads first fails at once, without waiting, if another connection wrote."
            ),
            id=f"{APP}.W005",
        )


def _check_mariadb_packet(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    try:
        limit = conf.max_state_bytes()
    except ImproperlyConfigured:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        (packet,) = cursor.fetchone()
    if limit is not None and 2 * limit + 64 * 1024 > packet:
        yield Warning(
            f"max_allowed_packet = {packet} of the database {connection.alias!r} cannot hold a "
            f"state of MAX_STATE_BYTES = {limit} when every byte is escaped.",
            hint=(
                f"Raise max_allowed_packet to {2 * limit + 64 * 1024} or more, or lower "
                "MAX_STATE_BYTES."
            ),
            id=f"{APP}.W006",
        )


def _check_time_zone(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if connection.timezone_name != "UTC":
        yield Warning(
            f"The TIME_ZONE of the database {connection.alias!r} is {connection.timezone_name}.",
            hint=(
                'Remove "TIME_ZONE" from this database in DATABASES: '
                + (
                    "timestamps near the years 1 and 9999 cannot be read in another time zone."
                    if connection.vendor == "postgresql"
                    else "the snapshot trigger writes timestamps in UTC."
                )
            ),
            id=f"{APP}.W007",
        )


_ENCODINGS = {
    "mysql": ("SELECT @@character_set_client", "utf8mb4"),
    "postgresql": ("SHOW server_encoding", "UTF8"),
    "sqlite": ("PRAGMA encoding", "UTF-8"),
}


def _check_encoding(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    query, expected = _ENCODINGS[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query)
        (encoding,) = cursor.fetchone()
    if encoding != expected:
        yield Warning(
            f"The encoding of the database {connection.alias!r} is {encoding}, not {expected}: "
            "not every text can be saved and read back.",
            hint=(
                'Set OPTIONS["charset"] = "utf8mb4" in DATABASES.'
                if connection.vendor == "mysql"
                else f"Create a database with the encoding {expected}, and move the data with "
                "dumpdata and loaddata."
            ),
            id=f"{APP}.W010",
        )


def _check_mariadb_sql_mode(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@sql_mode")
        (modes,) = cursor.fetchone()
    for mode in sorted({"EMPTY_STRING_IS_NULL", "ORACLE"} & set(modes.split(","))):
        yield Warning(
            f"The sql_mode of the database {connection.alias!r} contains {mode}.",
            hint=(
                "Saves fail under EMPTY_STRING_IS_NULL, and migrations under both modes. Set "
                'another sql_mode for the user, or in OPTIONS["init_command"] in DATABASES.'
            ),
            id=f"{APP}.W011",
        )


_VENDOR_CHECKS: dict[str, tuple[Callable[[BaseDatabaseWrapper], Iterator[CheckMessage]], ...]] = {
    "mysql": (_check_mariadb_packet, _check_mariadb_sql_mode, _check_encoding, _check_time_zone),
    "postgresql": (_check_encoding, _check_time_zone),
    "sqlite": (_check_sqlite_transaction_mode, _check_encoding, _check_time_zone),
}
