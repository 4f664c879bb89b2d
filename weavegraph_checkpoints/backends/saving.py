"""Save a step: one statement if the newest keyframe is known, else under the session's lock."""

from __future__ import annotations

from django.db import transaction

from weavegraph_checkpoints.backends.access import check_writable
from weavegraph_checkpoints.backends.base import Attempt, Backend
from weavegraph_checkpoints.backends.chains import memory, read_bases
from weavegraph_checkpoints.backends.drafts import Draft, StoredState
from weavegraph_checkpoints.backends.rows import LockedSession
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde.deltas import ChainState


def save(
    backend: Backend,
    draft: Draft,
    owner: str | None,
    expected: int | None,
    *,
    replace: bool = True,
) -> None:
    """Save a step, and its session and keyframe if they are new, in one transaction.

    With ``expected``, save only if that is the last step. Raise ``SessionNotFound`` for a
    session of another owner, ``ConcurrencyConflict`` for another last step, and without
    ``replace`` ``StepExists`` for a step that exists.
    """
    stored = draft.stored
    attempt: Attempt = "refused"
    if stored.keyframe is None:
        attempt = backend.save_into_existing(draft.row, owner, expected, replace=replace)
    if attempt != "saved":
        is_missing = attempt == "no session"
        with transaction.atomic(backend.connection.alias):
            found = backend.lock_or_create(draft.row, owner, expected, is_missing=is_missing)
            check_writable(found, draft.row, owner, expected)
            stored = _store(backend, draft, found)
            backend.insert_step(draft.build_row(stored), replace=replace)
    draft.remember(stored)


def _store(backend: Backend, draft: Draft, found: LockedSession | None) -> StoredState:
    """Return how to store a state in a locked session, and insert its keyframe."""
    stored = draft.stored
    newest_id = None if found is None else found.last_base_id
    if (found is None or found.is_empty) and draft.chain_state != ChainState():
        # What is remembered is of a session that was deleted, or of a save that was rolled back.
        stored = draft.store_on(None, ChainState())
    elif stored.newest_id != newest_id and (stored.base is not None or draft.may_have_base):
        stored = _store_on(backend, draft, newest_id)
    if stored.keyframe is not None and not backend.insert_keyframe(stored.keyframe):
        # The newest step was deleted, but not the keyframe that was inserted with it.
        stored = draft.store_root(None, ChainState())
        if stored.keyframe is not None:
            backend.insert_keyframe(stored.keyframe)
    return stored


def _store_on(backend: Backend, draft: Draft, newest_id: int | None) -> StoredState:
    session_id = draft.row.session_id
    if newest_id is None:
        known = memory.get(backend.connection.alias, session_id)
        return draft.store_on(None, known.chain_state if known.newest is None else ChainState())
    try:
        newest = read_bases(backend, session_id, [newest_id]).get(newest_id)
    except SerializationError:
        # It is damaged, or this transaction began before it was inserted and does not see it.
        return draft.store_whole(None, ChainState())
    return draft.store_on(newest, newest.get_chain_state())
