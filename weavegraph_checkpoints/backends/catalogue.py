"""Find sessions: a page of them without their states, in one statement."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from weavegraph_checkpoints.backends.base import LABEL, SESSION, Backend
from weavegraph_checkpoints.backends.labels import find_rarest_label
from weavegraph_checkpoints.backends.rows import from_db_timestamp
from weavegraph_checkpoints.domain import SessionInfo, SessionPage
from weavegraph_checkpoints.domain.limits import is_session_id, safe_repr
from weavegraph_checkpoints.exceptions import InvalidQuery, SerializationError
from weavegraph_checkpoints.querysets import match_labels
from weavegraph_checkpoints.serde import loads_nodes

_COLUMNS = (
    "id",
    "owner",
    "status",
    "concurrency_limit",
    "created_at",
    "updated_at",
    "last_step",
    "revision",
    "last_message_count",
    "last_error_count",
    "last_state_bytes",
    "last_frontier",
    "forked_from",
    "forked_at_step",
)

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?", re.ASCII)


class Cursor(NamedTuple):
    """The position of a session among all, most recently updated first, ties by id."""

    updated_at: str
    """As text in UTC, exactly as it is stored."""
    session_id: str

    def encode(self) -> str:
        """Return the cursor as text for a URL."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: object) -> Cursor:
        """Return the cursor that ``encode`` returned as text. Raise ``InvalidQuery``."""
        try:
            if not isinstance(text, str):
                raise ValueError(text)
            padded = text + "=" * (-len(text) % 4)
            updated_at, session_id = json.loads(base64.b64decode(padded, b"-_", validate=True))
            if not (is_session_id(session_id) and _TIMESTAMP.fullmatch(updated_at)):
                raise ValueError(text)
            datetime.fromisoformat(updated_at)
        except (TypeError, ValueError, binascii.Error, RecursionError):
            raise InvalidQuery(f"not a cursor: {safe_repr(text)}", "after") from None
        return cls(updated_at, session_id)


class SessionQuery(NamedTuple):
    """Which sessions to find. All values are valid."""

    labels: Mapping[str, str]
    owner: str | None
    status: str | None
    updated_after: datetime | None
    updated_before: datetime | None
    limit: int
    after: Cursor | None


def find_page(backend: Backend, query: SessionQuery) -> SessionPage:
    """Return a page of sessions. One query, or two with labels.

    Raise ``SerializationError`` for a session whose next nodes are not a list of nodes.
    """
    rarest = find_rarest_label(backend, query.labels) if query.labels else None
    condition, parameters = _build_condition(backend, query, rarest)
    columns = ", ".join(
        backend.json_as_text(name) + " AS last_frontier" if name == "last_frontier" else name
        for name in _COLUMNS
    )
    rows = backend.fetch_all(
        f"SELECT page.*, (SELECT {backend.labels_as_json} FROM {LABEL} AS label"
        f" WHERE label.session_id = page.id) FROM (SELECT {columns},"
        f" {backend.utc_as_text('updated_at')} AS position FROM {SESSION} WHERE {condition}"
        " ORDER BY updated_at DESC, id LIMIT %s) AS page ORDER BY page.updated_at DESC, page.id",
        [*parameters, query.limit + 1],
    )
    shown = rows[: query.limit]
    has_next = len(rows) > len(shown) and bool(shown)
    return SessionPage(
        sessions=[_build_info(row) for row in shown],
        next_after=Cursor(shown[-1][-2], shown[-1][0]).encode() if has_next else None,
    )


def _build_condition(
    backend: Backend, query: SessionQuery, rarest: str | None
) -> tuple[str, list[Any]]:
    """Return the SQL condition on the sessions of a page, and its parameters."""

    def column(name: str) -> str:
        # SQLite without statistics would prefer an index on a column that finds more sessions.
        return name if rarest is None else backend.without_index(name)

    conditions: list[str] = []
    parameters: list[Any] = []
    for name, text in (("owner", query.owner), ("status", query.status)):
        if text is not None:
            conditions.append(f"{column(name)} = %s")
            parameters.append(text)
    updated_at = column("updated_at")
    for operator, bound in ((">=", query.updated_after), ("<=", query.updated_before)):
        if bound is not None:
            conditions.append(f"{updated_at} {operator} %s")
            parameters.append(backend.to_bound(bound, is_upper=operator == "<="))
    if query.after is not None:
        last = backend.from_utc_text(query.after.updated_at)
        conditions.append(f"{updated_at} <= %s AND ({updated_at} < %s OR id > %s)")
        parameters += [last, last, query.after.session_id]
    if query.labels:
        vendor = backend.connection.vendor
        matches, values = match_labels(vendor, LABEL, f"{SESSION}.id", query.labels, rarest)
        conditions.append(matches)
        parameters += values
    return " AND ".join(conditions) or "1 = 1", parameters


def _build_info(row: tuple[Any, ...]) -> SessionInfo:
    session_id, *columns, _position, labels = row
    fields = dict(zip(_COLUMNS[1:], columns, strict=True))
    frontier = fields["last_frontier"]
    try:
        nodes = () if frontier is None else loads_nodes(frontier)
    except SerializationError as error:
        message = f"session {session_id!r}: {error.message}"
        raise SerializationError(message, "$.last_frontier") from None
    return SessionInfo(
        **{
            **fields,
            "session_id": session_id,
            "created_at": from_db_timestamp(fields["created_at"]),
            "updated_at": from_db_timestamp(fields["updated_at"]),
            "last_frontier": nodes,
            "labels": {} if labels is None else dict(sorted(json.loads(labels).items())),
        }
    )
