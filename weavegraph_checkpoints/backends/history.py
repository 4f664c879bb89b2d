"""Read the steps of a session: one step, or a page that is limited in steps and in bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from weavegraph_checkpoints.backends.access import query_condition, steps_condition
from weavegraph_checkpoints.backends.base import SESSION, STEP, Backend
from weavegraph_checkpoints.backends.rows import JSON_COLUMNS, from_db_timestamp
from weavegraph_checkpoints.domain import Checkpoint, StepQuery, VersionedState
from weavegraph_checkpoints.domain.limits import MAX_PAGE_BYTES, MAX_PAGE_COLUMN_BYTES
from weavegraph_checkpoints.serde import checkpoint_from_columns

COLUMNS = ("state", *JSON_COLUMNS)
"""The columns of a step that a page may leave out."""

_NO_STATE = VersionedState()
_UNREAD = dict.fromkeys(JSON_COLUMNS, "'[]'") | {"state": "NULL", "versions_seen": "'{}'"}


def read_step(backend: Backend, session_id: str, step: int, owner: str | None) -> Checkpoint | None:
    """Return one step of a session."""
    condition, parameters = steps_condition(session_id, owner)
    source = f"{backend.steps_by_key} WHERE {condition} AND step = %s"
    for row in _iter_rows(backend, session_id, COLUMNS, source, [*parameters, step]):
        return _build_checkpoint(session_id, row)
    return None


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
    if backend.streams_rows:
        source = _select_matching(condition)
        parameters = [*parameters, *parameters, offset, limit]
        rows = _iter_rows(backend, session_id, columns, source, parameters, sizes)
        rows = _take_while_small(rows, max_bytes)
    else:
        source = _select_small(backend, condition, sizes)
        parameters = [*parameters, limit, offset, session_id, max_bytes, session_id]
        rows = _iter_rows(backend, session_id, columns, source, parameters)
    return total, tuple(_build_checkpoint(session_id, row) for row in rows)


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


def _take_while_small(rows: Iterator[Any], max_bytes: int) -> Iterator[Any]:
    """Yield rows until their sizes, the last two values of each, exceed the limits of a page.

    The driver reads a row only when it is asked for.
    """
    state_bytes = column_bytes = 0
    for position, (*row, state_size, columns_size) in enumerate(rows):
        state_bytes += state_size
        column_bytes += columns_size
        is_large = state_bytes > max_bytes or column_bytes > MAX_PAGE_COLUMN_BYTES
        if position and is_large:
            return
        yield row


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
) -> Iterator[Any]:
    selected = [
        backend.json_as_text(name) if name in columns else _UNREAD[name] for name in COLUMNS
    ]
    with backend.cursor() as cursor:
        cursor.execute(
            f"SELECT step, {STEP}.created_at,"
            f" (SELECT concurrency_limit FROM {SESSION} WHERE id = %s),"
            f" {', '.join([*selected, *sizes])} FROM {source}",
            [session_id, *parameters],
        )
        yield from cursor


def _build_checkpoint(session_id: str, row: Any) -> Checkpoint:
    step, created_at, limit, state, *documents = row
    return checkpoint_from_columns(
        session_id,
        step,
        from_db_timestamp(created_at),
        limit,
        _NO_STATE if state is None else state,
        *documents,
    )
