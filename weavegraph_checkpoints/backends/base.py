"""The statements that every database shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NoReturn

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints import related
from weavegraph_checkpoints.backends.access import owner_condition
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    DATA_COLUMNS,
    LockedSession,
    SessionRow,
    StepKey,
    StepRow,
    Version,
    placeholders,
)
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.exceptions import SessionExists, SessionNotFound
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.serde import checkpoint_from_columns

SESSION = Session._meta.db_table
STEP = Step._meta.db_table

INSERT_SESSION = (
    f"INSERT INTO {SESSION} (id, owner, concurrency_limit, created_at, updated_at,"
    " last_step, revision, status, forked_from)"
)
INSERT_STEP = f"INSERT INTO {STEP} ({', '.join(COLUMNS)})"
NAMED_PLACEHOLDERS = [f"%({column})s" for column in COLUMNS]

_NEWEST_STEP_ID = f"(SELECT id FROM {STEP} WHERE session_id = {SESSION}.id AND step = last_step)"


class Backend(ABC):
    """The statements of the service on one connection.

    Every writing transaction locks its session row before it reads or writes anything
    else, and every statement names its session.
    """

    now: str
    """The current time in UTC, in the format of the database's columns."""
    on_session_conflict = "ON CONFLICT (id) DO NOTHING"
    """Suffix of an INSERT of a session; the row count is 1 only if the session is new."""
    on_session_conflict_lock = f"ON CONFLICT (id) DO UPDATE SET revision = {SESSION}.revision"
    """Suffix of an INSERT of a session that locks an existing one and does not change it."""
    on_step_conflict: str
    """Suffix of an INSERT of a step that replaces all columns of an existing one."""
    write_lock: str
    """Suffix of a SELECT that locks sessions to write or delete steps."""
    delete_lock: str
    """Suffix of a SELECT that locks sessions to delete them."""
    steps_by_key = STEP
    """The table of steps in a SELECT by session and step number."""
    all_steps = STEP
    """The table of steps in a SELECT of all of them."""
    join_steps = f"CROSS JOIN {STEP} WHERE session_id = %s AND step = number"
    """A join that looks up each step by its key, after a FROM with the column ``number``."""
    streams_rows = False
    """Whether the driver reads a row only when it is asked for."""
    select_prefix = ""
    """Prefix of a SELECT that finds many rows by an index, in any order."""
    delete_steps = f"DELETE FROM {STEP}"
    """Start of a DELETE of steps by session, or by session and step number."""
    has_arrays = False
    """Whether a parameter may be an array. Such a database has DELETE … RETURNING too."""
    has_row_values = True
    """Whether an index serves ``(session_id, step) > (%s, %s)``."""
    space_hint: str
    """How to return the space of deleted rows to the disk."""
    has_fair_locks = True
    """Whether transactions get a lock in the order in which they asked for it."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def cursor(self) -> CursorWrapper:
        """Return a cursor for statements that carry states or run most often."""
        return self.connection.cursor()

    def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query, and return all its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _fetch_one(self, sql: str, parameters: Sequence[Any]) -> Any:
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()

    # Expressions

    def json_as_text(self, column: str) -> str:
        """Return a JSON column as text."""
        return column

    def json_as_stored(self, column: str) -> str:
        """Return a JSON column as text, or as bytes where the database allows bad UTF-8."""
        return self.json_as_text(column)

    def octet_length(self, column: str) -> str:
        """Return the number of bytes of a JSON column, as UTF-8."""
        return f"OCTET_LENGTH({self.json_as_text(column)})"

    @abstractmethod
    def timestamp_as_text(self, column: str) -> str:
        """Return a timestamp as text that the database reads back exactly."""

    def utc_date(self, column: str) -> str:
        """Return the date of a timestamp, in UTC."""
        return f"DATE({column})"

    @abstractmethod
    def is_distinct(self, left: str, right: str) -> str:
        """Return the condition that two columns differ; two NULLs do not differ."""

    def without_index(self, column: str) -> str:
        """Return a column for a condition that no index may serve."""
        return column

    def compare_key(self, operator: str, key: StepKey) -> tuple[str, list[Any]]:
        """Return the condition that a step is ``>`` or ``<=`` a key, and its parameters."""
        session_id, step = key
        if self.has_row_values:
            return f"(session_id, step) {operator} (%s, %s)", [session_id, step]
        return (
            f"(session_id {operator[0]} %s OR (session_id = %s AND step {operator} %s))",
            [session_id, session_id, step],
        )

    # Writes

    @abstractmethod
    def save(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool = True
    ) -> None:
        """Save a step, and its session if that is new, in one transaction.

        With ``expected``, save only if that is the last step. Raise ``SessionNotFound``
        for a session of another owner, ``ConcurrencyConflict`` for another last step, and
        without ``replace`` ``StepExists`` for a step that exists.
        """

    def insert_session(
        self, cursor: CursorWrapper, row: StepRow, owner: str | None, suffix: str
    ) -> None:
        """Insert the session of a step that is about to be saved."""
        cursor.execute(
            f"{INSERT_SESSION}"
            f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '') {suffix}",
            [row.session_id, owner or "", row.concurrency_limit],
        )

    def lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """Lock sessions by ascending id, and return those that exist."""
        lock = self.delete_lock if for_delete else self.write_lock
        return self.select_sessions(
            f"id IN ({placeholders(session_ids)}) ORDER BY id {lock}", session_ids
        )

    def delete(self, session_id: str, owner: str | None) -> bool:
        """Delete a session with its steps. Return whether it existed."""
        with transaction.atomic(self.connection.alias):
            locked = self.lock([session_id], for_delete=True)
            if not locked or owner not in (None, locked[0].owner):
                return False
            deletion = related.deletion([session_id], self.connection.alias)
            with deletion, self.connection.cursor() as cursor:
                cursor.execute(f"{self.delete_steps} WHERE session_id = %s", [session_id])
                cursor.execute(f"DELETE FROM {SESSION} WHERE id = %s", [session_id])
        return True

    def prepare_deletion(self, session_ids: Sequence[str]) -> None:  # noqa: B027
        """Prepare locked sessions right before their last steps and rows are deleted."""

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete locked sessions whose steps are deleted already."""
        ids = placeholders(session_ids)
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {SESSION} WHERE id IN ({ids})", session_ids)

    def fork(self, source: str, target: str, at_step: int, owner: str | None) -> None:
        """Copy the steps of ``source`` up to ``at_step`` into a new session.

        Raise ``SessionExists`` or ``SessionNotFound``.
        """
        condition, parameters = owner_condition(owner)
        data = ", ".join(DATA_COLUMNS)
        with transaction.atomic(self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute(
                f"{INSERT_SESSION} SELECT %s, owner, concurrency_limit, {self.now}, {self.now},"
                f" 0, 0, 'empty', id FROM {SESSION} AS origin WHERE id = %s{condition}"
                f" AND EXISTS (SELECT 1 FROM {STEP} WHERE session_id = %s AND step <= %s)"
                f" {self.on_session_conflict}",
                [target, source, *parameters, source, at_step],
            )
            if cursor.rowcount != 1:
                self._refuse_fork(source, target, at_step, owner)
            cursor.execute(
                f"INSERT INTO {STEP} (session_id, step, {data}) SELECT %s, step, {data}"
                f" FROM {STEP} WHERE session_id = %s AND step <= %s ORDER BY step DESC",
                [target, source, at_step],
            )
            if cursor.rowcount == 0:
                raise SessionNotFound(source, "has no step to fork")
            cursor.execute(
                f"UPDATE {SESSION} SET forked_at_step = last_step WHERE id = %s", [target]
            )

    def _refuse_fork(self, source: str, target: str, at_step: int, owner: str | None) -> NoReturn:
        origin = self.get_session(source)
        if origin is None or owner not in (None, origin[0]):
            raise SessionNotFound(source)
        if not self.fetch_all(
            f"SELECT 1 FROM {STEP} WHERE session_id = %s AND step <= %s LIMIT 1",
            [source, at_step],
        ):
            raise SessionNotFound(source, "has no step to fork")
        existing = self.get_session(target)
        if existing is not None and owner not in (None, existing[0]):
            raise SessionNotFound(target)
        raise SessionExists(target)

    # Reads

    def get_session(self, session_id: str, lock: str = "") -> LockedSession | None:
        """Return the owner and the last step of a session, and whether it has no steps."""
        rows = self.fetch_all(
            f"SELECT owner, last_step, status = 'empty' FROM {SESSION} WHERE id = %s {lock}",
            [session_id],
        )
        return rows[0] if rows else None

    def select_sessions(self, condition: str, parameters: Sequence[Any]) -> list[SessionRow]:
        """Return the sessions that match an SQL condition, which may end in an ORDER BY."""
        rows = self.fetch_all(
            "SELECT id, owner, status, concurrency_limit, created_at, updated_at, last_step"
            f" FROM {SESSION} WHERE {condition}",
            parameters,
        )
        return [SessionRow.from_db(*row) for row in rows]

    def latest(
        self, session_id: str, owner: str | None, *, with_step_id: bool = False
    ) -> tuple[Checkpoint, Version] | None:
        """Return the snapshot and version of a session, without the id from the row alone."""
        condition, parameters = owner_condition(owner)
        row = self._fetch_one(
            "SELECT created_at, revision, updated_at, last_step, concurrency_limit,"
            f" {self.json_as_text('last_state')}, {self.json_as_text('last_frontier')},"
            f" {self.json_as_text('last_versions_seen')},"
            f" {_NEWEST_STEP_ID if with_step_id else 'NULL'} FROM {SESSION}"
            f" WHERE id = %s AND last_state IS NOT NULL{condition}",
            [session_id, *parameters],
        )
        if row is None:
            return None
        created_at, revision, updated_at, last_step, *columns, step_id = row
        version = Version.from_db(created_at, revision, updated_at, step_id)
        return checkpoint_from_columns(session_id, last_step, version.updated_at, *columns), version

    def version(self, session_id: str, owner: str | None) -> Version | None:
        """Return the version of a session's snapshot, without reading the snapshot."""
        condition, parameters = owner_condition(owner)
        row = self._fetch_one(
            f"SELECT created_at, revision, updated_at, {_NEWEST_STEP_ID} FROM {SESSION}"
            f" WHERE id = %s AND status <> 'empty'{condition}",
            [session_id, *parameters],
        )
        return None if row is None else Version.from_db(*row)

    def session_ids(self, owner: str | None) -> list[str]:
        """Return the ids of all sessions, most recently updated first, ties by id."""
        condition, parameters = owner_condition(owner)
        rows = self.fetch_all(
            f"SELECT id FROM {SESSION} WHERE 1 = 1{condition} ORDER BY updated_at DESC, id",
            parameters,
        )
        return [session_id for (session_id,) in rows]
