"""MariaDB: an upsert of the session is what takes its lock without a deadlock."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from weavegraph_checkpoints.backends.base import (
    SESSION,
    SESSION_COLUMNS,
    STEP,
    STEP_COLUMNS,
    STEP_VALUES,
    Backend,
    check_writable,
)
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS, StepRow

_REPLACE = "ON DUPLICATE KEY UPDATE " + ", ".join(
    f"{column} = VALUES({column})" for column in DATA_COLUMNS
)


class MariaDBBackend(Backend):
    """A statement that writes steps never names the session table (error 1442)."""

    now = "UTC_TIMESTAMP(6)"
    write_lock = delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    on_session_conflict = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision + 1"

    def save(self, row: StepRow, owner: str | None, expected: int | None) -> None:
        """See ``Backend.save``."""
        with (
            transaction.atomic(self.connection.alias),
            self.connection.cursor() as cursor,
        ):
            if expected:
                self._lock_existing(cursor, row.session_id)
            else:
                self._lock_or_create(cursor, row, owner)
            check_writable(cursor.fetchone(), row, owner, expected)
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES}) {_REPLACE}",
                row.parameters(self.connection),
            )

    def _lock_existing(self, cursor: Any, session_id: str) -> None:
        """Lock without creating: to roll the new row back could end in a deadlock.

        Two who wait for a row that vanishes each keep the gap that the other inserts into.
        """
        cursor.execute(
            f"SELECT owner, last_step, status = 'empty' FROM {SESSION} WHERE id = %s FOR UPDATE",
            [session_id],
        )

    def _lock_or_create(self, cursor: Any, row: StepRow, owner: str | None) -> None:
        cursor.execute(
            f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
            f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
            f" ON DUPLICATE KEY UPDATE revision = {SESSION}.revision"
            " RETURNING owner, last_step, status = 'empty'",
            [row.session_id, owner or "", row.concurrency_limit],
        )
