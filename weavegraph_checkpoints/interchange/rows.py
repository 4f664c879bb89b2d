"""What stands in the crate's rows, and its way to the columns of this app."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.domain import Checkpoint, timestamps
from weavegraph_checkpoints.domain.limits import (
    MAX_CONCURRENCY_LIMIT,
    MAX_STEP,
    check_integer,
    check_session_id,
    is_session_id,
    safe_repr,
)
from weavegraph_checkpoints.exceptions import (
    InvalidCheckpoint,
    SerializationError,
    StateTooLarge,
)
from weavegraph_checkpoints.interchange.crate import (
    MAX_INTEGER,
    MIN_INTEGER,
    check_holdable,
    to_text,
)
from weavegraph_checkpoints.interchange.sql import HeldStep
from weavegraph_checkpoints.serde import checkpoint_from_columns, dumps_nodes, loads_json
from weavegraph_checkpoints.serde.values import check_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """What keeps a session from being moved."""

    session_id: str
    """As far as it can be shown."""
    step: object
    """``None`` where it is the session itself."""
    reason: str

    def __str__(self) -> str:
        where = f"session {self.session_id!r}"
        if self.step is not None:
            where += f", step {self.step}"
        return f"{where}: {self.reason}"


class SourceHead(NamedTuple):
    """A row of ``sessions``, as it stands there."""

    created_at: Any
    updated_at: Any
    concurrency_limit: Any


class SourceStep(NamedTuple):
    """A row of ``steps``, as it stands there."""

    step: Any
    created_at: Any
    state: Any
    frontier: Any
    versions_seen: Any
    ran_nodes: Any
    skipped_nodes: Any
    updated_channels: Any

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return len(self.state) if isinstance(self.state, str | bytes) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHead:
    """A session that is to come in, without its steps."""

    session_id: str
    created_at: datetime
    updated_at: datetime
    concurrency_limit: int


def session_head(session_id: str, head: SourceHead) -> SessionHead:
    """Decode a row of sessions; raises ``InvalidCheckpoint`` and ``SerializationError``."""
    check_integer(head.concurrency_limit, "concurrency_limit", MAX_CONCURRENCY_LIMIT)
    return SessionHead(
        session_id=session_id,
        created_at=_instant(head.created_at, "$.created_at"),
        updated_at=_instant(head.updated_at, "$.updated_at"),
        concurrency_limit=head.concurrency_limit,
    )


def id_as_text(value: object) -> str:
    """Return the id of a session; raises ``InvalidCheckpoint`` and ``SerializationError``."""
    text = _text(value, "$.session_id")
    check_session_id(text)
    return text


def shown_id(value: object) -> str:
    """Return any id as text for a message."""
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    return value if is_session_id(value) and isinstance(value, str) else safe_repr(value)


def step_row(session_id: str, row: SourceStep, max_bytes: int | None) -> StepRow:
    """Decode a row of steps, all of it, and return it as the columns of this app.

    The text of the state is taken over as it is. Raises ``SerializationError`` and
    ``InvalidCheckpoint``.
    """
    check_integer(row.step, "step", MAX_STEP)
    state = row.state if isinstance(row.state, bytes) else _text(row.state, "$.state").encode()
    if max_bytes is not None and len(state) > max_bytes:
        raise StateTooLarge(len(state), max_bytes)
    channels = row.updated_channels
    checkpoint = checkpoint_from_columns(
        session_id,
        row.step,
        _instant(row.created_at, "$.created_at"),
        1,
        state,
        _text(row.frontier, "$.frontier"),
        _text(row.versions_seen, "$.versions_seen"),
        _text(row.ran_nodes, "$.ran_nodes"),
        _text(row.skipped_nodes, "$.skipped_nodes"),
        None if channels is None else _text(channels, "$.updated_channels"),
    )
    check_state(checkpoint.state, "$.state")
    return _columns(checkpoint, state, has_channels=channels is not None)


def _columns(checkpoint: Checkpoint, state: bytes, *, has_channels: bool) -> StepRow:
    encode = msgspec.json.encode
    return StepRow(
        session_id=checkpoint.session_id,
        step=checkpoint.step,
        concurrency_limit=checkpoint.concurrency_limit,
        created_at=checkpoint.created_at,
        message_count=len(checkpoint.state.messages.items),
        error_count=len(checkpoint.state.errors.items),
        state_bytes=len(state),
        frontier=dumps_nodes(checkpoint.frontier),
        ran_nodes=dumps_nodes(checkpoint.ran_nodes),
        skipped_nodes=dumps_nodes(checkpoint.skipped_nodes),
        updated_channels=encode(checkpoint.updated_channels).decode() if has_channels else None,
        versions_seen=encode(checkpoint.versions_seen).decode(),
        state=state,
    )


class TargetStep(NamedTuple):
    """A row of ``steps`` as the crate would write it."""

    step: int
    created_at: str
    state: str
    frontier: str
    versions_seen: str
    ran_nodes: str
    skipped_nodes: str
    updated_channels: str | None

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return len(self.state)


def target_step(session_id: str, held: HeldStep) -> TargetStep:
    """Return a stored step in the form of the crate, its state as it is.

    Raises ``SerializationError`` for a row that cannot be decoded, and for what the crate
    cannot hold.
    """
    checkpoint = checkpoint_from_columns(
        session_id,
        held.step,
        held.created_at,
        1,
        held.state,
        held.frontier,
        held.versions_seen,
        held.ran_nodes,
        held.skipped_nodes,
        held.updated_channels,
    )
    check_holdable(loads_json(held.state), checkpoint.state)
    columns = _columns(checkpoint, b"", has_channels=held.updated_channels is not None)
    return TargetStep(
        step=held.step,
        created_at=to_text(held.created_at),
        state=held.state,
        frontier=columns.frontier,
        versions_seen=columns.versions_seen,
        ran_nodes=columns.ran_nodes,
        skipped_nodes=columns.skipped_nodes,
        updated_channels=columns.updated_channels,
    )


def from_jsonb(text: str) -> str:
    """Return the text of a ``jsonb`` state in the crate's own form.

    ``jsonb`` writes large floats as integers. The crate never saves an integer beyond 64
    bits, and reads such a one as the float that it was.
    """
    try:
        return msgspec.json.encode(_with_floats(loads_json(text))).decode()
    except (SerializationError, RecursionError):
        return text


def _with_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    if type(value) is int and not MIN_INTEGER <= value <= MAX_INTEGER:
        try:
            return float(value)
        except OverflowError:
            return value
    return value


def invalid(
    session_id: str, step: object, error: InvalidCheckpoint | SerializationError
) -> Invalid:
    """Return what an error says of a row."""
    message = error.message.removeprefix(f"session {session_id!r}, step {step}: ")
    return Invalid(session_id=session_id, step=step, reason=f"{message} (at {error.path})")


def _text(value: object, path: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise SerializationError(f"not valid UTF-8: {error}", path) from None
    if not isinstance(value, str):
        raise SerializationError(f"expected text, not {safe_repr(value)}", path)
    return value


def _instant(value: object, path: str) -> datetime:
    try:
        return timestamps.from_text(_text(value, path))
    except ValueError as error:
        message = error.message if isinstance(error, SerializationError) else str(error)
        raise SerializationError(message, path) from None
