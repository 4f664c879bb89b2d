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
    # On a small table MariaDB may scan them all instead, and wait for other sessions' rows.
    delete_steps = (
        f"DELETE {STEP} FROM {STEP} FORCE INDEX (weavegraph_step_unique) WHERE session_id = %s"
    )
    on_session_conflict = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision + 1"

    def save(self, row: StepRow, owner: str | None, expected: int | None) -> None:
        """See ``Backend.save``."""
        with transaction.atomic(self.connection.alias):
            if expected:
                found = self._lock_existing(row.session_id)
            else:
                found = self.lock_or_create(row, owner)
            check_writable(found, row, owner, expected)
            self.write(row)

    def lock_or_create(self, row: StepRow, owner: str | None) -> tuple[str, int, bool]:
        """See ``Backend.lock_or_create``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                f" ON DUPLICATE KEY UPDATE revision = {SESSION}.revision"
                " RETURNING owner, last_step, status = 'empty'",
                [row.session_id, owner or "", row.concurrency_limit],
            )
            return cursor.fetchone()  # type: ignore[no-any-return]

    def write(self, row: StepRow) -> None:
        """See ``Backend.write``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES}) {_REPLACE}",
                row.parameters(self.connection),
            )

    def _lock_existing(self, session_id: str) -> tuple[str, int, bool] | None:
        """Lock without creating: to roll the new row back could end in a deadlock.

        Two who wait for a row that vanishes each keep the gap that the other inserts into.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT owner, last_step, status = 'empty' FROM {SESSION}"
                " WHERE id = %s FOR UPDATE",
                [session_id],
            )
            return cursor.fetchone()  # type: ignore[no-any-return]

    def lock_for_delete(self, session_id: str, owner: str | None) -> bool:
        """See ``Backend.lock_for_delete``."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT owner FROM {SESSION} WHERE id = %s FOR UPDATE", [session_id])
            found = cursor.fetchone()
        return found is not None and owner in (None, found[0])
