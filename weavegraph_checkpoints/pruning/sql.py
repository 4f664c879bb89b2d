"""The SQL of pruning: keyset reads, and deletes by session and step; states are not read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

from weavegraph_checkpoints.backends.base import LABEL, SESSION, Backend
from weavegraph_checkpoints.backends.batching import batched, batched_by_weight
from weavegraph_checkpoints.backends.labels import read_labels
from weavegraph_checkpoints.backends.rows import SessionRow, StepKey, placeholders
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.pruning.results import SessionLoss
from weavegraph_checkpoints.querysets import match_labels

MAX_PARAMETERS = 900
"""Parameters of a statement: every SQLite takes 999."""
SESSION_PAGE_SIZE = 200
READ_BATCH_SIZE = 5000
"""Steps that one statement reads or counts."""

_PRUNED_STEP = "session_id, step, COALESCE(state_bytes, 0)"


class PrunedStep(NamedTuple):
    """A step to delete; ``state_bytes`` is 0 if unknown."""

    session_id: str
    step: int
    state_bytes: int


class PruneStatements:
    """The statements of a prune on one connection."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection
        self.steps = backend.steps_by_key

    def get_sessions(self, policy: RetentionPolicy, after: str) -> list[SessionRow]:
        """Return the next ``SESSION_PAGE_SIZE`` sessions that a policy applies to, by id."""
        condition = "id > %s"
        parameters = [after]
        for column, value in (("status", policy.status), ("owner", policy.owner)):
            if value is not None:
                # SQLite would sort all rows that an index on the column finds, for each page.
                condition += f" AND {self.backend.without_index(column)} = %s"
                parameters.append(value)
        if policy.labels:
            matches, texts = match_labels(
                self.connection.vendor, LABEL, f"{SESSION}.id", policy.labels, None
            )
            condition += f" AND {matches}"
            parameters += texts
        for ids in self._iter_ids(policy, after):
            among = f"{condition} AND id IN ({placeholders(ids)})"
            if found := self._get_sessions(among, [*parameters, *ids]):
                return found
        if policy.session_ids is None and not policy.labels:
            return self._get_sessions(condition, parameters)
        return []

    def _iter_ids(self, policy: RetentionPolicy, after: str) -> Iterator[list[str]]:
        """Yield the ids of sessions that a policy may apply to, if it has ids or labels."""
        if policy.session_ids is not None:
            later = (session_id for session_id in policy.session_ids if session_id > after)
            yield from batched(later, SESSION_PAGE_SIZE)
            return
        # The index of labels is in the order of the ids.
        for label in list((policy.labels or {}).items())[:1]:
            while rows := self.backend.fetch_all(
                f"SELECT label.session_id FROM {LABEL} AS label WHERE label.key = %s"
                " AND label.value = %s AND label.session_id > %s"
                f" ORDER BY label.session_id LIMIT {SESSION_PAGE_SIZE}",
                [*label, after],
            ):
                ids = [session_id for (session_id,) in rows]
                yield ids
                after = ids[-1]

    def get_labelled(self, session_ids: Sequence[str], labels: Mapping[str, str]) -> set[str]:
        """Return those of locked sessions that have all of some labels."""
        found = read_labels(self.backend, session_ids, self.backend.get_read_lock())
        return {key for key, own in found.items() if labels.items() <= own.items()}

    def _get_sessions(self, condition: str, parameters: Sequence[Any]) -> list[SessionRow]:
        return self.backend.select_sessions(
            f"{condition} ORDER BY id LIMIT %s", [*parameters, SESSION_PAGE_SIZE]
        )

    def count_steps(self, session_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of steps of each session that has any."""
        if not session_ids:
            return {}
        sql = (
            f"SELECT session_id, COUNT(*) FROM {self.steps}"
            f" WHERE session_id IN ({placeholders(session_ids)}) GROUP BY session_id"
        )
        return dict(self.backend.fetch_all(sql, session_ids))

    def read_prunable_steps(
        self, counts: Mapping[str, int], keep: int, before: datetime | None
    ) -> Iterator[list[StepKey]]:
        """Yield all but the newest ``keep`` steps of each session that are older than ``before``.

        ``counts`` holds the number of steps of each session. Yields one list for each
        statement; steps come newest first within a session.
        """
        is_old, age = self._is_old(before)
        columns = f"session_id, step, {is_old} FROM {self.steps}"
        for session_ids in _batched_by_steps(counts):
            if counts[session_ids[0]] <= READ_BATCH_SIZE:
                rows = self.backend.fetch_all(
                    f"SELECT {columns} WHERE session_id IN ({placeholders(session_ids)})"
                    " ORDER BY session_id, step DESC",
                    [*age, *session_ids],
                )
                histories = (history for _, history in groupby(rows, itemgetter(0)))
                yield [
                    (session_id, step)
                    for history in histories
                    for session_id, step, older in islice(history, keep, None)
                    if older
                ]
                continue
            newest, offset = MAX_STEP, keep
            while rows := self.backend.fetch_all(
                f"SELECT {columns} WHERE session_id = %s AND step <= %s"
                " ORDER BY step DESC LIMIT %s OFFSET %s",
                [*age, session_ids[0], newest, READ_BATCH_SIZE, offset],
            ):
                yield [(session_id, step) for session_id, step, older in rows if older]
                newest, offset = rows[-1][1] - 1, 0

    def count_prunable_steps(
        self, counts: Mapping[str, int], keep: int, before: datetime | None
    ) -> Iterator[list[SessionLoss]]:
        """Count in the database what ``read_prunable_steps`` would yield.

        Yields one list for each statement: a long session is counted by several.
        """
        is_old, age = self._is_old(before)
        for session_ids in _batched_by_steps(counts):
            if counts[session_ids[0]] > READ_BATCH_SIZE:
                yield from self._count_long_session(session_ids[0], keep, is_old, age)
                continue
            select = (
                f"SELECT MAX(session_id), COUNT(*), SUM(COALESCE(state_bytes, 0)) FROM {self.steps}"
                f" WHERE session_id = %s AND step <= (SELECT step FROM {self.steps}"
                f" WHERE session_id = %s ORDER BY step DESC LIMIT 1 OFFSET %s) AND {is_old}"
                " HAVING COUNT(*) > 0"
            )
            for ids in batched(session_ids, MAX_PARAMETERS // 4):
                rows = self.backend.fetch_all(
                    self.backend.select_prefix + " UNION ALL ".join([select] * len(ids)),
                    [value for key in ids for value in (key, key, keep, *age)],
                )
                yield [SessionLoss(int(size), steps, key) for key, steps, size in rows]

    def _count_long_session(
        self, session_id: str, keep: int, is_old: str, age: Sequence[Any]
    ) -> Iterator[list[SessionLoss]]:
        newest, offset = MAX_STEP, keep
        while True:
            [(oldest, steps, size)] = self.backend.fetch_all(
                "SELECT MIN(step), SUM(is_old), SUM(size * is_old) FROM (SELECT step,"
                f" COALESCE(state_bytes, 0) AS size, CASE WHEN {is_old} THEN 1 ELSE 0 END"
                f" AS is_old FROM {self.steps} WHERE session_id = %s AND step <= %s"
                " ORDER BY step DESC LIMIT %s OFFSET %s) AS page",
                [*age, session_id, newest, READ_BATCH_SIZE, offset],
            )
            if oldest is None:
                return
            yield [SessionLoss(int(size), int(steps), session_id)] if steps else []
            newest, offset = oldest - 1, 0

    def get_oldest_steps(
        self, session_ids: Sequence[str], above: int, limit: int
    ) -> list[PrunedStep]:
        """Return steps above a step number, oldest first within each session."""
        # MariaDB sorts the whole rest of a long session if the order names its only session.
        order = "step" if len(session_ids) == 1 else "session_id, step"
        return self._get_pruned_steps(
            f"SELECT {_PRUNED_STEP} FROM {self.steps} WHERE session_id IN"
            f" ({placeholders(session_ids)}) AND step > %s ORDER BY {order} LIMIT %s",
            [*session_ids, above, limit],
        )

    def have_steps(self, session_ids: Sequence[str], up_to: int) -> bool:
        """Return whether any of some sessions has a step up to a step number."""
        sql = (
            f"SELECT 1 FROM {self.steps} WHERE session_id IN ({placeholders(session_ids)})"
            " AND step <= %s LIMIT 1"
        )
        return bool(self.backend.fetch_all(sql, [*session_ids, up_to]))

    def get_sessions_with_newer_steps(self, newest: Mapping[str, int], keep: int) -> set[str]:
        """Return the sessions that have ``keep`` or more steps above their step in ``newest``."""
        # From the newest step down: index entries of deleted steps are below.
        select = (
            f"SELECT id FROM {SESSION} WHERE id = %s AND EXISTS (SELECT 1 FROM {self.steps}"
            " WHERE session_id = %s AND step > %s ORDER BY step DESC LIMIT 1 OFFSET %s)"
        )
        found: set[str] = set()
        for batch in batched(newest.items(), MAX_PARAMETERS // 4):
            rows = self.backend.fetch_all(
                " UNION ALL ".join([select] * len(batch)),
                [value for key, step in batch for value in (key, key, step, keep - 1)],
            )
            found.update(session_id for (session_id,) in rows)
        return found

    def delete_steps(self, steps: Iterable[PrunedStep]) -> None:
        """Delete steps by session and number."""
        with self.connection.cursor() as cursor:
            for condition, parameters in self._conditions(steps):
                cursor.execute(f"{self.backend.delete_steps} WHERE {condition}", parameters)

    def delete_steps_if_older(
        self, steps: Iterable[StepKey], before: datetime | None
    ) -> list[PrunedStep]:
        """Delete those of ``steps`` that are older than ``before``, and return them."""
        is_old, age = self._is_old(before)
        deleted: list[PrunedStep] = []
        for named, parameters in self._conditions(steps):
            condition = f"({named}) AND {is_old}"
            if self.backend.has_arrays:
                sql = f"{self.backend.delete_steps} WHERE {condition} RETURNING {_PRUNED_STEP}"
            else:
                sql = (
                    f"SELECT {_PRUNED_STEP} FROM {self.steps} WHERE {condition}"
                    " ORDER BY session_id, step"
                )
            deleted += self._get_pruned_steps(sql, [*parameters, *age])
        if not self.backend.has_arrays:
            self.delete_steps(deleted)
        return sorted(deleted)

    def _conditions(self, steps: Iterable[PrunedStep | StepKey]) -> Iterator[tuple[str, list[Any]]]:
        """Yield SQL conditions, with their parameters, that together match ``steps``."""
        arrays = self.backend.has_arrays
        for batch in batched(steps, sys.maxsize if arrays else MAX_PARAMETERS - SESSION_PAGE_SIZE):
            clauses: list[str] = []
            parameters: list[Any] = []
            for session_id, keys in groupby(batch, itemgetter(0)):
                numbers = [key[1] for key in keys]
                among = "= ANY(%s::bigint[])" if arrays else f"IN ({placeholders(numbers)})"
                clauses.append(f"(session_id = %s AND step {among})")
                parameters += [session_id, numbers] if arrays else [session_id, *numbers]
            yield " OR ".join(clauses), parameters

    def _get_pruned_steps(self, sql: str, parameters: Sequence[Any]) -> list[PrunedStep]:
        return list(map(PrunedStep._make, self.backend.fetch_all(sql, parameters)))

    def _is_old(self, before: datetime | None) -> tuple[str, list[Any]]:
        """Return the condition that a step is older than ``before``, with its parameters."""
        if before is None:
            return "TRUE", []
        return "created_at < %s", [self.connection.ops.adapt_datetimefield_value(before)]


def _batched_by_steps(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Batch sessions that have up to ``READ_BATCH_SIZE`` steps together; a longer one is alone."""
    return batched_by_weight(sorted(counts), counts.__getitem__, READ_BATCH_SIZE)
