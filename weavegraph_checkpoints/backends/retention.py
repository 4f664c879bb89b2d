"""The statements of pruning: keyset reads, and deletes by explicit session and steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from weavegraph_checkpoints.backends.base import (
    SESSION,
    STEP,
    Backend,
    SessionRow,
    in_utc,
)
from weavegraph_checkpoints.domain.retention import RetentionPolicy

T = TypeVar("T")

PARAMETERS = 900
"""How many parameters a statement holds at the most: every SQLite takes 999."""


class StepRecord(NamedTuple):
    """A step as pruning sees it: without its state."""

    session_id: str
    step: int
    created_at: datetime
    state_bytes: int


class RetentionStatements:
    """Reads what a policy may concern, and deletes what it names. No state is read."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection

    def sessions(self, policy: RetentionPolicy, after: str, limit: int) -> list[SessionRow]:
        """Return the next sessions, by id, that a policy concerns."""
        clauses, parameters = ["id > %s"], [after]
        for column in ("status", "owner"):
            value = getattr(policy, column)
            if value is not None:
                clauses.append(f"{column} = %s")
                parameters.append(value)
        if policy.session_ids is not None:
            ids = list(islice((i for i in policy.session_ids if i > after), limit))
            if not ids:
                return []
            clauses.append(f"id IN ({_marks(ids)})")
            parameters += ids
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, owner, status, updated_at FROM {SESSION}"
                f" WHERE {' AND '.join(clauses)} ORDER BY id LIMIT %s",
                [*parameters, limit],
            )
            return [
                SessionRow(session_id, owner, status, in_utc(updated_at))
                for session_id, owner, status, updated_at in cursor.fetchall()
            ]

    def step_counts(self, session_ids: Sequence[str]) -> dict[str, int]:
        """Return how many steps each session has; those without are left out."""
        if not session_ids:
            return {}
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT session_id, COUNT(*) FROM {STEP}"
                f" WHERE session_id IN ({_marks(session_ids)}) GROUP BY session_id",
                session_ids,
            )
            return dict(cursor.fetchall())

    def steps(self, session_ids: Sequence[str]) -> list[StepRecord]:
        """Return all steps of some sessions, newest first within each."""
        return self._steps(
            f"session_id IN ({_marks(session_ids)}) ORDER BY session_id, step DESC",
            session_ids,
        )

    def steps_up_to(self, session_id: str, step: int, limit: int) -> list[StepRecord]:
        """Return steps of one session up to ``step``, newest first."""
        return self._steps(
            "session_id = %s AND step <= %s ORDER BY step DESC LIMIT %s",
            [session_id, step, limit],
        )

    def oldest_steps(self, session_ids: Sequence[str], limit: int) -> list[StepRecord]:
        """Return steps of some sessions, session by session, oldest first within each."""
        return self._steps(
            f"session_id IN ({_marks(session_ids)}) ORDER BY session_id, step LIMIT %s",
            [*session_ids, limit],
        )

    def still_there(
        self, steps: Mapping[str, Sequence[int]], before: datetime | None
    ) -> list[StepRecord]:
        """Return which of some steps are there, and were made before an instant."""
        age, ages = "", []
        if before is not None:
            age = " AND created_at < %s"
            ages = [self.connection.ops.adapt_datetimefield_value(before)]
        return [
            record
            for clause, parameters in _explicit(steps)
            for record in self._steps(
                f"({clause}){age} ORDER BY session_id, step", [*parameters, *ages]
            )
        ]

    def with_newer_steps(self, newest: Mapping[str, int], keep: int) -> set[str]:
        """Return the sessions that have ``keep`` or more steps above the one given."""
        found: set[str] = set()
        for chunk in _chunks(newest.items(), PARAMETERS // 4):
            sql = " UNION ALL ".join(
                [
                    f"SELECT id FROM {SESSION} WHERE id = %s AND EXISTS (SELECT 1 FROM {STEP}"
                    " WHERE session_id = %s AND step > %s ORDER BY step"
                    " LIMIT 1 OFFSET %s)"
                ]
                * len(chunk)
            )
            parameters = [
                value
                for session_id, step in chunk
                for value in (session_id, session_id, step, keep - 1)
            ]
            with self.connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                found.update(session_id for (session_id,) in cursor.fetchall())
        return found

    def delete_steps(self, records: Iterable[StepRecord]) -> None:
        """Delete steps, in the order given."""
        steps: dict[str, list[int]] = {}
        for record in records:
            steps.setdefault(record.session_id, []).append(record.step)
        with self.connection.cursor() as cursor:
            for clause, parameters in _explicit(steps):
                cursor.execute(f"DELETE FROM {STEP} WHERE {clause}", parameters)

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete sessions that have no steps any more."""
        if session_ids:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"DELETE FROM {SESSION} WHERE id IN ({_marks(session_ids)})", session_ids
                )

    def _steps(self, condition: str, parameters: Sequence[Any]) -> list[StepRecord]:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT session_id, step, created_at, COALESCE(state_bytes, 0) FROM {STEP}"
                f" WHERE {condition}",
                parameters,
            )
            return [
                StepRecord(session_id, step, in_utc(created_at), state_bytes)
                for session_id, step, created_at, state_bytes in cursor.fetchall()
            ]


def _explicit(
    steps: Mapping[str, Sequence[int]],
) -> Iterator[tuple[str, list[Any]]]:
    """Yield conditions, with their parameters, that name each session and its steps."""
    clauses: list[str] = []
    parameters: list[Any] = []
    for session_id, numbers in steps.items():
        for chunk in _chunks(numbers, PARAMETERS // 2):
            if len(parameters) + len(chunk) + 1 > PARAMETERS:
                yield " OR ".join(clauses), parameters
                clauses, parameters = [], []
            clauses.append(f"(session_id = %s AND step IN ({_marks(chunk)}))")
            parameters += [session_id, *chunk]
    if clauses:
        yield " OR ".join(clauses), parameters


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))
