"""PostgreSQL: a save is one statement, whose first common table expression takes the lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints.backends.access import check_writable, save_condition
from weavegraph_checkpoints.backends.base import (
    INSERT_STEP,
    NAMED_PLACEHOLDERS,
    SESSION,
    STEP,
    Attempt,
    Backend,
)
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    DATA_COLUMNS,
    LOCKED_SESSION,
    LockedSession,
    StepRow,
    placeholders,
)
from weavegraph_checkpoints.backends.updates import StateUpdate
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON CONFLICT (session_id, step) DO UPDATE SET " + ", ".join(
    f"{column} = EXCLUDED.{column}" for column in DATA_COLUMNS
)
_KEEP = "ON CONFLICT (session_id, step) DO NOTHING"
_SAVE = (
    "WITH locked AS MATERIALIZED (SELECT owner, last_step, status, last_base_id"
    f" FROM {SESSION} WHERE id = %(session_id)s FOR NO KEY UPDATE),"
    f" saved AS ({INSERT_STEP} SELECT {', '.join(NAMED_PLACEHOLDERS)}"
    " FROM locked WHERE TRUE{condition} {on_conflict} RETURNING TRUE AS is_saved)"
    f" SELECT {LOCKED_SESSION}, (SELECT is_saved FROM saved) FROM locked"
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

    def utc_as_text(self, column: str) -> str:
        """See ``Backend.utc_as_text``."""
        return f"({column} AT TIME ZONE 'UTC')::text"

    def from_utc_text(self, text: str) -> str:
        """See ``Backend.from_utc_text``."""
        return f"{text}+00"

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

    def save_into_existing(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool
    ) -> Attempt:
        """See ``Backend.save_into_existing``."""
        condition, parameters = save_condition(self.connection, row, owner, expected)
        statement = _SAVE.format(condition=condition, on_conflict=_REPLACE if replace else _KEEP)
        found = self.fetch_one(statement, parameters)
        if found is None:
            check_writable(None, row, owner, expected)
            return "no session"
        *columns, is_saved = found
        if is_saved:
            return "saved"
        locked = LockedSession(*columns)
        check_writable(locked, row, owner, expected)
        if row.base_id not in (None, locked.last_base_id):
            return "refused"
        raise StepExists(row.session_id, row.step)

    def lock_or_create(
        self, row: StepRow, owner: str | None, expected: int | None, *, is_missing: bool
    ) -> LockedSession | None:
        """See ``Backend.lock_or_create``."""
        found = None if is_missing else self.get_session(row.session_id, self.write_lock)
        while found is None and not expected:
            with self.connection.cursor() as cursor:
                self.insert_session(cursor, row, owner, self.on_session_conflict)
                if cursor.rowcount > 0:
                    return LockedSession(owner or "", 0, True, None)
            found = self.get_session(row.session_id, self.write_lock)
        return found

    def insert_step(self, row: StepRow, *, replace: bool) -> None:
        """See ``Backend.insert_step``."""
        with self.cursor() as cursor:
            cursor.execute(
                f"{INSERT_STEP} VALUES ({placeholders(COLUMNS)}) {_REPLACE if replace else _KEEP}",
                row.parameters(self.connection),
            )
            if cursor.rowcount == 0:
                raise StepExists(row.session_id, row.step)

    def update_states(self, session_id: str, updates: Sequence[StateUpdate]) -> None:
        """See ``Backend.update_states``.

        After each statement the trigger writes another version of the session row, so all steps
        are updated by one.
        """
        if not updates:
            return
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {STEP} SET base_id = changed.base_id, state_bytes = changed.state_bytes,"
                " state = changed.state::json FROM unnest(%s::bigint[], %s::bigint[],"
                " %s::bigint[], %s::text[]) AS changed (step, base_id, state_bytes, state)"
                f" WHERE {STEP}.session_id = %s AND {STEP}.step = changed.step",
                [*map(list, zip(*updates, strict=True)), session_id],
            )
