"""SQLite: only one transaction writes at a time, so the write lock locks every session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError

from weavegraph_checkpoints.backends.access import save_condition
from weavegraph_checkpoints.backends.base import (
    INSERT_STEP,
    NAMED_PLACEHOLDERS,
    SESSION,
    Attempt,
    Backend,
)
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS, LockedSession, SessionRow, StepRow
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON CONFLICT (session_id, step) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in DATA_COLUMNS
)
_KEEP = "ON CONFLICT (session_id, step) DO NOTHING"
_INSERT = f"{INSERT_STEP} VALUES ({', '.join(NAMED_PLACEHOLDERS)})"
# If the session is missing or must not be written to, its id is NULL, which the table
# refuses. INSERT … SELECT with a condition would not fail, but SQLite first copies its rows
# into a temporary table because the target has a trigger.
_SAVE = (
    f"{INSERT_STEP} VALUES ((SELECT id FROM {SESSION} WHERE id = %(session_id)s{{condition}}),"
    f" {', '.join(NAMED_PLACEHOLDERS[1:])}) {{on_conflict}}"
)


class SQLiteBackend(Backend):
    """Saves into an existing session with one statement in autocommit mode."""

    now = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
    write_lock = delete_lock = ""
    on_step_conflict = _REPLACE
    streams_rows = True
    labels_as_json = "json_group_object(label.key, label.value)"
    has_fair_locks = False
    space_hint = (
        "SQLite reuses the freed pages for new rows. VACUUM returns them to the disk, and needs "
        "as much free space as the file takes."
    )

    def json_as_stored(self, column: str) -> str:
        """See ``Backend.json_as_stored``."""
        return f"CAST({column} AS BLOB)"

    def octet_length(self, column: str) -> str:
        """See ``Backend.octet_length``."""
        return f"LENGTH(CAST({column} AS BLOB))"

    def timestamp_as_text(self, column: str) -> str:
        """See ``Backend.timestamp_as_text``."""
        return f"CAST({column} AS TEXT)"

    def to_bound(self, value: datetime, *, is_upper: bool) -> str:
        """See ``Backend.to_bound``.

        Timestamps are compared as text, and those of the trigger have three digits.
        """
        text = value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return text if is_upper else text.rstrip("0").rstrip(".")

    def is_distinct(self, left: str, right: str) -> str:
        """See ``Backend.is_distinct``."""
        return f"{left} IS NOT {right}"

    def without_index(self, column: str) -> str:
        """See ``Backend.without_index``."""
        return f"+{column}"

    def save_into_existing(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool
    ) -> Attempt:
        """See ``Backend.save_into_existing``."""
        condition, parameters = save_condition(self.connection, row, owner, expected)
        statement = _SAVE.format(condition=condition, on_conflict=_REPLACE if replace else _KEEP)
        try:
            self._insert(statement, parameters, row)
        except IntegrityError as error:
            if not _is_not_null_error(error):
                raise
            return "refused"
        return "saved"

    def insert_step(self, row: StepRow, *, replace: bool) -> None:
        """See ``Backend.insert_step``."""
        _, parameters = save_condition(self.connection, row, None, None)
        self._insert(f"{_INSERT} {_REPLACE if replace else _KEEP}", parameters, row)

    def _insert(self, statement: str, parameters: Mapping[str, Any], row: StepRow) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            if cursor.rowcount == 0:
                raise StepExists(row.session_id, row.step)

    def lock_or_create(
        self, row: StepRow, owner: str | None, expected: int | None, *, is_missing: bool
    ) -> LockedSession | None:
        """See ``Backend.lock_or_create``."""
        with self.connection.cursor() as cursor:
            self.insert_session(cursor, row, owner, self.on_session_conflict_lock)
        return self.get_session(row.session_id)

    def lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """See ``Backend.lock``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {SESSION} SET revision = revision WHERE id = %s", session_ids[:1]
            )
        return super().lock(session_ids, for_delete=for_delete)


def _is_not_null_error(error: IntegrityError) -> bool:
    """Return whether a NULL was refused; ``True`` if the driver does not name its errors."""
    name = getattr(error.__cause__, "sqlite_errorname", "SQLITE_CONSTRAINT_NOTNULL")
    return bool(name == "SQLITE_CONSTRAINT_NOTNULL")
