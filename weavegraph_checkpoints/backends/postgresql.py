"""PostgreSQL: a save is one statement, whose first common table expression takes the lock."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints.backends.access import check_writable, save_condition
from weavegraph_checkpoints.backends.base import (
    INSERT_STEP,
    NAMED_PLACEHOLDERS,
    SESSION,
    STEP,
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
    f" saved AS ({INSERT_STEP} SELECT {', '.join(NAMED_PLACEHOLDERS)}"
    " FROM locked WHERE TRUE{condition} {on_conflict} RETURNING TRUE AS is_saved)"
    " SELECT owner, last_step, status = 'empty', (SELECT is_saved FROM saved) FROM locked"
)


class PostgreSQLBackend(Backend):
    """Locks with ``SELECT … FOR NO KEY UPDATE``."""

    now = "clock_timestamp()"
    write_lock = "FOR NO KEY UPDATE"
    # The lock that deleting the row takes anyway; upgrading a weaker lock could deadlock.
    delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    # A plain join may read the whole session for each step, if statistics say that it is short.
    join_steps = (
        f"CROSS JOIN LATERAL (SELECT * FROM {STEP} WHERE session_id = %s AND step = number"
        f" OFFSET 0) AS {STEP} WHERE TRUE"
    )
    has_arrays = True
    space_hint = (
        "PostgreSQL's autovacuum makes the freed space available for new rows. VACUUM FULL, "
        "which locks the table, or pg_repack returns it to the disk."
    )

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
        """Return a cursor that binds parameters on the server.

        Django's default cursor interpolates them into the SQL, which the server then has to
        parse. A cursor class that the project configured is kept, and so is that of psycopg 2.
        """
        from django.db.backends.postgresql import base

        connection = self.connection
        connection.ensure_connection()
        raw: Any = connection.connection
        server_binding = getattr(base, "ServerBindingCursor", None)
        if server_binding is None or raw.cursor_factory is not base.Cursor:
            return connection.cursor()
        raw.cursor_factory = server_binding
        try:
            return connection.cursor()
        finally:
            raw.cursor_factory = base.Cursor

    def save(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool = True
    ) -> None:
        """See ``Backend.save``; one statement if the session exists."""
        found = self._save_into_existing(row, owner, expected, replace)
        while found is None and not expected:
            with transaction.atomic(self.connection.alias):
                with self.connection.cursor() as cursor:
                    self.insert_session(cursor, row, owner, self.on_session_conflict)
                found = self._save_into_existing(row, owner, expected, replace)
                if found is not None:
                    _check_saved(found, row, owner, expected)
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


def _check_saved(
    found: tuple[Any, ...] | None, row: StepRow, owner: str | None, expected: int | None
) -> None:
    """Raise the reason why a step was not saved, if it was not."""
    *locked, is_saved = found or (None,)
    if not is_saved:
        check_writable(tuple(locked) or None, row, owner, expected)
        raise StepExists(row.session_id, row.step)
