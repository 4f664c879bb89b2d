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
    Permit,
)
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS, StepRow

_REPLACE = "ON CONFLICT (session_id, step) DO UPDATE SET " + ", ".join(
    f"{column} = EXCLUDED.{column}" for column in DATA_COLUMNS
)
_SAVE = (
    "WITH locked AS MATERIALIZED (SELECT owner, last_step, status"
    f" FROM {SESSION} WHERE id = %(session_id)s FOR NO KEY UPDATE),"
    f" saved AS (INSERT INTO {STEP} ({STEP_COLUMNS}) SELECT {', '.join(NAMED_VALUES)}"
    # A row that was there before, and is replaced, bears the number of this transaction.
    " FROM locked WHERE TRUE{guard} " + _REPLACE + " RETURNING xmax = 0 AS is_new)"
    " SELECT owner, last_step, status = 'empty', (SELECT is_new FROM saved) FROM locked"
)


class PostgreSQLBackend(Backend):
    """``SELECT … FOR NO KEY UPDATE`` locks; a missing session is inserted, and again."""

    now = "clock_timestamp()"
    write_lock = "FOR NO KEY UPDATE"
    # What the deletion of the row takes anyway: to raise a weaker lock to it later could
    # end in a deadlock.
    delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    on_session_conflict = "ON CONFLICT (id) DO NOTHING"
    takes_arrays = True
    text_cast = "::text"

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

    def save(self, row: StepRow, owner: str | None, expected: int | None) -> None:
        """See ``Backend.save``."""
        self._save(row, owner, expected)

    def put(self, row: StepRow, owner: str | None, permit: Permit | None, *, create: bool) -> bool:
        """See ``Backend.put``; one round trip for who may do both."""
        if permit is None and create:
            return self._save(row, owner, None)
        return super().put(row, owner, permit, create=create)

    def _save(self, row: StepRow, owner: str | None, expected: int | None) -> bool:
        """Save a step, and say whether it is new."""
        found = self._save_into_existing(row, owner, expected)
        while found is None and not expected:
            with transaction.atomic(self.connection.alias):
                self._create(row, owner)
                found = self._save_into_existing(row, owner, expected)
                if found is not None:
                    return self._checked(found, row, owner, expected)
        return self._checked(found, row, owner, expected)

    def _save_into_existing(
        self, row: StepRow, owner: str | None, expected: int | None
    ) -> tuple[Any, ...] | None:
        """Lock a session and save; return what was locked, and whether the step is new.

        ``None`` stands for the latter when nothing was saved.
        """
        condition, parameters = save_condition(self.connection, row, owner, expected)
        with self.cursor() as cursor:
            cursor.execute(_SAVE.format(guard=condition), parameters)
            return cursor.fetchone()  # type: ignore[no-any-return]

    def _checked(
        self,
        found: tuple[Any, ...] | None,
        row: StepRow,
        owner: str | None,
        expected: int | None,
    ) -> bool:
        *locked, is_new = (None,) if found is None else found
        if is_new is None:
            check_writable(tuple(locked) or None, row, owner, expected)
        return bool(is_new)

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

    def write(self, row: StepRow) -> None:
        """See ``Backend.write``."""
        with self.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES}) {_REPLACE}",
                row.parameters(self.connection),
            )

    def _create(self, row: StepRow, owner: str | None) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                " ON CONFLICT (id) DO NOTHING",
                [row.session_id, owner or "", row.concurrency_limit],
            )
