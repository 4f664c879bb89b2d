"""MariaDB: an upsert of the session is what takes its lock without a deadlock."""

from __future__ import annotations

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
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                f" ON DUPLICATE KEY UPDATE revision = {SESSION}.revision"
                " RETURNING owner, last_step, status = 'empty'",
                [row.session_id, owner or "", row.concurrency_limit],
            )
            check_writable(cursor.fetchone(), row, owner, expected)
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES}) {_REPLACE}",
                row.parameters(self.connection),
            )
