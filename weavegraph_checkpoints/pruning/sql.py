"""The statements of pruning: keyset reads, and deletes by explicit session and steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from weavegraph_checkpoints.backends.base import (
    SESSION,
    Backend,
    SessionRow,
)
from weavegraph_checkpoints.backends.batching import batched, batched_by_weight
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.domain.losses import SessionLoss
from weavegraph_checkpoints.domain.retention import RetentionPolicy

PARAMETERS = 900
"""How many parameters a statement holds at the most: every SQLite takes 999."""


STEPS_A_READ = 5000

_RECORD = "session_id, step, COALESCE(state_bytes, 0)"


class StepRecord(NamedTuple):
    """A step that goes."""

    session_id: str
    step: int
    state_bytes: int


class Tail(NamedTuple):
    """The steps of a session but for its newest ones."""

    keep: int
    """How many newest ones are not meant; 0 or more."""
    before: datetime | None
    """Only steps that were made before this instant are meant."""


class RetentionStatements:
    """Reads what a policy may concern, and deletes what it names. No state is read."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection
        self.steps = backend.steps_by_number

    def sessions(self, policy: RetentionPolicy | None, after: str, limit: int) -> list[SessionRow]:
        """Return the next sessions, by id, that a policy concerns; all without a policy."""
        narrowing = "id > %s"
        parameters = [after]
        for column in ("status", "owner"):
            value = getattr(policy, column, None)
            if value is not None:
                # SQLite would sort all rows that an index on the column finds, for each page.
                narrowing += f" AND {self.backend.without_index(column)} = %s"
                parameters.append(value)
        if policy is None or policy.session_ids is None:
            return self._sessions(narrowing, parameters, limit)
        later = (session_id for session_id in policy.session_ids if session_id > after)
        for ids in batched(later, limit):
            found = self._sessions(
                f"{narrowing} AND id IN ({_marks(ids)})", [*parameters, *ids], limit
            )
            if found:
                return found
        return []

    def _sessions(self, condition: str, parameters: Sequence[str], limit: int) -> list[SessionRow]:
        return self.backend.select_sessions(
            f"{condition} ORDER BY id LIMIT %s", [*parameters, limit]
        )

    def step_counts(self, session_ids: Sequence[str]) -> dict[str, int]:
        """Return how many steps each session has; those without are left out."""
        if not session_ids:
            return {}
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT session_id, COUNT(*) FROM {self.steps}"
                f" WHERE session_id IN ({_marks(session_ids)}) GROUP BY session_id",
                session_ids,
            )
            return dict(cursor.fetchall())

    def histories(
        self, counts: Mapping[str, int], ages: Sequence[datetime | None]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the steps of some sessions, newest first within each, in bounded reads.

        ``counts`` tells how many steps each session has. A step comes as its session, its
        number, its ``state_bytes``, and for each of ``ages`` whether it was made before
        that instant (true for ``None``).
        """
        for group in batched_by_weight(sorted(counts), counts.__getitem__, STEPS_A_READ):
            if len(group) > 1 or counts[group[0]] <= STEPS_A_READ:
                yield from self._history(
                    ages,
                    f"session_id IN ({_marks(group)}) ORDER BY session_id, step DESC",
                    group,
                )
                continue
            newest = MAX_STEP
            while rows := self._history(
                ages,
                "session_id = %s AND step <= %s ORDER BY step DESC LIMIT %s",
                [group[0], newest, STEPS_A_READ],
            ):
                yield from rows
                newest = rows[-1][1] - 1

    def _history(
        self, ages: Sequence[datetime | None], condition: str, parameters: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        asked = [self._is_old(age) for age in ages]
        columns = ", ".join([_RECORD, *(is_old for is_old, _ in asked)])
        instants = [instant for _, instants in asked for instant in instants]
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM {self.steps} WHERE {condition}", [*instants, *parameters]
            )
            return cursor.fetchall()  # type: ignore[no-any-return]

    def losses(
        self, tails: Mapping[str, Tail], counts: Mapping[str, int]
    ) -> Iterator[list[SessionLoss]]:
        """Count the steps of each tail inside the database, in bounded reads.

        ``counts`` tells how many steps each session has. Yields what each read has counted:
        a long session comes in several, one without such steps not at all.
        """
        for group in batched_by_weight(sorted(tails), counts.__getitem__, STEPS_A_READ):
            if len(group) == 1 and counts[group[0]] > STEPS_A_READ:
                yield from self._losses_of_one(group[0], tails[group[0]])
                continue
            for chunk in batched(group, PARAMETERS // 4):
                yield self._losses({key: tails[key] for key in chunk})

    def _losses(self, tails: Mapping[str, Tail]) -> list[SessionLoss]:
        statements: list[str] = []
        parameters: list[Any] = []
        for session_id, (keep, before) in tails.items():
            is_old, ages = self._is_old(before)
            statements.append(
                f"SELECT MAX(session_id), COUNT(*), SUM(COALESCE(state_bytes, 0)) FROM {self.steps}"
                f" WHERE session_id = %s AND step <= (SELECT step FROM {self.steps}"
                f" WHERE session_id = %s ORDER BY step DESC LIMIT 1 OFFSET %s) AND {is_old}"
                " HAVING COUNT(*) > 0"
            )
            parameters += [session_id, session_id, keep, *ages]
        with self.connection.cursor() as cursor:
            cursor.execute(self.backend.looking_up + " UNION ALL ".join(statements), parameters)
            return [
                SessionLoss(int(size), steps, session_id)
                for session_id, steps, size in cursor.fetchall()
            ]

    def _losses_of_one(self, session_id: str, tail: Tail) -> Iterator[list[SessionLoss]]:
        is_old, ages = self._is_old(tail.before)
        newest, offset = MAX_STEP, tail.keep
        while True:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    "SELECT MIN(step), SUM(lost), SUM(size * lost) FROM (SELECT step,"
                    f" COALESCE(state_bytes, 0) AS size, CASE WHEN {is_old} THEN 1 ELSE 0 END"
                    f" AS lost FROM {self.steps} WHERE session_id = %s AND step <= %s"
                    " ORDER BY step DESC LIMIT %s OFFSET %s) AS part",
                    [*ages, session_id, newest, STEPS_A_READ, offset],
                )
                oldest, steps, size = cursor.fetchone()
            if oldest is None:
                return
            yield [SessionLoss(int(size), int(steps), session_id)] if steps else []
            newest, offset = oldest - 1, 0

    def oldest_steps(self, session_ids: Sequence[str], above: int, limit: int) -> list[StepRecord]:
        """Return steps of some sessions above a number, oldest first within each session."""
        # MariaDB would sort all the rest of a long session to find its first rows, were the
        # session named in the order.
        order = "step" if len(session_ids) == 1 else "session_id, step"
        return self._records(
            f"session_id IN ({_marks(session_ids)}) AND step > %s ORDER BY {order} LIMIT %s",
            [*session_ids, above, limit],
        )

    def have_steps(self, session_ids: Sequence[str], up_to: int) -> bool:
        """Say whether some sessions have any step up to a number."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {self.steps} WHERE session_id IN ({_marks(session_ids)})"
                " AND step <= %s LIMIT 1",
                [*session_ids, up_to],
            )
            return cursor.fetchone() is not None

    def delete_still_there(
        self, steps: Mapping[str, Sequence[int]], before: datetime | None
    ) -> list[StepRecord]:
        """Delete those of some steps that were made before an instant; return them."""
        is_old, ages = self._is_old(before)
        named = [
            (f"({clause}) AND {is_old}", [*parameters, *ages])
            for clause, parameters in self._naming(steps)
        ]
        if self.backend.takes_arrays:
            return sorted(
                record
                for condition, parameters in named
                for record in self._returned(
                    f"{self.backend.delete_steps} WHERE {condition} RETURNING {_RECORD}", parameters
                )
            )
        records = [
            record
            for condition, parameters in named
            for record in self._records(f"{condition} ORDER BY session_id, step", parameters)
        ]
        self.delete_steps(records)
        return records

    def with_newer_steps(self, newest: Mapping[str, int], keep: int) -> set[str]:
        """Return the sessions that have ``keep`` or more steps above the one given."""
        found: set[str] = set()
        for chunk in batched(newest.items(), PARAMETERS // 4):
            # From the newest down: below lie the rows that earlier batches have deleted,
            # which an index still leads through.
            sql = " UNION ALL ".join(
                [
                    f"SELECT id FROM {SESSION} WHERE id = %s AND EXISTS (SELECT 1 FROM {self.steps}"
                    " WHERE session_id = %s AND step > %s ORDER BY step DESC"
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
            for clause, parameters in self._naming(steps):
                cursor.execute(f"{self.backend.delete_steps} WHERE {clause}", parameters)

    def _naming(self, steps: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[Any]]]:
        """Yield conditions, with their parameters, that name each session and its steps."""
        return _by_array(steps) if self.backend.takes_arrays else _one_by_one(steps)

    def _records(self, condition: str, parameters: Sequence[Any]) -> list[StepRecord]:
        return self._returned(f"SELECT {_RECORD} FROM {self.steps} WHERE {condition}", parameters)

    def _returned(self, sql: str, parameters: Sequence[Any]) -> list[StepRecord]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(map(StepRecord._make, cursor.fetchall()))

    def _is_old(self, before: datetime | None) -> tuple[str, list[Any]]:
        """Return the condition, with its parameters, that a step was made before an instant."""
        if before is None:
            return "TRUE", []
        return "created_at < %s", [self.connection.ops.adapt_datetimefield_value(before)]


def _by_array(steps: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[Any]]]:
    clause = "(session_id = %s AND step = ANY(%s::bigint[]))"
    if steps:
        yield (
            " OR ".join([clause] * len(steps)),
            [value for session_id, numbers in steps.items() for value in (session_id, [*numbers])],
        )


def _one_by_one(steps: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[Any]]]:
    clauses: list[str] = []
    parameters: list[Any] = []
    for session_id, numbers in steps.items():
        for chunk in batched(numbers, PARAMETERS // 2):
            if len(parameters) + len(chunk) + 1 > PARAMETERS:
                yield " OR ".join(clauses), parameters
                clauses, parameters = [], []
            clauses.append(f"(session_id = %s AND step IN ({_marks(chunk)}))")
            parameters += [session_id, *chunk]
    if clauses:
        yield " OR ".join(clauses), parameters


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))
