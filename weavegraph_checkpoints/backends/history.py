"""Read the steps of a session: the newest, one step, or a page limited in steps and in bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from weavegraph_checkpoints.backends.access import (
    owner_condition,
    query_condition,
    steps_condition,
)
from weavegraph_checkpoints.backends.base import NEWEST_STEP_ID, SESSION, STEP, Backend
from weavegraph_checkpoints.backends.chains import Bases, memory, read_bases
from weavegraph_checkpoints.backends.rows import JSON_COLUMNS, Version, from_db_timestamp
from weavegraph_checkpoints.domain import Checkpoint, StepQuery, VersionedState
from weavegraph_checkpoints.domain.limits import MAX_PAGE_BYTES, MAX_PAGE_COLUMN_BYTES
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde import checkpoint_from_columns
from weavegraph_checkpoints.serde.deltas import is_delta
from weavegraph_checkpoints.serde.errors import name_step

COLUMNS = ("state", *JSON_COLUMNS)
"""The columns of a step that a page may leave out."""

MAX_READS = 3
"""How often rows are read while others delete them and their keyframes in between."""

T = TypeVar("T")

_SNAPSHOT_COLUMNS = ("last_state", "last_frontier", "last_versions_seen")
_NO_STATE = VersionedState()
_UNREAD = dict.fromkeys(JSON_COLUMNS, "'[]'") | {"state": "NULL", "versions_seen": "'{}'"}


class _Snapshot(NamedTuple):
    created_at: Any
    revision: int
    updated_at: Any
    last_step: int
    concurrency_limit: int
    base_id: int | None
    state: str
    frontier: str
    versions_seen: str
    step_id: int | None


class _Step(NamedTuple):
    step: int
    created_at: Any
    concurrency_limit: int
    base_id: int | None
    state: str | None
    documents: Sequence[Any]


def read_latest(backend: Backend, session_id: str, owner: str | None) -> Checkpoint | None:
    """Return the snapshot of a session."""
    found = _read_snapshot(backend, session_id, owner, False)
    return None if found is None else found[0]


def read_latest_with_version(
    backend: Backend, session_id: str, owner: str | None
) -> tuple[Checkpoint, Version] | None:
    """Return the snapshot and version of a session."""
    found = _read_snapshot(backend, session_id, owner, True)
    if found is None:
        return None
    checkpoint, row = found
    version = Version.from_db(row.created_at, row.revision, row.updated_at, row.step_id)
    return checkpoint, version


def _read_snapshot(
    backend: Backend, session_id: str, owner: str | None, with_step_id: bool
) -> tuple[Checkpoint, _Snapshot] | None:
    condition, parameters = owner_condition(owner)
    columns = tuple(map(backend.json_as_text, _SNAPSHOT_COLUMNS))
    statement = _select_snapshot(columns, condition, with_step_id)

    def read() -> list[_Snapshot]:
        row = backend.fetch_one(statement, [session_id, *parameters])
        return [] if row is None else [_Snapshot(*row)]

    rows, bases = _read_with_bases(backend, session_id, read)
    if not rows:
        return None
    (row,) = rows
    checkpoint = checkpoint_from_columns(
        session_id,
        row.last_step,
        from_db_timestamp(row.updated_at),
        row.concurrency_limit,
        _get_state(row, bases),
        row.frontier,
        row.versions_seen,
    )
    newest = bases.get(row.base_id) if row.base_id in bases else None
    memory.see_newest(backend.connection.alias, session_id, newest)
    return checkpoint, row


@cache
def _select_snapshot(columns: tuple[str, ...], condition: str, with_step_id: bool) -> str:
    return (
        "SELECT created_at, revision, updated_at, last_step, concurrency_limit, last_base_id,"
        f" {', '.join(columns)}, {NEWEST_STEP_ID if with_step_id else 'NULL'} FROM {SESSION}"
        f" WHERE id = %s AND last_state IS NOT NULL{condition}"
    )


def read_step(backend: Backend, session_id: str, step: int, owner: str | None) -> Checkpoint | None:
    """Return one step of a session."""
    condition, parameters = steps_condition(session_id, owner)
    source = f"{backend.steps_by_key} WHERE {condition} AND step = %s"

    def read() -> list[_Step]:
        return list(_iter_rows(backend, session_id, COLUMNS, source, [*parameters, step]))

    rows, bases = _read_with_bases(backend, session_id, read)
    return _build_checkpoint(session_id, rows[0], bases) if rows else None


def read_state_json(
    backend: Backend, session_id: str, step: int, owner: str | None
) -> bytes | None:
    """Return the whole state of one step of a session as JSON, without decoding its values."""
    condition, parameters = steps_condition(session_id, owner)
    source = f"{backend.steps_by_key} WHERE {condition} AND step = %s"

    def read() -> list[_Step]:
        return list(_iter_rows(backend, session_id, ["state"], source, [*parameters, step]))

    rows, bases = _read_with_bases(backend, session_id, read)
    state = rows[0].state if rows else None
    if state is None or not is_delta(state):
        return None if state is None else state.encode()
    try:
        return bases.get(rows[0].base_id).folded.apply(state).to_json()
    except SerializationError as error:
        raise name_step(error, session_id, step) from None


def read_page(
    backend: Backend,
    session_id: str,
    query: StepQuery,
    owner: str | None,
    columns: Collection[str] = COLUMNS,
    max_bytes: int = MAX_PAGE_BYTES,
) -> tuple[int, tuple[Checkpoint, ...]]:
    """Return the number of steps that match, and the steps of the page, newest first.

    Only these ``columns`` are read; the others are empty. The page ends before the step with
    which its states would exceed ``max_bytes``, or its other columns
    ``MAX_PAGE_COLUMN_BYTES``, but has at least one step.
    """
    condition, parameters = query_condition(backend.connection.vendor, session_id, query, owner)
    with backend.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {STEP} WHERE {condition}", parameters)
        (total,) = cursor.fetchone()
    if total <= (query.offset or 0) or not query.page_limit:
        return total, ()
    limit, offset = query.page_limit, query.offset or 0
    sizes = _state_size(backend, columns), _columns_size(backend, columns)

    def read() -> list[_Step]:
        if backend.streams_rows:
            source = _select_matching(condition)
            bounds = [*parameters, offset, limit]
            rows = _iter_rows(backend, session_id, columns, source, [*parameters, *bounds], sizes)
            return list(_take_while_small(rows, max_bytes))
        source = _select_small(backend, condition, sizes)
        bounds = [limit, offset, session_id, max_bytes, session_id]
        return list(_iter_rows(backend, session_id, columns, source, [*parameters, *bounds]))

    rows, bases = _read_with_bases(backend, session_id, read)
    return total, tuple(_build_checkpoint(session_id, row, bases) for row in rows)


Row = TypeVar("Row", _Snapshot, _Step)


def _read_with_bases(
    backend: Backend, session_id: str, read: Callable[[], list[Row]]
) -> tuple[list[Row], Bases]:
    """Return rows and their bases; read again if others deleted them between the statements."""
    reads_left = MAX_READS
    while True:
        rows = read()
        bases = read_bases(backend, session_id, _get_base_ids(rows))
        reads_left -= 1
        if not (bases.missing and reads_left):
            return rows, bases


def _get_base_ids(rows: Sequence[_Snapshot] | Sequence[_Step]) -> set[int]:
    return {
        row.base_id
        for row in rows
        if row.base_id is not None and row.state is not None and is_delta(row.state)
    }


def _get_state(row: _Snapshot | _Step, bases: Bases) -> str | VersionedState | Callable[[], Any]:
    """Return a state as ``checkpoint_from_columns`` takes it."""
    state = row.state
    if state is None:
        return _NO_STATE
    if is_delta(state):
        return lambda: bases.get(row.base_id).folded.to_state(state)
    return state


def _state_size(backend: Backend, columns: Collection[str]) -> str:
    size = f"COALESCE(state_bytes, {backend.octet_length('state')})"
    return size if "state" in columns else "0"


def _columns_size(backend: Backend, columns: Collection[str]) -> str:
    sizes = (
        f"COALESCE({backend.octet_length(name)}, 0)" for name in JSON_COLUMNS if name in columns
    )
    return " + ".join(sizes) or "0"


def _select_matching(condition: str) -> str:
    """Return the source of the steps that match, in order and without a sort.

    The offset skips entries of the index; skipping rows would read each.
    """
    first = f"SELECT step FROM {STEP} WHERE {condition} ORDER BY step DESC LIMIT 1 OFFSET %s"
    return f"{STEP} WHERE {condition} AND step <= ({first}) ORDER BY step DESC LIMIT %s"


def _take_while_small(rows: Iterator[_Step], max_bytes: int) -> Iterator[_Step]:
    """Yield rows until their sizes, the last two documents, exceed the limits of a page.

    The driver reads a row only when it is asked for.
    """
    state_bytes = column_bytes = 0
    for position, row in enumerate(rows):
        *documents, state_size, columns_size = row.documents
        state_bytes += state_size
        column_bytes += columns_size
        is_large = state_bytes > max_bytes or column_bytes > MAX_PAGE_COLUMN_BYTES
        if position and is_large:
            return
        yield row._replace(documents=documents)


def _select_small(backend: Backend, condition: str, sizes: tuple[str, str]) -> str:
    """Return the source of the steps that match, up to the limits of a page.

    The driver would read all rows at once. The step numbers are found first, then their
    sizes, and only then the states: a plan that sorts or skips rows would read the state of
    each. After the parameters of the condition come those of ``LIMIT``, the session id, the
    maximum size, and the session id.
    """
    newest_first = f"{condition} ORDER BY step DESC LIMIT %s OFFSET %s"
    numbers = f"SELECT step AS number FROM {backend.steps_by_key} WHERE {newest_first}"
    state_size, columns_size = sizes
    sums = (
        "SELECT number, ROW_NUMBER() OVER w AS position,"
        f" SUM({state_size}) OVER w AS state_bytes_so_far,"
        f" SUM({columns_size}) OVER w AS column_bytes_so_far"
        f" FROM ({numbers}) AS matching {backend.join_steps}"
        " WINDOW w AS (ORDER BY number DESC)"
    )
    small = (
        f"SELECT number FROM ({sums}) AS sums WHERE position = 1"
        " OR (state_bytes_so_far <= %s"
        f" AND column_bytes_so_far <= {MAX_PAGE_COLUMN_BYTES})"
    )
    return f"({small}) AS page {backend.join_steps} ORDER BY number DESC"


def _iter_rows(
    backend: Backend,
    session_id: str,
    columns: Collection[str],
    source: str,
    parameters: list[Any],
    sizes: tuple[str, ...] = (),
) -> Iterator[_Step]:
    selected = [
        backend.json_as_text(name) if name in columns else _UNREAD[name] for name in COLUMNS
    ]
    with backend.cursor() as cursor:
        cursor.execute(
            f"SELECT step, {STEP}.created_at,"
            f" (SELECT concurrency_limit FROM {SESSION} WHERE id = %s), base_id,"
            f" {', '.join([*selected, *sizes])} FROM {source}",
            [session_id, *parameters],
        )
        for step, created_at, limit, base_id, state, *documents in cursor:
            yield _Step(step, created_at, limit, base_id, state, documents)


def _build_checkpoint(session_id: str, row: _Step, bases: Bases) -> Checkpoint:
    return checkpoint_from_columns(
        session_id,
        row.step,
        from_db_timestamp(row.created_at),
        row.concurrency_limit,
        _get_state(row, bases),
        *row.documents,
    )
