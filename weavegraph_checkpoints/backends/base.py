"""What every database shares: the reads, and the frame of each write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints.backends.access import owner_condition
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    DATA_COLUMNS,
    StepRow,
    Version,
    from_db_timestamp,
)
from weavegraph_checkpoints.domain import Checkpoint, StepQuery, VersionedState
from weavegraph_checkpoints.exceptions import SessionExists, SessionNotFound
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.querysets import contains_node
from weavegraph_checkpoints.serde import checkpoint_from_columns

StepKey = tuple[str, int]
"""A session id and a step number: the order in which all steps are walked."""

SESSION = Session._meta.db_table
STEP = Step._meta.db_table

STEP_COLUMNS = ", ".join(COLUMNS)
STEP_VALUES = ", ".join(["%s"] * len(COLUMNS))
NAMED_VALUES = [f"%({column})s" for column in COLUMNS]
SESSION_COLUMNS = (
    "id, owner, concurrency_limit, created_at, updated_at, last_step, revision, status, forked_from"
)

# Stands in for the state where it is not wanted.
_NO_STATE = VersionedState()

_JSON_COLUMNS = (
    "frontier",
    "versions_seen",
    "ran_nodes",
    "skipped_nodes",
    "updated_channels",
)


class SessionRow(NamedTuple):
    """A stored session without its snapshot; its timestamps are in UTC."""

    session_id: str
    owner: str
    status: str
    concurrency_limit: int
    created_at: datetime
    updated_at: datetime
    last_step: int

    @property
    def newest_step(self) -> int | None:
        """The number of its newest step, or ``None`` if it has no steps."""
        return None if self.status == "empty" else self.last_step


class Backend(ABC):
    """The statements of the service on one connection.

    Every writing transaction locks its session row before it reads or writes anything
    else, and every statement names its session.
    """

    now: str
    """The present instant in UTC, as the database's columns hold it."""
    on_session_conflict: str
    """Ends an INSERT of a session so that an existing one counts other than as 1 row."""
    on_step_conflict: str
    """Ends an INSERT of a step so that an existing step is replaced whole."""
    write_lock: str
    """Ends a SELECT of sessions that are about to get or lose steps."""
    delete_lock: str
    """Ends a SELECT of sessions that are about to be deleted."""
    steps_by_number = STEP
    """The table of steps in a SELECT of some by their session and numbers."""
    all_steps = STEP
    """The table of steps in a SELECT that reads all of them."""
    select_prefix = ""
    """Begins a SELECT that finds many rows by an index, in whatever order."""
    delete_steps = f"DELETE FROM {STEP}"
    """Begins a DELETE of steps by their sessions, and maybe their numbers."""
    takes_arrays = False
    """Whether a parameter may be an array, and a DELETE may return its rows."""
    has_row_values = True
    """Whether an index serves ``(session_id, step) > (%s, %s)``."""
    space_hint: str
    """How to return the space of deleted rows to the disk."""
    has_fair_locks = True
    """Whether a writer that waits for a lock gets it before one that asks later."""
    on_session_conflict_lock = f"ON CONFLICT (id) DO UPDATE SET revision = {SESSION}.revision"
    """Ends an INSERT of a session so that an existing one is locked, and kept as it is."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def cursor(self) -> CursorWrapper:
        """Return a cursor for what carries states, or is asked most often."""
        return self.connection.cursor()

    def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query, and return all its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

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
        """Return the condition that two columns differ; two that are NULL do not."""

    def without_index(self, column: str) -> str:
        """Return a column in a condition that the planner must not serve by an index."""
        return column

    def after_key(self, key: StepKey) -> tuple[str, list[Any]]:
        """Return the condition, and its parameters, that a step comes after ``key``."""
        return self._compare_key(">", ">", key)

    def up_to_key(self, key: StepKey) -> tuple[str, list[Any]]:
        """Return the condition, and its parameters, that a step is at or before ``key``."""
        return self._compare_key("<", "<=", key)

    def _compare_key(self, strict: str, operator: str, key: StepKey) -> tuple[str, list[Any]]:
        session_id, step = key
        if self.has_row_values:
            return f"(session_id, step) {operator} (%s, %s)", [session_id, step]
        return (
            f"(session_id {strict} %s OR (session_id = %s AND step {operator} %s))",
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

    @abstractmethod
    def lock_or_create(self, row: StepRow, owner: str | None) -> tuple[str, int, bool]:
        """Lock the session of a step, new or not, inside the caller's transaction.

        Returns its owner, its last step and whether it is empty.
        """

    @abstractmethod
    def write(self, row: StepRow, *, replace: bool = True) -> None:
        """Insert a step into a locked session, or replace it.

        Without ``replace``, raise ``StepExists`` for a step that exists.
        """

    def lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """Lock sessions in the order of their ids, and return those that are there."""
        placeholders = ", ".join(["%s"] * len(session_ids))
        lock = self.delete_lock if for_delete else self.write_lock
        return self.select_sessions(f"id IN ({placeholders}) ORDER BY id {lock}", session_ids)

    def delete(self, session_id: str, owner: str | None) -> bool:
        """Delete a session with its steps; say whether it was there."""
        with transaction.atomic(self.connection.alias):
            locked = self.lock([session_id], for_delete=True)
            if not locked or owner not in (None, locked[0].owner):
                return False
            with self.connection.cursor() as cursor:
                cursor.execute(f"{self.delete_steps} WHERE session_id = %s", [session_id])
                cursor.execute(f"DELETE FROM {SESSION} WHERE id = %s", [session_id])
        return True

    def before_removal(self, session_ids: Sequence[str]) -> None:  # noqa: B027
        """Prepare locked sessions for the loss of all their steps and their own rows.

        In the transaction that deletes them, right before their last steps go.
        """

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete locked sessions that have no steps any more."""
        marks = ", ".join(["%s"] * len(session_ids))
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {SESSION} WHERE id IN ({marks})", session_ids)

    def fork(self, source: str, target: str, at_step: int, owner: str | None) -> None:
        """Copy the steps of ``source`` up to ``at_step`` into a new session.

        Raises ``SessionExists`` and ``SessionNotFound``.
        """
        with transaction.atomic(self.connection.alias):
            if not self._create_fork(source, target, at_step, owner):
                self._refuse_fork(source, target, at_step, owner)
            data = ", ".join(DATA_COLUMNS)
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {STEP} (session_id, step, {data})"
                    f" SELECT %s, step, {data} FROM {STEP}"
                    " WHERE session_id = %s AND step <= %s ORDER BY step DESC",
                    [target, source, at_step],
                )
                if cursor.rowcount == 0:
                    raise SessionNotFound(source, "has no step to fork")
                cursor.execute(
                    f"UPDATE {SESSION} SET forked_at_step = last_step WHERE id = %s",
                    [target],
                )

    def _create_fork(self, source: str, target: str, at_step: int, owner: str | None) -> bool:
        condition, parameters = owner_condition(owner)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" SELECT %s, owner, concurrency_limit, {self.now}, {self.now}, 0, 0,"
                f" 'empty', id FROM {SESSION} AS origin WHERE id = %s{condition}"
                f" AND EXISTS (SELECT 1 FROM {STEP} WHERE session_id = %s AND step <= %s)"
                f" {self.on_session_conflict}",
                [target, source, *parameters, source, at_step],
            )
            return bool(cursor.rowcount == 1)

    def _refuse_fork(self, source: str, target: str, at_step: int, owner: str | None) -> None:
        found = self._session(source)
        if found is None or owner not in (None, found[0]):
            raise SessionNotFound(source)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {STEP} WHERE session_id = %s AND step <= %s LIMIT 1",
                [source, at_step],
            )
            if cursor.fetchone() is None:
                raise SessionNotFound(source, "has no step to fork")
        taken = self._session(target)
        if taken is not None and owner not in (None, taken[0]):
            raise SessionNotFound(target)
        raise SessionExists(target)

    def _session(self, session_id: str) -> tuple[str, int, bool] | None:
        """Return the owner and last step of a session, and whether it is empty."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT owner, last_step, status = 'empty' FROM {SESSION} WHERE id = %s",
                [session_id],
            )
            return cursor.fetchone()  # type: ignore[no-any-return]

    # Reads

    def select_sessions(self, condition: str, parameters: Sequence[Any]) -> list[SessionRow]:
        """Return the sessions that match an SQL condition, which may end in an ORDER BY."""
        rows = self.fetch_all(
            "SELECT id, owner, status, concurrency_limit, created_at, updated_at, last_step"
            f" FROM {SESSION} WHERE {condition}",
            parameters,
        )
        return [
            SessionRow(*row)._replace(
                created_at=from_db_timestamp(row[4]), updated_at=from_db_timestamp(row[5])
            )
            for row in rows
        ]

    def latest(self, session_id: str, owner: str | None) -> tuple[Checkpoint, Version] | None:
        """Return the snapshot of a session and its version, from its row alone."""
        condition, parameters = owner_condition(owner)
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT last_step, updated_at, concurrency_limit,"
                f" {self.json_as_text('last_state')}, {self.json_as_text('last_frontier')},"
                f" {self.json_as_text('last_versions_seen')}, created_at, revision FROM {SESSION}"
                f" WHERE id = %s AND last_state IS NOT NULL{condition}",
                [session_id, *parameters],
            )
            row = cursor.fetchone()
        if row is None:
            return None
        *snapshot, created_at, revision = row
        version = _version(created_at, revision, snapshot[1])
        return self._checkpoint(session_id, tuple(snapshot)), version

    def version(self, session_id: str, owner: str | None) -> Version | None:
        """Return the version that ``latest`` would, from small columns."""
        condition, parameters = owner_condition(owner)
        with self.cursor() as cursor:
            cursor.execute(
                f"SELECT created_at, revision, updated_at FROM {SESSION}"
                f" WHERE id = %s AND status <> 'empty'{condition}",
                [session_id, *parameters],
            )
            row = cursor.fetchone()
        return None if row is None else _version(*row)

    def session_ids(self, owner: str | None) -> list[str]:
        """Return the ids of all sessions, the last updated first, ties by id."""
        condition, parameters = owner_condition(owner)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {SESSION} WHERE 1 = 1{condition} ORDER BY updated_at DESC, id",
                parameters,
            )
            return [session_id for (session_id,) in cursor]

    def step(self, session_id: str, step: int, owner: str | None) -> Checkpoint | None:
        """Return one step of a session."""
        condition, parameters = self._steps_of(session_id, owner)
        rows = self._checkpoints(session_id, f"{condition} AND step = %s", [*parameters, step])
        return next(rows, None)

    def page(
        self, session_id: str, query: StepQuery, owner: str | None, *, with_state: bool = True
    ) -> tuple[int, tuple[Checkpoint, ...]]:
        """Return how many steps match, and those of the page, newest first.

        Without the state, none is read, and each checkpoint holds an empty one.
        """
        condition, parameters = self._steps_of(session_id, owner)
        for clause, value in self._filters(query):
            condition += f" AND {clause}"
            parameters.append(value)
        with self.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {STEP} WHERE {condition}", parameters)
            (total,) = cursor.fetchone()
        rows = self._checkpoints(
            session_id,
            f"{condition} ORDER BY step DESC LIMIT %s OFFSET %s",
            [*parameters, query.page_limit, query.offset or 0],
            with_state=with_state,
        )
        return total, tuple(rows)

    def _steps_of(self, session_id: str, owner: str | None) -> tuple[str, list[Any]]:
        if owner is None:
            return "session_id = %s", [session_id]
        visible = f"EXISTS (SELECT 1 FROM {SESSION} WHERE id = %s AND owner = %s)"
        return f"session_id = %s AND {visible}", [session_id, session_id, owner]

    def _filters(self, query: StepQuery) -> Iterator[tuple[str, Any]]:
        if query.min_step is not None:
            yield "step >= %s", query.min_step
        if query.max_step is not None:
            yield "step <= %s", query.max_step
        for column in ("ran_node", "skipped_node"):
            node = getattr(query, column)
            if node is not None:
                yield contains_node(self.connection.vendor, f"{column}s", node)

    def _checkpoints(
        self, session_id: str, condition: str, parameters: list[Any], *, with_state: bool = True
    ) -> Iterator[Checkpoint]:
        first = self.json_as_text("state") if with_state else "NULL"
        names = ", ".join([first, *map(self.json_as_text, _JSON_COLUMNS)])
        with self.cursor() as cursor:
            cursor.execute(
                f"SELECT step, {STEP}.created_at,"
                f" (SELECT concurrency_limit FROM {SESSION} WHERE id = %s), {names}"
                f" FROM {STEP} WHERE {condition}",
                [session_id, *parameters],
            )
            for step, created_at, limit, state, *columns in cursor:
                yield self._checkpoint(
                    session_id,
                    (step, created_at, limit, state if with_state else _NO_STATE, *columns),
                )

    def _checkpoint(self, session_id: str, row: tuple[Any, ...]) -> Checkpoint:
        step, created_at, concurrency_limit, *columns = row
        return checkpoint_from_columns(
            session_id, step, from_db_timestamp(created_at), concurrency_limit, *columns
        )


def _version(created_at: datetime, revision: int, updated_at: datetime) -> Version:
    return Version(
        created_at=from_db_timestamp(created_at),
        revision=revision,
        updated_at=from_db_timestamp(updated_at),
    )
