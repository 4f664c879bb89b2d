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

_REPLACE = "ON CONFLICT (session_id, step) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in DATA_COLUMNS
)
# Where the session may not be written to, or is missing, its id is NULL, which the table
# refuses. A SELECT with a condition does the same without an error, but SQLite keeps its
# rows in a temporary table first, as the target has a trigger.
_SAVE = (
    f"INSERT INTO {STEP} ({STEP_COLUMNS})"
    f" VALUES ((SELECT id FROM {SESSION} WHERE id = %(session_id)s{{guard}}),"
    f" {', '.join(NAMED_VALUES[1:])}) {_REPLACE}"
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
    on_session_conflict = "ON CONFLICT (id) DO NOTHING"

    def save(self, row: StepRow, owner: str | None, expected: int | None) -> None:
        """See ``Backend.save``."""
        condition, parameters = save_condition(self.connection, row, owner, expected)
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(_SAVE.format(guard=condition), parameters)
            return
        except IntegrityError as error:
            if not _is_refused_null(error):
                raise
        with transaction.atomic(self.connection.alias):
            check_writable(self.lock_or_create(row, owner), row, owner, expected)
            self.write(row)

    def lock_or_create(self, row: StepRow, owner: str | None) -> tuple[str, int, bool]:
        """See ``Backend.lock_or_create``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '')"
                " ON CONFLICT (id) DO UPDATE SET revision = revision",
                [row.session_id, owner or "", row.concurrency_limit],
            )
        found = self._session(row.session_id)
        assert found is not None  # noqa: S101
        return found

    def write(self, row: StepRow) -> None:
        """See ``Backend.write``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES ({STEP_VALUES}) {_REPLACE}",
                row.parameters(self.connection),
            )

    def lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """See ``Backend.lock``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {SESSION} SET revision = revision WHERE id = %s", session_ids[:1]
            )
        return super().lock(session_ids, for_delete=for_delete)
