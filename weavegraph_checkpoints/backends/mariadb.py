"""MariaDB: InnoDB's gap locks decide how a session may be locked without deadlocks."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from weavegraph_checkpoints.backends.access import check_writable
from weavegraph_checkpoints.backends.base import INSERT_STEP, SESSION, STEP, Backend
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    DATA_COLUMNS,
    LockedSession,
    StepRow,
    placeholders,
)
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON DUPLICATE KEY UPDATE " + ", ".join(
    f"{column} = VALUES({column})" for column in DATA_COLUMNS
)
_INSERT = f"{INSERT_STEP} VALUES ({placeholders(COLUMNS)})"

READ_COMMITTED = "read committed"
DUPLICATE_KEY = 1062


class MariaDBBackend(Backend):
    """A statement that writes steps never names the session table (error 1442)."""

    now = "UTC_TIMESTAMP(6)"
    write_lock = delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    on_session_conflict = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision + 1"
    on_session_conflict_lock = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision"
    # Without the hint MariaDB may scan all steps: of a session that is most of a large table,
    # and of small tables, where it then locks, or waits for, rows of other sessions. Only
    # this form of DELETE takes an index hint. sql_safe_updates refuses it, whatever its condition.
    steps_by_key = f"{STEP} FORCE INDEX (weavegraph_step_unique)"
    delete_steps = f"SET STATEMENT sql_safe_updates = 0 FOR DELETE {STEP} FROM {steps_by_key}"
    join_steps = f"STRAIGHT_JOIN {steps_by_key} WHERE session_id = %s AND step = number"
    # Following the index would fetch each row separately, which takes twice the time.
    all_steps = f"{STEP} IGNORE INDEX (weavegraph_step_unique)"
    # Multi-range reads fetch rows in the order of the table, in two thirds of the time.
    select_prefix = "SET STATEMENT optimizer_switch = 'mrr=on' FOR "
    has_row_values = False
    space_hint = (
        "MariaDB reuses the freed space inside its tables for new rows. OPTIMIZE TABLE returns "
        "it to the disk, and needs free space for a copy."
    )

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
                # Rolling back a created row could deadlock, so a missing session is not created.
                found = self.get_session(row.session_id, "FOR UPDATE")
            else:
                found = self._lock_or_create(row, owner)
            check_writable(found, row, owner, expected)
            self._insert_step(row, replace)

    def _lock_or_create(self, row: StepRow, owner: str | None) -> LockedSession | None:
        """Lock a session, created if it is missing.

        Transactions that wait in an upsert for a row that is then deleted each keep the gap
        that the others insert into. A locking read keeps no gap under READ COMMITTED; under
        stricter isolation levels it keeps one whenever it finds nothing.
        """
        if self.connection.isolation_level == READ_COMMITTED:  # type: ignore[attr-defined]
            found = self.get_session(row.session_id, "FOR UPDATE")
            if found is not None:
                return found
        returning = "RETURNING owner, last_step, status = 'empty'"
        with self.connection.cursor() as cursor:
            self.insert_session(cursor, row, owner, f"{self.on_session_conflict_lock} {returning}")
            return cursor.fetchone()  # type: ignore[no-any-return]

    def _insert_step(self, row: StepRow, replace: bool) -> None:
        """Insert a step into a locked session, or replace it.

        Without ``replace``, the error for a duplicate key is caught: an upsert that changes
        nothing would still run the trigger, and ``INSERT IGNORE`` would hide other errors.
        """
        statement = f"{_INSERT} {_REPLACE}" if replace else _INSERT
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, row.parameters(self.connection))
        except IntegrityError as error:
            if replace or error.args[0] != DUPLICATE_KEY:
                raise
            raise StepExists(row.session_id, row.step) from None

    def prepare_deletion(self, session_ids: Sequence[str]) -> None:
        """See ``Backend.prepare_deletion``.

        If a session loses its last step, the trigger looks for the step before it; if there is
        none, that read locks, or waits for, the last step of another session. No step is
        above ``last_step``, so raising it prevents the read.
        """
        self._execute_for_each(
            f"UPDATE {SESSION} SET last_step = last_step + 1 WHERE id = %s", session_ids
        )

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """See ``Backend.delete_sessions``; one by one, which never reads another row."""
        self._execute_for_each(f"DELETE FROM {SESSION} WHERE id = %s", session_ids)

    def _execute_for_each(self, statement: str, session_ids: Sequence[str]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(statement, [[session_id] for session_id in session_ids])
