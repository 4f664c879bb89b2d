"""Fork a session: copy its labels, steps and the keyframes that they need in the database."""

from __future__ import annotations

from typing import NoReturn

from django.db import transaction

from weavegraph_checkpoints import telemetry
from weavegraph_checkpoints.backends.base import (
    INSERT_SESSION,
    MAX_KEYFRAMES,
    SESSION,
    STEP,
    Backend,
)
from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.backends.keyframes import generate_shift, split_by_need
from weavegraph_checkpoints.backends.labels import copy_labels
from weavegraph_checkpoints.backends.rows import DATA_COLUMNS
from weavegraph_checkpoints.exceptions import SessionExists, SessionNotFound

_DATA = ", ".join(DATA_COLUMNS)
_UP_TO = f"FROM {STEP} WHERE session_id = %s AND step <= %s"


def fork(backend: Backend, source: str, target: str, at_step: int, owner: str | None) -> None:
    """Copy the labels of ``source``, and its steps up to ``at_step``, into a new session.

    Raise ``SessionExists`` or ``SessionNotFound``.
    """
    with transaction.atomic(backend.connection.alias), backend.connection.cursor() as cursor:
        # Several statements must read the same steps, so the source is locked.
        locked = backend.lock([source])
        if not locked or owner not in (None, locked[0].owner):
            raise SessionNotFound(source)
        # NOT EXISTS does not wait for a target that is locked, as the source of another fork.
        cursor.execute(
            f"{INSERT_SESSION[:-1]}, forked_at_step) SELECT %s, owner, concurrency_limit,"
            f" {backend.now}, {backend.now}, 0, 0, 'empty', id, (SELECT MAX(step) {_UP_TO})"
            f" FROM {SESSION} AS origin WHERE id = %s AND EXISTS (SELECT 1 {_UP_TO})"
            f" AND NOT EXISTS (SELECT 1 FROM {SESSION} AS existing WHERE existing.id = %s)"
            f" {backend.on_session_conflict}",
            [target, source, at_step, source, source, at_step, target],
        )
        if cursor.rowcount != 1:
            _refuse(backend, source, target, at_step, owner)
        shift = _copy_keyframes(backend, source, target, at_step)
        copied = _DATA.replace("base_id", f"base_id + ({shift})")
        cursor.execute(
            f"INSERT INTO {STEP} (session_id, step, {_DATA}) SELECT %s, step, {copied}"
            f" {_UP_TO} ORDER BY step DESC",
            [target, source, at_step],
        )
        telemetry.set_rows(cursor.rowcount)
        copy_labels(backend, source, target)


def _copy_keyframes(backend: Backend, source: str, target: str, at_step: int) -> int:
    """Copy the keyframes that steps need; return what the ids of the copies differ by."""
    uses = backend.get_keyframe_uses([source], at_step)
    needed, _ = split_by_need(uses)
    if not needed:
        return 0
    shift = generate_shift(row.id for row in needed)
    # From the roots on, so that each keyframe comes after the one that it refers to.
    ids = sorted((row.id for row in needed), reverse=True)
    for batch in batched(ids, MAX_KEYFRAMES):
        backend.copy_keyframes(source, target, batch, shift)
    return shift


def _refuse(
    backend: Backend, source: str, target: str, at_step: int, owner: str | None
) -> NoReturn:
    if not backend.fetch_all(f"SELECT 1 {_UP_TO} LIMIT 1", [source, at_step]):
        raise SessionNotFound(source, "has no step to fork")
    existing = backend.get_session(target)
    if existing is not None and owner not in (None, existing.owner):
        raise SessionNotFound(target)
    raise SessionExists(target)
