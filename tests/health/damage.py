"""Damage what is stored, as SQL, a restore or a missing trigger would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from tests.scratch import execute
from tests.triggers.helpers import SESSION, STEP
from weavegraph_checkpoints import health, triggers
from weavegraph_checkpoints.health import Finding
from weavegraph_checkpoints.models import Step

SNAPSHOT_COPIES = (
    "last_frontier",
    "last_versions_seen",
    "last_state",
    "last_message_count",
    "last_error_count",
    "last_state_bytes",
    "last_base_id",
)


def get_findings(**options: Any) -> list[Finding]:
    """Return every finding of a check."""
    return list(health.verify(**options))


def get_problems(**options: Any) -> list[tuple[str | None, int | None, str, bool]]:
    """Return every finding of a check, without its detail."""
    return [(f.session_id, f.step, f.problem, f.repaired) for f in get_findings(**options)]


def set_session(session_id: str, **columns: Any) -> None:
    """Write columns of a session by SQL."""
    _update(SESSION, columns, "id = %s", [session_id])


def set_step(session_id: str, step: int, **columns: Any) -> None:
    """Write columns of a step by SQL; the trigger fires."""
    _update(STEP, columns, "session_id = %s AND step = %s", [session_id, step])


def _update(table: str, columns: dict[str, Any], condition: str, parameters: list[Any]) -> None:
    assignments = ", ".join(f"{column} = %s" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {assignments} WHERE {condition}", [*columns.values(), *parameters]
        )
        assert cursor.rowcount == 1


def forget_snapshot(session_id: str) -> None:
    """Make a session look as if it had no steps."""
    empty = dict.fromkeys(SNAPSHOT_COPIES)
    set_session(session_id, last_step=0, status="empty", **empty)


@contextmanager
def without_foreign_keys() -> Iterator[None]:
    """Allow steps without a session; this may also disable the trigger."""
    off, on = {
        "mysql": ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1"),
        "postgresql": (
            "SET session_replication_role = replica",
            "SET session_replication_role = origin",
        ),
        "sqlite": ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"),
    }[connection.vendor]
    execute(connection, off)
    try:
        yield
    finally:
        execute(connection, on)


def create_orphan(session_id: str, step: int, **columns: Any) -> None:
    """Create a step without its session."""
    fields = {
        "message_count": 0,
        "error_count": 0,
        "state_bytes": 2,
        "frontier": [],
        "state": {},
    }
    with without_foreign_keys():
        Step.objects.create(session_id=session_id, step=step, **(fields | columns))


@contextmanager
def without_triggers() -> Iterator[None]:
    """Drop the triggers, and create them again; on MariaDB that commits."""
    definitions = triggers.definitions(connection)
    execute(connection, *(sql for trigger in definitions for sql in trigger.drop))
    try:
        yield
    finally:
        execute(connection, *(sql for trigger in definitions for sql in trigger.create))


def alter_trigger() -> None:
    """Replace the trigger that deletes fire by one that does something else."""
    (trigger,) = (
        trigger
        for trigger in triggers.definitions(connection)
        if trigger.name in (f"{STEP}_snapshot", f"{STEP}_snapshot_delete")
    )
    if connection.vendor == "postgresql":
        execute(
            connection,
            f'CREATE OR REPLACE FUNCTION "{trigger.name}"() RETURNS trigger'
            " LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        )
        return
    body = {"mysql": "SET @nothing = 1", "sqlite": "BEGIN SELECT 1; END"}[connection.vendor]
    execute(
        connection,
        f"DROP TRIGGER {trigger.name}",
        f"CREATE TRIGGER {trigger.name} AFTER DELETE ON {STEP} FOR EACH ROW {body}",
    )
