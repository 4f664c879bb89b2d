"""SQLite: one writer at a time, so the write lock is the session's lock."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from weavegraph_checkpoints.backends.access import check_writable, save_condition
from weavegraph_checkpoints.backends.base import (
    NAMED_VALUES,
    SESSION,
    SESSION_COLUMNS,
    STEP,
    STEP_COLUMNS,
    STEP_VALUES,
    Backend,
    SessionRow,
)
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS, StepRow
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON CONFLICT (session_id, step) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in DATA_COLUMNS
)
_KEEP = "ON CONFLICT (session_id, step) DO NOTHING"
# Where the session may not be written to, or is missing, its id is NULL, which the table
# refuses. A SELECT with a condition does the same without an error, but SQLite keeps its
# rows in a temporary table first, as the target has a trigger.
_SAVE = (
    f"INSERT INTO {STEP} ({STEP_COLUMNS})"
    f" VALUES ((SELECT id FROM {SESSION} WHERE id = %(session_id)s{{condition}}),"
    f" {', '.join(NAMED_VALUES[1:])}) {{on_conflict}}"
)


def _is_refused_null(error: IntegrityError) -> bool:
    """Say whether a NULL was refused; a driver that does not name its errors may mean that."""
    name = getattr(error.__cause__, "sqlite_errorname", "SQLITE_CONSTRAINT_NOTNULL")
    return bool(name == "SQLITE_CONSTRAINT_NOTNULL")


class SQLiteBackend(Backend):
    """One autocommitted statement saves into a session that exists."""

    now = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
    write_lock = delete_lock = ""
    on_step_conflict = _REPLACE
    space_hint = (
        "SQLite reuses the freed pages for new rows. VACUUM returns them to the disk, and needs "
        "as much free space as the file takes."
    )
    on_session_conflict = "ON CONFLICT (id) DO NOTHING"
    has_fair_locks = False

    def json_as_stored(self, column: str) -> str:
        """See ``Backend.json_as_stored``."""
        return f"CAST({column} AS BLOB)"

    def octet_length(self, column: str) -> str:
        """See ``Backend.octet_length``."""
        return f"LENGTH(CAST({column} AS BLOB))"

    def timestamp_as_text(self, column: str) -> str:
        """See ``Backend.timestamp_as_text``."""
        return f"CAST({column} AS TEXT)"

    def is_distinct(self, left: str, right: str) -> str:
        """See ``Backend.is_distinct``."""
        return f"{left} IS NOT {right}"

    def without_index(self, column: str) -> str:
        """See ``Backend.without_index``."""
        return f"+{column}"

    def save(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool = True
    ) -> None:
        """See ``Backend.save``."""
        condition, parameters = save_condition(self.connection, row, owner, expected)
        statement = _SAVE.format(condition=condition, on_conflict=_REPLACE if replace else _KEEP)
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                is_saved = cursor.rowcount > 0
        except IntegrityError as error:
            if not _is_refused_null(error):
                raise
        else:
            if is_saved:
                return
            raise StepExists(row.session_id, row.step)
        with transaction.atomic(self.connection.alias):
            check_writable(self.lock_or_create(row, owner), row, owner, expected)
            self.write(row, replace=replace)

    def lock_or_create(self, row: StepRow, owner: str | None) -> tuple[str, int, bool]:
        """See ``Backend.lock_or_create``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                f" {self.on_session_conflict_lock}",
                [row.session_id, owner or "", row.concurrency_limit],
            )
        found = self._session(row.session_id)
        assert found is not None  # noqa: S101
        return found

    def write(self, row: StepRow, *, replace: bool = True) -> None:
        """See ``Backend.write``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES})"
                f" {_REPLACE if replace else _KEEP}",
                row.parameters(self.connection),
            )
            if cursor.rowcount == 0:
                raise StepExists(row.session_id, row.step)

    def lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """See ``Backend.lock``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {SESSION} SET revision = revision WHERE id = %s", session_ids[:1]
            )
        return super().lock(session_ids, for_delete=for_delete)
