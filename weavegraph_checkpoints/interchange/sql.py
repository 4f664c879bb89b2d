"""The statements of imports and exports: reads in pages, and bulk inserts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from weavegraph_checkpoints.backends.base import (
    INSERT_SESSION,
    INSERT_STEP,
    SESSION,
    STEP,
    Backend,
)
from weavegraph_checkpoints.backends.batching import batched, batched_by_weight
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    JSON_COLUMNS,
    SessionRow,
    StepRow,
    from_db_timestamp,
    placeholders,
    to_db_timestamp,
)
from weavegraph_checkpoints.backends.states import StateReader, retry_changed
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.models import Step

IDS_BATCH_SIZE = 400
MAX_PAGE_BYTES = 8 * 1024 * 1024
INSERT_BATCH_SIZE = 64
"""64 rows have fewer than 999 parameters, the limit of old versions of SQLite."""
MAX_INSERT_BYTES = 1024 * 1024
"""A larger state is inserted alone, in a packet of its own on MariaDB."""


class InterchangeStatements:
    """Reads and writes whole histories on one connection."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.connection
        formats = {name: backend.json_as_stored(name) for name in (*JSON_COLUMNS, "state")}
        # The concurrency limit belongs to the session.
        formats["concurrency_limit"] = "1"
        self._states = StateReader(backend)
        self._columns = ", ".join(formats.get(name, name) for name in StepRow._fields)

    # Sessions

    def iter_sessions(self, ids: Iterable[str] | None, status: str | None) -> Iterator[SessionRow]:
        """Yield sessions by id: all of them, or those of ``ids`` or of a status."""
        condition, parameters = "", []
        if status is not None:
            condition, parameters = "status = %s AND", [status]
        if ids is not None:
            for batch in batched(sorted(ids), IDS_BATCH_SIZE):
                yield from self.backend.select_sessions(
                    f"{condition} id IN ({placeholders(batch)}) ORDER BY id", [*parameters, *batch]
                )
            return
        last = ""
        while page := self.backend.select_sessions(
            f"{condition} id > %s ORDER BY id LIMIT {IDS_BATCH_SIZE}", [*parameters, last]
        ):
            yield from page
            last = page[-1].session_id

    def get_sessions(self, ids: Iterable[str]) -> dict[str, SessionRow]:
        """Return those of the given sessions that are stored, by id."""
        return {session.session_id: session for session in self.iter_sessions(ids, None)}

    def lock_or_create_sessions(self, sessions: Sequence[SessionRow]) -> dict[str, SessionRow]:
        """Create the sessions that are missing, lock all by ascending id, and return them.

        Each new session gets the owner, concurrency limit and timestamps of its row.
        """
        sessions = sorted(sessions)
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"{INSERT_SESSION} VALUES (%s, %s, %s, %s, %s, 0, 0, 'empty', '')"
                f" {self.backend.on_session_conflict_lock}",
                [
                    (
                        session.session_id,
                        session.owner,
                        session.concurrency_limit,
                        self._timestamp(session.created_at),
                        self._timestamp(session.updated_at),
                    )
                    for session in sessions
                ],
            )
        return {
            locked.session_id: locked
            for batch in batched([session.session_id for session in sessions], IDS_BATCH_SIZE)
            for locked in self.backend.lock(batch)
        }

    def set_timestamps(self, timestamps: Iterable[tuple[str, datetime, datetime]]) -> None:
        """Set ``created_at`` and ``updated_at`` of locked sessions, given with their ids.

        The trigger has set ``updated_at`` to now.
        """
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {SESSION} SET created_at = %s, updated_at = %s WHERE id = %s",
                [
                    (self._timestamp(created_at), self._timestamp(updated_at), session_id)
                    for session_id, created_at, updated_at in timestamps
                ],
            )

    def _timestamp(self, value: datetime) -> Any:
        return to_db_timestamp(value, self.connection)

    # Steps

    def insert_steps(self, rows: Iterable[StepRow], *, replace: bool = False) -> None:
        """Insert steps of locked sessions, in the given order."""
        suffix = self.backend.on_step_conflict if replace else ""
        with self.connection.cursor() as cursor:
            for batch in batched_by_weight(
                rows, lambda row: row.state_bytes, MAX_INSERT_BYTES, INSERT_BATCH_SIZE
            ):
                values = ", ".join([f"({placeholders(COLUMNS)})"] * len(batch))
                cursor.execute(
                    f"{INSERT_STEP} VALUES {values} {suffix}",
                    [value for row in batch for value in row.parameters(self.connection)],
                )

    def count_steps(self, ids: Iterable[str] | None, status: str | None) -> int:
        """Return how many steps the sessions have that ``iter_sessions`` yields."""
        steps = Step.objects.using(self.connection.alias)
        if status is not None:
            steps = steps.filter(session__status=status)
        if ids is None:
            return steps.count()
        return sum(
            steps.filter(session_id__in=batch).count() for batch in batched(ids, IDS_BATCH_SIZE)
        )

    def iter_step_pages(
        self,
        session_id: str,
        on_invalid: Callable[[int, SerializationError], None],
        *,
        numbers: Sequence[int] | None = None,
    ) -> Iterator[list[StepRow]]:
        """Yield the steps of a session by ascending number: all of them, or those given.

        States that are stored as changes are put together; ``on_invalid`` is called for each
        step for which that fails. A page has up to ``IDS_BATCH_SIZE`` steps and
        ``MAX_PAGE_BYTES`` bytes of states; a state that is larger, or of unknown size, has a
        page to itself.
        """
        for batch in batched_by_weight(
            self._iter_sizes(session_id, numbers),
            lambda size: size[1] or MAX_PAGE_BYTES,
            MAX_PAGE_BYTES,
            IDS_BATCH_SIZE,
        ):
            page = []
            for row in self._get_steps(session_id, [step for step, _ in batch]):
                try:
                    page += self._put_together(row)
                except SerializationError as error:
                    on_invalid(row.step, error)
            yield page

    def _get_steps(self, session_id: str, steps: Sequence[int]) -> list[StepRow]:
        rows = self.backend.fetch_all(
            f"SELECT {self._columns} FROM {STEP}"
            f" WHERE session_id = %s AND step IN ({placeholders(steps)}) ORDER BY step",
            [session_id, *steps],
        )
        return [_build_row(values) for values in rows]

    def _put_together(self, row: StepRow) -> list[StepRow]:
        """Return the row with its whole state, or nothing if it was deleted meanwhile."""

        def build(row: StepRow) -> StepRow:
            state = self._states.build_json(row.session_id, row.base_id, row.state)
            return row._replace(state=state, base_id=None)

        def read_again(row: StepRow) -> StepRow | None:
            return next(iter(self._get_steps(row.session_id, [row.step])), None)

        whole = retry_changed(row, build, read_again)
        return [] if whole is None else [whole]

    def _iter_sizes(
        self, session_id: str, numbers: Sequence[int] | None
    ) -> Iterator[tuple[int, int | None]]:
        """Yield the numbers of steps with the size of their states in bytes, if it is stored."""
        steps = Step.objects.using(self.connection.alias).filter(session_id=session_id)
        sizes = steps.order_by("step").values_list("step", "state_bytes")
        if numbers is not None:
            for batch in batched(numbers, IDS_BATCH_SIZE):
                yield from sizes.filter(step__in=batch)
            return
        last = -1
        while page := list(sizes.filter(step__gt=last)[:IDS_BATCH_SIZE]):
            yield from page
            last = page[-1][0]


def _build_row(values: Sequence[Any]) -> StepRow:
    row = StepRow(*values)
    state: str | bytes = row.state
    return row._replace(
        created_at=from_db_timestamp(row.created_at),
        state=state.encode() if isinstance(state, str) else state,
        **{name: _decode(getattr(row, name)) for name in JSON_COLUMNS},
    )


def _decode(document: Any) -> Any:
    """Return a JSON column as text; invalid UTF-8 becomes text that is not valid JSON."""
    if isinstance(document, bytes):
        return document.decode(errors="surrogateescape")
    return document
