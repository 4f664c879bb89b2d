"""Convert rows between the crate's tables and those of this app."""

from __future__ import annotations

from datetime import datetime

from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.backends.rows import SessionRow
from weavegraph_checkpoints.domain import Checkpoint, timestamps
from weavegraph_checkpoints.domain.limits import (
    MAX_CONCURRENCY_LIMIT,
    MAX_STEP,
    check_integer,
    check_session_id,
    is_session_id,
    safe_repr,
)
from weavegraph_checkpoints.exceptions import SerializationError, StateTooLarge
from weavegraph_checkpoints.interchange.crate import (
    DOCUMENTS,
    CrateSession,
    CrateStep,
    check_crate_limits,
    format_timestamp,
)
from weavegraph_checkpoints.serde import checkpoint_from_columns, loads_json
from weavegraph_checkpoints.serde.values import check_state


def decode_session_id(value: object) -> str:
    """Return a session id as text.

    Raises ``SerializationError`` if it is not UTF-8 text, and ``InvalidCheckpoint`` if this
    app cannot store it.
    """
    text = _decode_text(value, "$.session_id")
    check_session_id(text)
    return text


def format_session_id(value: object) -> str:
    """Return a session id, valid or not, as text for a message."""
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    return value if isinstance(value, str) and is_session_id(value) else safe_repr(value)


def decode_session(session_id: str, session: CrateSession, owner: str) -> SessionRow:
    """Return a session of the crate as a new, empty session of this app.

    Raises ``SerializationError`` and ``InvalidCheckpoint``.
    """
    check_integer(session.concurrency_limit, "concurrency_limit", MAX_CONCURRENCY_LIMIT)
    return SessionRow(
        session_id=session_id,
        owner=owner,
        status="empty",
        concurrency_limit=session.concurrency_limit,
        created_at=_decode_timestamp(session.created_at, "$.created_at"),
        updated_at=_decode_timestamp(session.updated_at, "$.updated_at"),
        last_step=0,
    )


def decode_step(session_id: str, step: CrateStep, max_state_bytes: int | None) -> StepRow:
    """Return a step of the crate as a row of this app; the text of its state is kept.

    Raises ``SerializationError`` and ``InvalidCheckpoint``.
    """
    check_integer(step.step, "step", MAX_STEP)
    if isinstance(step.state, str):
        step = step._replace(state=step.state.encode())
    if max_state_bytes is not None and step.size > max_state_bytes:
        raise StateTooLarge(step.size, max_state_bytes)
    created_at = _decode_timestamp(step.created_at, "$.created_at")
    checkpoint = checkpoint_from_columns(session_id, step.step, created_at, 1, *step[2:])
    check_state(checkpoint.state, "$.state")
    return _build_row(checkpoint, step.state, step.updated_channels, is_stored=False)


def encode_step(row: StepRow) -> CrateStep:
    """Return a stored step as the crate writes it; the text of its state is kept.

    Raises ``SerializationError`` if the row cannot be decoded, or the crate would alter it.
    """
    documents = {name: getattr(row, name) for name in DOCUMENTS}
    checkpoint = checkpoint_from_columns(row.session_id, row.step, row.created_at, 1, **documents)
    check_crate_limits(loads_json(row.state), checkpoint.state)
    row = _build_row(checkpoint, row.state, row.updated_channels, is_stored=True)
    step = CrateStep(*(getattr(row, name) for name in CrateStep._fields))
    return step._replace(created_at=format_timestamp(row.created_at), state=row.state.decode())


def _build_row(
    checkpoint: Checkpoint, state: bytes, updated_channels: object, *, is_stored: bool
) -> StepRow:
    row = StepRow.from_checkpoint(checkpoint, None, state, is_stored=is_stored)
    return row if updated_channels is not None else row._replace(updated_channels=None)


def _decode_text(value: object, path: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise SerializationError(f"not valid UTF-8: {error}", path) from None
    if not isinstance(value, str):
        raise SerializationError(f"expected text, not {safe_repr(value)}", path)
    return value


def _decode_timestamp(value: object, path: str) -> datetime:
    text = _decode_text(value, path)
    try:
        return timestamps.parse_timestamp(text)
    except ValueError as error:
        raise SerializationError(str(error), path) from None
