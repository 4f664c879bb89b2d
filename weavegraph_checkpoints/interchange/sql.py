"""The statements of import and export: keyset reads, and writes in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from weavegraph_checkpoints.backends.base import (
    SESSION,
    SESSION_COLUMNS,
    STEP,
    STEP_COLUMNS,
    Backend,
    SessionRow,
    to_utc,
)
from weavegraph_checkpoints.backends.rows import COLUMNS, StepRow, timestamp_parameter

IDS_A_STATEMENT = 400
ROWS_A_STATEMENT = 64
"""Of ``COLUMNS``: within the 999 parameters of an old SQLite."""
BYTES_A_STATEMENT = 1024 * 1024
"""A larger state has a statement, and on MariaDB a packet, to itself."""

_JSON_COLUMNS = (
    "frontier",
    "versions_seen",
    "ran_nodes",
    "skipped_nodes",
    "updated_channels",
    "state",
)
_ROW = "(" + ", ".join(["%s"] * len(COLUMNS)) + ")"


class HeldStep(NamedTuple):
    """A step as it is stored, its JSON as text."""

    step: int
    created_at: datetime
    frontier: str
    versions_seen: str
    ran_nodes: str
    skipped_nodes: str
    updated_channels: str | None
    state: str


class InterchangeStatements:
    """What moves histories in and out of one connection."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection

    # Sessions

    def sessions(
        self, after: str, limit: int, ids: Sequence[str] | None, status: str | None
    ) -> list[SessionRow]:
        """Return the next sessions by id; ``ids`` and ``status`` narrow them."""
        condition, parameters = "id > %s", [after]
        if status is not None:
            condition += " AND status = %s"
            parameters.append(status)
        if ids is not None:
            ids = sorted(each for each in ids if each > after)[:limit]
            condition += f" AND {_among('id', ids)}"
            parameters += ids
        return self.backend.select_sessions(f"{condition} ORDER BY id LIMIT {limit}", parameters)

    def held_sessions(self, ids: Sequence[str], *, locked: bool = False) -> dict[str, SessionRow]:
        """Return those of some sessions that are stored, by id."""
        lock = self.backend.write_lock if locked else ""
        return {
            held.session_id: held
            for group in _groups(sorted(ids), IDS_A_STATEMENT)
            for held in self.backend.select_sessions(
                f"{_among('id', group)} ORDER BY id {lock}", group
            )
        }

    def claim(
        self, sessions: Sequence[tuple[str, int, datetime, datetime]], owner: str
    ) -> dict[str, SessionRow]:
        """Create sessions that are not there, and lock all, in the order of their ids.

        Each is an id, its concurrency limit, and the times of its creation and update.
        """
        sessions = sorted(sessions)
        rows = [
            (key, owner, limit, *(timestamp_parameter(each, self.connection) for each in times))
            for key, limit, *times in sessions
        ]
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {SESSION} ({SESSION_COLUMNS})"
                f" VALUES (%s, %s, %s, %s, %s, 0, 0, 'empty', '')"
                f" {self.backend.on_session_conflict_lock}",
                rows,
            )
        return self.held_sessions([key for key, *_ in sessions], locked=True)

    def set_times(self, times: Sequence[tuple[str, datetime, datetime]]) -> None:
        """Set when locked sessions were created and updated, whatever the trigger says."""
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {SESSION} SET created_at = %s, updated_at = %s WHERE id = %s",
                [
                    (
                        timestamp_parameter(created_at, self.connection),
                        timestamp_parameter(updated_at, self.connection),
                        session_id,
                    )
                    for session_id, created_at, updated_at in times
                ],
            )

    # Steps

    def add(self, rows: Sequence[StepRow], *, replacing: bool = False) -> None:
        """Insert steps of locked sessions in the order given."""
        suffix = f" {self.backend.on_step_conflict}" if replacing else ""
        insert = f"INSERT INTO {STEP} ({STEP_COLUMNS}) VALUES "
        with self.connection.cursor() as cursor:
            for group in _bounded(rows):
                cursor.execute(
                    f"{insert}{', '.join([_ROW] * len(group))}{suffix}",
                    [value for row in group for value in row.parameters(self.connection)],
                )

    def sizes(self, session_id: str, steps: Sequence[int]) -> dict[int, int]:
        """Return the bytes of the state of each of some steps that is stored."""
        found: dict[int, int] = {}
        octets = self.backend.octet_length("state")
        with self.connection.cursor() as cursor:
            for group in _groups(steps, IDS_A_STATEMENT):
                cursor.execute(
                    f"SELECT step, {octets} FROM {STEP}"
                    f" WHERE session_id = %s AND {_among('step', group)}",
                    [session_id, *group],
                )
                found.update(cursor.fetchall())
        return found

    def held_steps(self, session_id: str, steps: Sequence[int]) -> list[HeldStep]:
        """Return those of some steps (``IDS_A_STATEMENT`` at the most) that are stored."""
        return self._steps(f"session_id = %s AND {_among('step', steps)}", [session_id, *steps])

    def next_steps(self, session_id: str, after: int, limit: int) -> list[HeldStep]:
        """Return the steps of a session that come after one, the lowest first."""
        return self._steps(
            "session_id = %s AND step > %s ORDER BY step LIMIT %s", [session_id, after, limit]
        )

    def extent(self, ids: Sequence[str] | None, status: str | None) -> int:
        """Return how many steps the sessions have that ``sessions`` gives."""
        if ids is not None:
            return sum(self.count(session_id) for session_id in ids)
        condition, parameters = "1 = 1", []
        if status is not None:
            condition = f"session_id IN (SELECT id FROM {SESSION} WHERE status = %s)"
            parameters.append(status)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {STEP} WHERE {condition}", parameters)
            return int(cursor.fetchone()[0])

    def count(self, session_id: str) -> int:
        """Return how many steps a session has."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {STEP} WHERE session_id = %s", [session_id])
            return int(cursor.fetchone()[0])

    def _steps(self, condition: str, parameters: Sequence[Any]) -> list[HeldStep]:
        columns = ", ".join(self.backend.json_as_stored(column) for column in _JSON_COLUMNS)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT step, created_at, {columns} FROM {STEP} WHERE {condition}",
                parameters,
            )
            return [
                HeldStep(step, to_utc(created_at), *map(_text, documents))
                for step, created_at, *documents in cursor.fetchall()
            ]


def _text(document: Any) -> Any:
    """Return a document as text; bytes that are not UTF-8 make text that JSON refuses."""
    if isinstance(document, bytes):
        return document.decode(errors="surrogateescape")
    return document


def _among(column: str, values: Sequence[Any]) -> str:
    """Return the condition that a column is one of some values."""
    return f"{column} IN ({', '.join(['%s'] * len(values))})" if values else "1 = 0"


def _groups(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _bounded(rows: Sequence[StepRow]) -> Iterator[list[StepRow]]:
    group: list[StepRow] = []
    size = 0
    for row in rows:
        if group and (len(group) == ROWS_A_STATEMENT or size + row.state_bytes > BYTES_A_STATEMENT):
            yield group
            group, size = [], 0
        group.append(row)
        size += row.state_bytes
    if group:
        yield group
