"""MariaDB: gaps that statements lock beside rows decide in which order a session is locked."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from weavegraph_checkpoints.backends.access import check_writable
from weavegraph_checkpoints.backends.base import (
    SESSION,
    SESSION_COLUMNS,
    STEP,
    STEP_COLUMNS,
    STEP_VALUES,
    Backend,
)
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS, StepRow
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON DUPLICATE KEY UPDATE " + ", ".join(
    f"{column} = VALUES({column})" for column in DATA_COLUMNS
)

READ_COMMITTED = "read committed"
DUPLICATE_KEY = 1062


class MariaDBBackend(Backend):
    """A statement that writes steps never names the session table (error 1442)."""

    now = "UTC_TIMESTAMP(6)"
    write_lock = delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    space_hint = (
        "MariaDB reuses the freed space inside its tables for new rows. OPTIMIZE TABLE returns "
        "it to the disk, and needs free space for a copy."
    )
    # MariaDB may scan all steps instead: for each part of a session that is most of a large
    # table; on a small one it locks rows of other sessions, or waits for them, on the way.
    # Only this form of DELETE can name an index.
    steps_by_number = f"{STEP} FORCE INDEX (weavegraph_step_unique)"
    delete_steps = f"DELETE {STEP} FROM {steps_by_number}"
    # The order of an index would lead it to each row by itself: twice the time.
    all_steps = f"{STEP} IGNORE INDEX (weavegraph_step_unique)"
    # Rows in the order of the table, instead of each by itself: a third less time.
    select_prefix = "SET STATEMENT optimizer_switch = 'mrr=on' FOR "
    on_session_conflict = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision + 1"
    on_session_conflict_lock = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision"
    has_row_values = False

    def timestamp_as_text(self, column: str) -> str:
        """See ``Backend.timestamp_as_text``."""
        return f"CAST({column} AS CHAR)"

    def is_distinct(self, left: str, right: str) -> str:
        """See ``Backend.is_distinct``."""
        return f"NOT ({left} <=> {right})"

    def save(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool = True
    ) -> None:
        """See ``Backend.save``."""
        with transaction.atomic(self.connection.alias):
            if expected:
                found = self._lock_existing(row.session_id)
            else:
                found = self.lock_or_create(row, owner)
            check_writable(found, row, owner, expected)
            self.write(row, replace=replace)

    def lock_or_create(self, row: StepRow, owner: str | None) -> tuple[str, int, bool]:
        """See ``Backend.lock_or_create``.

        Those who wait in an upsert for a row that vanishes each keep the gap that the
        others insert into. A locking read keeps none under READ COMMITTED; under the
        stricter levels it keeps one whenever it finds nothing.
        """
        if self.connection.isolation_level == READ_COMMITTED:  # type: ignore[attr-defined]
            found = self._lock_existing(row.session_id)
            if found is not None:
                return found
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                f" {self.on_session_conflict_lock}"
                " RETURNING owner, last_step, status = 'empty'",
                [row.session_id, owner or "", row.concurrency_limit],
            )
            return cursor.fetchone()  # type: ignore[no-any-return]

    def write(self, row: StepRow, *, replace: bool = True) -> None:
        """See ``Backend.write``.

        An upsert that changes nothing would still run the trigger, and ``INSERT IGNORE``
        would hide other errors, so the error of a duplicate key is caught instead.
        """
        statement = f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES})"
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"{statement} {_REPLACE}" if replace else statement,
                    row.parameters(self.connection),
                )
        except IntegrityError as error:
            if replace or error.args[0] != DUPLICATE_KEY:
                raise
            raise StepExists(row.session_id, row.step) from None

    def _lock_existing(self, session_id: str) -> tuple[str, int, bool] | None:
        """Lock without creating: to roll the new row back could end in a deadlock."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT owner, last_step, status = 'empty' FROM {SESSION}"
                " WHERE id = %s FOR UPDATE",
                [session_id],
            )
            return cursor.fetchone()  # type: ignore[no-any-return]

    def before_removal(self, session_ids: Sequence[str]) -> None:
        """See ``Backend.before_removal``.

        The trigger reads the next newest step of a session that loses its newest, and
        where there is none it locks, or waits for, the last step of another session. No
        step is above the last one, so this keeps it from reading.
        """
        self._one_by_one(
            f"UPDATE {SESSION} SET last_step = last_step + 1 WHERE id = %s", session_ids
        )

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """See ``Backend.delete_sessions``; by one id each, which never reads another row."""
        self._one_by_one(f"DELETE FROM {SESSION} WHERE id = %s", session_ids)

    def _one_by_one(self, statement: str, session_ids: Sequence[str]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(statement, [[session_id] for session_id in session_ids])
