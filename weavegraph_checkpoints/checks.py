"""System checks: what would make the app lose data, or mean something else.

Errors concern the settings alone; what asks a database is a warning of
``Tags.database``, because an error of that tag would block ``migrate`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from weavegraph_checkpoints import conf, triggers
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.triggers.installation import NO_TRIGGER_PRIVILEGE_HINT

APP = "weavegraph_checkpoints"
MINIMUM_MARIADB = (10, 11)


def register_checks() -> None:
    """Register every check of the app with Django."""
    register(check_settings, APP)
    register(check_vendors, APP)
    register(check_databases, Tags.database)


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check ``USE_TZ`` and the dict ``WEAVEGRAPH_CHECKPOINTS``."""
    messages: list[CheckMessage] = []
    if not settings.USE_TZ:
        messages.append(
            Error(
                "weavegraph_checkpoints needs USE_TZ = True.",
                hint="Set USE_TZ = True: the snapshot trigger writes times in UTC.",
                id=f"{APP}.E002",
            )
        )
    try:
        unknown = conf.unknown_keys()
    except ImproperlyConfigured as error:
        return [*messages, _malformed_setting(str(error))]
    messages += [_unknown_setting(key) for key in unknown]
    messages += [_malformed_setting(text) for text in conf.malformed()]
    return messages


def check_vendors(**kwargs: Any) -> list[CheckMessage]:
    """Check that each database that may hold the tables is a supported one."""
    return [
        _unsupported(alias, name)
        for alias in connections
        if router.allow_migrate_model(alias, Session)
        for name in _unsupported_names(connections[alias])
    ]


def check_databases(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the databases named, once our migrations are applied there."""
    return [
        message
        for alias in databases or ()
        if router.allow_migrate_model(alias, Session)
        for message in _database_messages(connections[alias])
    ]


def _database_messages(connection: BaseDatabaseWrapper) -> Iterable[CheckMessage]:
    if not triggers.supports(connection) or not _is_migrated(connection):
        return
    yield from _trigger_messages(connection)
    for check in _VENDOR_CHECKS.get(connection.vendor, ()):
        yield from check(connection)


def _is_migrated(connection: BaseDatabaseWrapper) -> bool:
    """Whether our tables stand, and none of our migrations is still to be applied."""
    loader = MigrationLoader(connection)
    ours = {key for key in loader.disk_migrations if key[0] == APP}
    if not ours.issubset(loader.applied_migrations):
        return False
    tables = connection.introspection.table_names()
    return {Session._meta.db_table, Step._meta.db_table}.issubset(tables)


def _trigger_messages(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    builders = {"missing": _missing, "altered": _altered, "disabled": _disabled}
    for problem in triggers.problems(connection):
        yield builders[problem.kind](connection.alias, problem.trigger)


def _check_sqlite(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or ""
    if mode.upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield _not_immediate(connection.alias)


def _check_mariadb_privilege(
    connection: BaseDatabaseWrapper,
) -> Iterator[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@log_bin AND NOT @@log_bin_trust_function_creators")
        (restricted,) = cursor.fetchone()
        cursor.execute("SHOW GRANTS")
        grants = [grant for (grant,) in cursor.fetchall()]
    privileged = any(map(_grants_super, grants))
    if restricted and not privileged:
        yield _may_not_create_triggers(connection.alias)


def _grants_super(grant: str) -> bool:
    privileges, is_global, _ = grant.removeprefix("GRANT ").partition(" ON *.* TO ")
    return bool(is_global) and not {"ALL PRIVILEGES", "SUPER"}.isdisjoint(privileges.split(", "))


def _check_mariadb_packet(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    try:
        limit = conf.max_state_bytes()
    except ImproperlyConfigured:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        (packet,) = cursor.fetchone()
    if limit is not None and 2 * limit + 64 * 1024 > packet:
        yield _packet_too_small(connection.alias, limit, packet)


def _check_time_zone(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if connection.timezone_name != "UTC":
        yield _not_utc(connection.alias, connection.timezone_name)


_VENDOR_CHECKS: dict[str, tuple[Callable[[BaseDatabaseWrapper], Iterator[CheckMessage]], ...]] = {
    "mysql": (_check_mariadb_privilege, _check_mariadb_packet, _check_time_zone),
    "sqlite": (_check_sqlite, _check_time_zone),
}


def _unsupported_names(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Yield the name of a database, where it is not one that the app supports."""
    if connection.vendor in ("postgresql", "sqlite"):
        return
    if connection.vendor != "mysql":
        yield connection.display_name
        return
    try:
        is_mariadb = connection.mysql_is_mariadb  # type: ignore[attr-defined]
        version = connection.mysql_version  # type: ignore[attr-defined]
    except DatabaseError:
        return
    if not is_mariadb:
        yield "MySQL"
    elif version < MINIMUM_MARIADB:
        yield f"MariaDB {'.'.join(map(str, version))}"


def _unsupported(alias: str, name: str) -> CheckMessage:
    return Error(
        f"weavegraph_checkpoints does not support {name} (database {alias!r}).",
        hint=(
            "Use SQLite, PostgreSQL 14 or newer, or MariaDB 10.11 or newer, or keep the "
            "app off this database with a router."
        ),
        id=f"{APP}.E001",
    )


def _unknown_setting(key: str) -> CheckMessage:
    return Error(
        f"{conf.NAME} has the unknown key {key!r}.",
        hint=f"The keys are {', '.join(sorted(conf.READERS))}.",
        id=f"{APP}.E003",
    )


def _malformed_setting(message: str) -> CheckMessage:
    return Error(
        message,
        hint="docs/settings.md lists every key with its type.",
        id=f"{APP}.E004",
    )


_REINSTALL = (
    "Snapshots go stale without it. Run weavegraph_checkpoints.triggers.install(using={alias!r})."
)


def _missing(alias: str, trigger: str) -> CheckMessage:
    return Warning(
        f"The trigger {trigger} is missing (database {alias!r}).",
        hint=_REINSTALL.format(alias=alias),
        id=f"{APP}.W001",
    )


def _altered(alias: str, trigger: str) -> CheckMessage:
    return Warning(
        f"The trigger {trigger} is not the one that the app installs (database {alias!r}).",
        hint=_REINSTALL.format(alias=alias),
        id=f"{APP}.W002",
    )


def _disabled(alias: str, trigger: str) -> CheckMessage:
    return Warning(
        f"The trigger {trigger} is disabled (database {alias!r}).",
        hint=(
            "Snapshots go stale without it. Run ALTER TABLE "
            f"{Step._meta.db_table} ENABLE TRIGGER {trigger}."
        ),
        id=f"{APP}.W003",
    )


def _may_not_create_triggers(alias: str) -> CheckMessage:
    return Warning(
        f"The user of the database {alias!r} may not create triggers (error 1419).",
        hint=NO_TRIGGER_PRIVILEGE_HINT,
        id=f"{APP}.W004",
    )


def _not_immediate(alias: str) -> CheckMessage:
    return Warning(
        f"The SQLite database {alias!r} does not begin its transactions IMMEDIATE.",
        hint=(
            'Set OPTIONS["transaction_mode"] = "IMMEDIATE": otherwise an atomic block '
            "that read first fails at once, without waiting, when another wrote."
        ),
        id=f"{APP}.W005",
    )


def _packet_too_small(alias: str, limit: int, packet: int) -> CheckMessage:
    return Warning(
        f"max_allowed_packet = {packet} of the database {alias!r} cannot hold a state "
        f"of MAX_STATE_BYTES = {limit} when every byte is escaped.",
        hint=(
            f"Raise max_allowed_packet to {2 * limit + 64 * 1024} or more, or lower "
            "MAX_STATE_BYTES."
        ),
        id=f"{APP}.W006",
    )


def _not_utc(alias: str, name: str) -> CheckMessage:
    return Warning(
        f"The database {alias!r} keeps its times in {name}, but the snapshot trigger "
        "writes them in UTC.",
        hint='Remove "TIME_ZONE" from this database in DATABASES.',
        id=f"{APP}.W007",
    )
