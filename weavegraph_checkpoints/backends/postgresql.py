"""PostgreSQL: a save is one round trip, whose first table expression takes the lock."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints.backends.access import check_writable, save_condition
from weavegraph_checkpoints.backends.base import (
    NAMED_VALUES,
    SESSION,
    SESSION_COLUMNS,
    STEP,
    STEP_COLUMNS,
    STEP_VALUES,
    Backend,
)
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS, StepRow
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON CONFLICT (session_id, step) DO UPDATE SET " + ", ".join(
    f"{column} = EXCLUDED.{column}" for column in DATA_COLUMNS
)
_KEEP = "ON CONFLICT (session_id, step) DO NOTHING"
_SAVE = (
    "WITH locked AS MATERIALIZED (SELECT owner, last_step, status"
    f" FROM {SESSION} WHERE id = %(session_id)s FOR NO KEY UPDATE),"
    f" saved AS (INSERT INTO {STEP} ({STEP_COLUMNS}) SELECT {', '.join(NAMED_VALUES)}"
    " FROM locked WHERE TRUE{condition} {on_conflict} RETURNING TRUE AS is_saved)"
    " SELECT owner, last_step, status = 'empty', (SELECT is_saved FROM saved) FROM locked"
)


class PostgreSQLBackend(Backend):
    """``SELECT … FOR NO KEY UPDATE`` locks; a missing session is inserted, and again."""

    now = "clock_timestamp()"
    write_lock = "FOR NO KEY UPDATE"
    # What the deletion of the row takes anyway: to raise a weaker lock to it later could
    # end in a deadlock.
    delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    space_hint = (
        "PostgreSQL's autovacuum makes the freed space available for new rows. VACUUM FULL, "
        "which locks the table, or pg_repack returns it to the disk."
    )
    on_session_conflict = "ON CONFLICT (id) DO NOTHING"
    takes_arrays = True

    def json_as_text(self, column: str) -> str:
        """See ``Backend.json_as_text``."""
        return f"{column}::text"

    def timestamp_as_text(self, column: str) -> str:
        """See ``Backend.timestamp_as_text``."""
        return f"{column}::text"

    def utc_date(self, column: str) -> str:
        """See ``Backend.utc_date``."""
        return f"({column} AT TIME ZONE 'UTC')::date"

    def is_distinct(self, left: str, right: str) -> str:
        """See ``Backend.is_distinct``; ``json`` has no operators, so text is compared."""
        return f"{left}::text IS DISTINCT FROM {right}::text"

    def cursor(self) -> CursorWrapper:
        """Return a cursor that sends parameters apart from the SQL.

        Django's own quotes them into it, and the server has to read all of that again. A
        cursor that the project has chosen is kept; so is that of psycopg 2.
        """
        from django.db.backends.postgresql import base

        connection = self.connection
        connection.ensure_connection()
        raw: Any = connection.connection
        apart = getattr(base, "ServerBindingCursor", None)
        if apart is None or raw.cursor_factory is not base.Cursor:
            return connection.cursor()
        raw.cursor_factory = apart
        try:
            return connection.cursor()
        finally:
            raw.cursor_factory = base.Cursor

    def save(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool = True
    ) -> None:
        """See ``Backend.save``."""
        found = self._save_into_existing(row, owner, expected, replace)
        while found is None and not expected:
            with transaction.atomic(self.connection.alias):
                self._create(row, owner)
                found = self._save_into_existing(row, owner, expected, replace)
                if found is not None:
                    _check_saved(found, row, owner, expected)
                    return
        _check_saved(found, row, owner, expected)

    def _save_into_existing(
        self, row: StepRow, owner: str | None, expected: int | None, replace: bool
    ) -> tuple[Any, ...] | None:
        """Lock a session and save a step into it, in one statement.

        Return the owner of the session, its last step, whether it was empty, and ``True``
        if the step was saved (else ``None``). Return ``None`` if the session is missing.
        """
        condition, parameters = save_condition(self.connection, row, owner, expected)
        statement = _SAVE.format(condition=condition, on_conflict=_REPLACE if replace else _KEEP)
        with self.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()  # type: ignore[no-any-return]

    def lock_or_create(self, row: StepRow, owner: str | None) -> tuple[str, int, bool]:
        """See ``Backend.lock_or_create``."""
        while True:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT owner, last_step, status = 'empty' FROM {SESSION}"
                    " WHERE id = %s FOR NO KEY UPDATE",
                    [row.session_id],
                )
                found = cursor.fetchone()
            if found is not None:
                return found  # type: ignore[no-any-return]
            self._create(row, owner)

    def write(self, row: StepRow, *, replace: bool = True) -> None:
        """See ``Backend.write``."""
        with self.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES})"
                f" {_REPLACE if replace else _KEEP}",
                row.parameters(self.connection),
            )
            if cursor.rowcount == 0:
                raise StepExists(row.session_id, row.step)

    def _create(self, row: StepRow, owner: str | None) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                " ON CONFLICT (id) DO NOTHING",
                [row.session_id, owner or "", row.concurrency_limit],
            )


def _check_saved(
    found: tuple[Any, ...] | None, row: StepRow, owner: str | None, expected: int | None
) -> None:
    """Raise the reason why a step was not saved, if it was not."""
    *locked, is_saved = found or (None,)
    if not is_saved:
        check_writable(tuple(locked) or None, row, owner, expected)
        raise StepExists(row.session_id, row.step)
