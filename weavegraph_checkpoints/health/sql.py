"""The statements of the health check: keyset reads, and repairs under a session's lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.utils.dateparse import parse_datetime

from weavegraph_checkpoints.backends.base import SESSION, STEP, Backend, StepKey
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde import checkpoint_from_columns

DOCUMENTS = ("frontier", "versions_seen", "state")
COUNTS = ("message_count", "error_count", "state_bytes")
COPIES = (*DOCUMENTS, *COUNTS)
"""What a session holds of its newest step, each under the name ``last_…``."""

_JSON_COLUMNS = (
    "state",
    "frontier",
    "versions_seen",
    "ran_nodes",
    "skipped_nodes",
    "updated_channels",
)


class SnapshotRow(NamedTuple):
    """A session beside its newest step."""

    session_id: str
    last_step: int
    status: str
    newest: int | None
    """The step with the highest number, if there is any."""
    frontier: str | bytes | None
    """That step's frontier."""
    different: tuple[str, ...]
    """Those of ``COPIES`` that the session does not hold as the step does."""


class StepMark(NamedTuple):
    """A step as the walk over all steps sees it: without its state."""

    session_id: str
    step: int
    lacks_counts: bool
    is_orphan: bool
    size: int
    """The bytes of its JSON, if they were measured."""

    @property
    def key(self) -> StepKey:
        """Where the walk is."""
        return self.session_id, self.step


class StoredStep(NamedTuple):
    """Everything that a row of steps holds, as far as it can be read."""

    session_id: str
    step: int
    counts: tuple[int | None, ...]
    """The stored values of ``COUNTS``."""
    created_at: str
    state: str | bytes
    documents: tuple[str | bytes, ...]
    """The other JSON columns."""

    @property
    def key(self) -> StepKey:
        """Where the walk is."""
        return self.session_id, self.step

    def checkpoint(self) -> Checkpoint:
        """Decode the row; raises ``SerializationError``."""
        return checkpoint_from_columns(
            self.session_id,
            self.step,
            _instant(self.created_at),
            1,
            self.state,
            *self.documents,
        )

    def actual_counts(self) -> tuple[int, int, int]:
        """Return what ``COUNTS`` ought to be; raises ``SerializationError``."""
        state = self.checkpoint().state
        octets = self.state if isinstance(self.state, bytes) else self.state.encode()
        return len(state.messages.items), len(state.errors.items), len(octets)


class HealthStatements:
    """Compares and mends what is stored; states are read only to decode them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection

    def extent(self) -> tuple[int, int]:
        """Return how many sessions and steps there are."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT (SELECT COUNT(*) FROM {SESSION}), (SELECT COUNT(*) FROM {STEP})"
            )
            sessions, steps = cursor.fetchone()
        return sessions, steps

    def snapshots(self, after: str, limit: int) -> list[SnapshotRow]:
        """Return the next sessions by id, compared inside the database."""
        return self._snapshots("held.id > %s ORDER BY held.id LIMIT %s", [after, limit])

    def snapshot(self, session_id: str) -> SnapshotRow:
        """Return one session that is there."""
        return self._snapshots("held.id = %s", [session_id])[0]

    def _snapshots(self, condition: str, parameters: Sequence[Any]) -> list[SnapshotRow]:
        differences = ", ".join(
            self.backend.is_distinct(f"held.last_{column}", f"newest.{column}") for column in COPIES
        )
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT held.id, held.last_step, held.status, newest.step,"
                f" {self.backend.json_as_stored('newest.frontier')}, {differences}"
                f" FROM {SESSION} AS held LEFT JOIN {STEP} AS newest"
                " ON newest.session_id = held.id AND newest.step ="
                f" (SELECT one.step FROM {STEP} AS one WHERE one.session_id = held.id"
                " ORDER BY one.step DESC LIMIT 1)"
                f" WHERE {condition}",
                parameters,
            )
            rows = cursor.fetchall()
        return [
            SnapshotRow(
                session_id,
                last_step,
                status,
                newest,
                frontier,
                tuple(column for column, differs in zip(COPIES, different, strict=True) if differs),
            )
            for session_id, last_step, status, newest, frontier, *different in rows
        ]

    def mend_snapshot(self, session_id: str, newest: int | None, status: str) -> None:
        """Copy the newest step of a locked session into its snapshot."""
        copies = ", ".join(
            f"last_{column} = (SELECT {column} FROM {STEP} WHERE session_id = %s AND step = %s)"
            for column in COPIES
        )
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {SESSION} SET revision = revision + 1, last_step = %s, status = %s,"
                f" {copies} WHERE id = %s",
                [newest or 0, status, *[session_id, newest] * len(COPIES), session_id],
            )

    def marks(self, after: StepKey, limit: int, *, measured: bool) -> list[StepMark]:
        """Return the next steps by key; ``measured`` gives the size of each.

        Without it, only steps that lack counts are measured.
        """
        lacking = " OR ".join(f"{column} IS NULL" for column in COUNTS)
        size = " + ".join(
            f"COALESCE({self.backend.octet_length(column)}, 0)" for column in _JSON_COLUMNS
        )
        if not measured:
            size = f"CASE WHEN {lacking} THEN {size} ELSE 0 END"
        condition, parameters = self.backend.after_key(after)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT session_id, step, {lacking}, (SELECT owning.id FROM {SESSION} AS owning"
                f" WHERE owning.id = {STEP}.session_id) IS NULL, {size} FROM {STEP}"
                f" WHERE {condition} ORDER BY session_id, step LIMIT %s",
                [*parameters, limit],
            )
            return [StepMark(*row) for row in cursor.fetchall()]

    def stored_steps(self, after: StepKey, last: StepKey, limit: int) -> Iterator[StoredStep]:
        """Yield the steps that come after one key, up to another, ``limit`` in a read."""
        upper, upper_parameters = self.backend.up_to_key(last)
        while True:
            lower, lower_parameters = self.backend.after_key(after)
            # Without its LIMIT, PostgreSQL would take the range for half of the table.
            rows = self._stored(
                f"{lower} AND {upper} ORDER BY session_id, step LIMIT %s",
                [*lower_parameters, *upper_parameters, limit],
            )
            yield from rows
            if len(rows) < limit:
                return
            after = rows[-1].key

    def stored_steps_of(self, session_id: str, steps: Sequence[int]) -> list[StoredStep]:
        """Return those of some steps of one session that are there."""
        marks = ", ".join(["%s"] * len(steps))
        return self._stored(
            f"session_id = %s AND step IN ({marks}) ORDER BY step", [session_id, *steps]
        )

    def _stored(self, condition: str, parameters: Sequence[Any]) -> list[StoredStep]:
        documents = ", ".join(self.backend.json_as_stored(column) for column in _JSON_COLUMNS)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT session_id, step, {', '.join(COUNTS)},"
                f" {self.backend.timestamp_as_text('created_at')}, {documents}"
                f" FROM {STEP} WHERE {condition}",
                parameters,
            )
            return [
                StoredStep(row[0], row[1], row[2:5], row[5], row[6], row[7:])
                for row in cursor.fetchall()
            ]

    def set_counts(self, session_id: str, counts: dict[int, tuple[int, int, int]]) -> None:
        """Write the counts of steps of a locked session, whose ``updated_at`` stays."""
        instant = self.backend.timestamp_as_text("updated_at")
        assignments = ", ".join(f"{column} = %s" for column in COUNTS)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {instant} FROM {SESSION} WHERE id = %s", [session_id])
            (updated_at,) = cursor.fetchone()
            cursor.executemany(
                f"UPDATE {STEP} SET {assignments} WHERE session_id = %s AND step = %s",
                [(*values, session_id, step) for step, values in counts.items()],
            )
            cursor.execute(
                f"UPDATE {SESSION} SET updated_at = %s WHERE id = %s", [updated_at, session_id]
            )


def _instant(text: str) -> datetime:
    try:
        instant = parse_datetime(text)
    except ValueError:
        instant = None
    if instant is None:
        raise SerializationError(f"not a time: {text!r}", "$.created_at")
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
