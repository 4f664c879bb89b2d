"""The statements of labels: set them, and find sessions by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet

from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.base import LABEL, Backend
from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.backends.rows import placeholders
from weavegraph_checkpoints.domain.labels import check_label_count
from weavegraph_checkpoints.exceptions import SessionNotFound
from weavegraph_checkpoints.models import Label

MAX_RARE_SESSIONS = 5000
"""Sessions that a label finds by its index, to be sorted; above, sessions are read in order."""


def set_labels(
    backend: Backend,
    session_id: str,
    changes: Mapping[str, str | None],
    owner: str | None,
    *,
    replace: bool,
) -> dict[str, str]:
    """Change the labels of a session under its lock, and return all that it has then.

    Raise ``SessionNotFound``, and ``InvalidLabel`` if there would be too many.
    """
    with transaction.atomic(backend.connection.alias):
        locked = backend.lock([session_id])
        if not locked or owner not in (None, locked[0].owner):
            raise SessionNotFound(session_id)
        backend.claim_labels(session_id)
        stored = read_labels(backend, [session_id], backend.get_read_lock()).get(session_id, {})
        merged = {**({} if replace else stored), **changes}
        labels = {key: value for key, value in sorted(merged.items()) if value is not None}
        check_label_count(len(labels))
        old = [key for key in stored if labels.get(key) != stored[key]]
        new = [(key, value) for key, value in labels.items() if stored.get(key) != value]
        _write(backend, session_id, old, new)
    return labels


def _write(
    backend: Backend, session_id: str, old: Sequence[str], new: Sequence[tuple[str, str]]
) -> None:
    """Delete the labels with the keys ``old``, then insert ``new``."""
    key = backend.connection.ops.quote_name("key")
    with backend.connection.cursor() as cursor:
        if old:
            cursor.execute(
                f"{backend.delete_labels} WHERE session_id = %s AND {key} IN ({placeholders(old)})",
                [session_id, *old],
            )
        if new:
            cursor.execute(
                f"INSERT INTO {LABEL} (session_id, {key}, value)"
                f" VALUES {', '.join(['(%s, %s, %s)'] * len(new))}",
                [text for label in new for text in (session_id, *label)],
            )


def copy_labels(backend: Backend, source: str, target: str) -> None:
    """Copy the labels of a session to another, which has none."""
    key = backend.connection.ops.quote_name("key")
    with backend.connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {LABEL} (session_id, {key}, value) SELECT %s, {key}, value"
            f" FROM {LABEL} WHERE session_id = %s",
            [target, source],
        )


def get_labels(backend: Backend, session_id: str, owner: str | None) -> dict[str, str]:
    """Return the labels of a session of an owner, sorted by key; none if it does not exist."""
    labels = Label.objects.using(backend.connection.alias).filter(session_id=session_id)
    if owner is not None:
        labels = labels.filter(session__owner=owner)
    return dict(labels.order_by("key").values_list("key", "value"))


def read_labels(
    backend: Backend, session_ids: Sequence[str], lock: str = ""
) -> dict[str, dict[str, str]]:
    """Return the labels of each session that has any, sorted by key.

    One query, or several if the database does not take as many parameters.
    """
    size = backend.connection.features.max_query_params or max(1, len(session_ids))
    found: dict[str, dict[str, str]] = {}
    for batch in batched(session_ids, size):
        rows = backend.fetch_all(
            f"SELECT label.session_id, label.key, label.value FROM {LABEL} AS label"
            f" WHERE label.session_id IN ({placeholders(batch)})"
            f" ORDER BY label.session_id, label.key {lock}",
            batch,
        )
        for session_id, labels in groupby(rows, itemgetter(0)):
            found[session_id] = {key: value for _, key, value in labels}
    return found


def find_rarest_label(backend: Backend, labels: Mapping[str, str]) -> str | None:
    """Return the key of the label that fewest sessions have, up to ``MAX_RARE_SESSIONS``.

    Return ``None`` if more sessions have each of them. One query, which counts no further.
    """
    count = (
        f"SELECT %s, COUNT(*) FROM (SELECT 1 AS one FROM {LABEL} AS label WHERE label.key = %s"
        f" AND label.value = %s LIMIT {MAX_RARE_SESSIONS + 1}) AS bounded"
    )
    parameters: list[Any] = [text for key, value in labels.items() for text in (key, key, value)]
    counts = backend.fetch_all(" UNION ALL ".join([count] * len(labels)), parameters)
    key, fewest = min(counts, key=itemgetter(1))
    return str(key) if fewest <= MAX_RARE_SESSIONS else None


def filter_by_labels(sessions: QuerySet[Any], labels: Mapping[str, str]) -> QuerySet[Any]:
    """Return the sessions that have all of some labels. One query, if there are any."""
    if not labels:
        return sessions
    rarest = find_rarest_label(get_backend(connections[sessions.db]), labels)
    return sessions.with_labels(labels, rarest=rarest)  # type: ignore[attr-defined, no-any-return]
