"""The SQL of the health check: keyset reads, and repairs of a locked session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Any, NamedTuple

from django.utils.dateparse import parse_datetime

from weavegraph_checkpoints.backends.base import KEYFRAME, SESSION, STEP, Backend
from weavegraph_checkpoints.backends.rows import JSON_COLUMNS, StepKey, placeholders
from weavegraph_checkpoints.backends.states import StateReader
from weavegraph_checkpoints.backends.updates import keep_updated_at
from weavegraph_checkpoints.domain import VersionedState
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde import checkpoint_from_columns
from weavegraph_checkpoints.serde.deltas import is_delta

COUNT_COLUMNS = ("message_count", "error_count", "state_bytes")
SNAPSHOT_JSON_COLUMNS = ("frontier", "versions_seen", "state")
SNAPSHOT_COLUMNS = (*SNAPSHOT_JSON_COLUMNS, "base_id", *COUNT_COLUMNS)
"""The columns that a session copies from its newest step, named ``last_…`` there."""

_JSON_COLUMNS = ("state", *JSON_COLUMNS)

UNKNOWN_SIZE = 2**31
"""The size of a step whose state is stored as changes and may be of any size."""

Counts = tuple[int, int, int]
"""Values of ``COUNT_COLUMNS``."""


class SnapshotRow(NamedTuple):
    """A session compared with its newest step."""

    session_id: str
    last_step: int
    status: str
    newest_step: int | None
    """``None`` for a session without steps."""
    frontier: str | bytes | None
    """The frontier of the newest step."""
    stale_columns: frozenset[str]
    """Those of ``SNAPSHOT_COLUMNS`` that differ from the newest step."""


class StepHeader(NamedTuple):
    """A step without its JSON."""

    session_id: str
    step: int
    has_null_counts: bool
    is_orphan: bool
    """Whether its session is missing."""
    base_id: int | None
    size: int
    """Bytes of its JSON, with the whole state, if they were measured."""

    @property
    def key(self) -> StepKey:
        return self.session_id, self.step


class KeyframeLink(NamedTuple):
    """A keyframe without its state."""

    session_id: str
    root_id: int
    id: int
    previous_id: int | None


class RawStep(NamedTuple):
    """All columns of a step, not decoded."""

    session_id: str
    step: int
    base_id: int | None
    counts: tuple[int | None, ...]
    """The stored values of ``COUNT_COLUMNS``."""
    created_at: str
    state: str | bytes
    documents: tuple[str | bytes, ...]
    """The other JSON columns."""

    @property
    def key(self) -> StepKey:
        return self.session_id, self.step

    def get_actual_counts(self, states: StateReader) -> Counts:
        """Decode the step with its whole state, and count; raises ``SerializationError``."""
        created_at = _parse_timestamp(self.created_at)
        document: str | bytes | VersionedState = self.state
        size = len(self.state if isinstance(self.state, bytes) else self.state.encode())
        if is_delta(self.state):
            folded = states.fold(self.session_id, self.base_id, self.state)
            document, size = folded.to_state(), folded.state_bytes
        checkpoint = checkpoint_from_columns(
            self.session_id, self.step, created_at, 1, document, *self.documents
        )
        state = checkpoint.state
        return len(state.messages.items), len(state.errors.items), size


class HealthStatements:
    """The statements of a health check on one connection."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection

    def get_snapshots(self, after: str, limit: int) -> list[SnapshotRow]:
        """Return the next sessions by id, compared inside the database."""
        return self._get_snapshots("session.id > %s ORDER BY session.id LIMIT %s", [after, limit])

    def get_snapshot(self, session_id: str) -> SnapshotRow:
        """Return a session that exists."""
        return self._get_snapshots("session.id = %s", [session_id])[0]

    def _get_snapshots(self, condition: str, parameters: Sequence[Any]) -> list[SnapshotRow]:
        differences = ", ".join(
            self.backend.is_distinct(f"session.last_{column}", f"newest.{column}")
            for column in SNAPSHOT_COLUMNS
        )
        rows = self.backend.fetch_all(
            "SELECT session.id, session.last_step, session.status, newest.step,"
            f" {self.backend.json_as_stored('newest.frontier')}, {differences}"
            f" FROM {SESSION} AS session LEFT JOIN {STEP} AS newest"
            " ON newest.session_id = session.id AND newest.step ="
            f" (SELECT own.step FROM {STEP} AS own WHERE own.session_id = session.id"
            f" ORDER BY own.step DESC LIMIT 1) WHERE {condition}",
            parameters,
        )
        return [
            SnapshotRow(session_id, last_step, status, newest, frontier, frozenset(stale))
            for session_id, last_step, status, newest, frontier, *differ in rows
            for stale in [compress(SNAPSHOT_COLUMNS, differ)]
        ]

    def repair_snapshot(self, session_id: str, newest_step: int | None, status: str) -> None:
        """Copy the newest step of a locked session into its snapshot."""
        copies = ", ".join(
            f"last_{column} = (SELECT {column} FROM {STEP} WHERE session_id = %s AND step = %s)"
            for column in SNAPSHOT_COLUMNS
        )
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {SESSION} SET revision = revision + 1, last_step = %s, status = %s,"
                f" {copies} WHERE id = %s",
                [
                    newest_step or 0,
                    status,
                    *[session_id, newest_step] * len(SNAPSHOT_COLUMNS),
                    session_id,
                ],
            )

    def get_headers(self, after: StepKey, limit: int, *, measure: bool) -> list[StepHeader]:
        """Return the next steps by key, with their sizes.

        Without ``measure``, only steps with null counts are measured; others have size 0.
        """
        null_counts = " OR ".join(f"{column} IS NULL" for column in COUNT_COLUMNS)
        whole = f"COALESCE(state_bytes, {UNKNOWN_SIZE})"
        size = " + ".join(
            [f"COALESCE({self.backend.octet_length(column)}, 0)" for column in _JSON_COLUMNS]
            + [f"CASE WHEN base_id IS NULL THEN 0 ELSE {whole} END"]
        )
        if not measure:
            size = f"CASE WHEN {null_counts} THEN {size} ELSE 0 END"
        condition, parameters = self.backend.compare_key(">", after)
        rows = self.backend.fetch_all(
            f"SELECT session_id, step, {null_counts}, (SELECT parent.id FROM {SESSION} AS parent"
            f" WHERE parent.id = {STEP}.session_id) IS NULL, base_id, {size} FROM {STEP}"
            f" WHERE {condition} ORDER BY session_id, step LIMIT %s",
            [*parameters, limit],
        )
        return list(map(StepHeader._make, rows))

    def iter_raw_steps(self, after: StepKey, last: StepKey, limit: int) -> Iterator[RawStep]:
        """Yield the steps after one key up to another; ``limit`` is that of one statement."""
        upper, upper_parameters = self.backend.compare_key("<=", last)
        while True:
            lower, lower_parameters = self.backend.compare_key(">", after)
            # Without the LIMIT, PostgreSQL estimates that the range is half of the table.
            rows = self._get_raw_steps(
                f"{lower} AND {upper} ORDER BY session_id, step LIMIT %s",
                [*lower_parameters, *upper_parameters, limit],
            )
            yield from rows
            if len(rows) < limit:
                return
            after = rows[-1].key

    def get_raw_steps(self, session_id: str, steps: Sequence[int]) -> list[RawStep]:
        """Return those of ``steps`` that exist."""
        return self._get_raw_steps(
            f"session_id = %s AND step IN ({placeholders(steps)}) ORDER BY step",
            [session_id, *steps],
        )

    def _get_raw_steps(self, condition: str, parameters: Sequence[Any]) -> list[RawStep]:
        documents = ", ".join(map(self.backend.json_as_stored, _JSON_COLUMNS))
        rows = self.backend.fetch_all(
            f"SELECT session_id, step, base_id, {', '.join(COUNT_COLUMNS)},"
            f" {self.backend.timestamp_as_text('created_at')}, {documents}"
            f" FROM {STEP} WHERE {condition}",
            parameters,
        )
        return [RawStep._make((*row[:3], row[3:6], *row[6:8], row[8:])) for row in rows]

    def get_base_id(self, session_id: str, step: int) -> int | None:
        """Return the base of a step, or ``None`` if it has none or does not exist."""
        row = self.backend.fetch_one(
            f"SELECT base_id FROM {STEP} WHERE session_id = %s AND step = %s", [session_id, step]
        )
        return None if row is None else row[0]

    def get_chains(self, bases: Mapping[str, Sequence[int]]) -> list[KeyframeLink]:
        """Return all keyframes on the chains of some, from the root of each chain on.

        ``bases`` holds the ids of keyframes by session.
        """
        among = " OR ".join(
            f"(session_id = %s AND id IN ({placeholders(ids)}))" for ids in bases.values()
        )
        roots = f"SELECT DISTINCT session_id, root_id FROM {KEYFRAME} WHERE {among}"
        rows = self.backend.fetch_all(
            "SELECT link.session_id, link.root_id, link.id, link.previous_id"
            f" FROM ({roots}) AS roots JOIN {KEYFRAME} AS link"
            " ON link.session_id = roots.session_id AND link.root_id = roots.root_id"
            " ORDER BY link.session_id, link.root_id, link.id DESC",
            [value for session_id, ids in bases.items() for value in (session_id, *ids)],
        )
        return list(map(KeyframeLink._make, rows))

    def get_owners(self, keyframe_ids: Sequence[int]) -> dict[int, str]:
        """Return the session of each of these keyframes that exists; no step should need it."""
        sql = f"SELECT id, session_id FROM {KEYFRAME} WHERE id IN ({placeholders(keyframe_ids)})"
        return dict(self.backend.fetch_all(sql, keyframe_ids))

    def get_orphans(self, table: str, after: str, limit: int) -> list[tuple[str, int]]:
        """Return the next ids of missing sessions that rows of a table refer to, and how many."""
        rows = self.backend.fetch_all(
            f"SELECT session_id, COUNT(*) FROM {table} WHERE session_id > %s AND NOT EXISTS"
            f" (SELECT 1 FROM {SESSION} WHERE {SESSION}.id = {table}.session_id)"
            " GROUP BY session_id ORDER BY session_id LIMIT %s",
            [after, limit],
        )
        return [(session_id, count) for session_id, count in rows]

    def set_counts(self, session_id: str, counts: Mapping[int, Counts]) -> None:
        """Write the counts of steps of a locked session, and keep its ``updated_at``."""
        assignments = ", ".join(f"{column} = %s" for column in COUNT_COLUMNS)
        with keep_updated_at(self.backend, session_id), self.connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {STEP} SET {assignments} WHERE session_id = %s AND step = %s",
                [(*values, session_id, step) for step, values in counts.items()],
            )


def _parse_timestamp(text: str) -> datetime:
    try:
        timestamp = parse_datetime(text)
    except ValueError:
        timestamp = None
    if timestamp is None:
        raise SerializationError(f"not a timestamp: {text!r}", "$.created_at")
    return timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)
