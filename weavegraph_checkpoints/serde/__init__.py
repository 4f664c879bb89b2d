"""The persisted JSON, field for field the format of the Rust crate weavegraph 0.7.

What is read equals what was saved, in value and in type. A value that is not JSON raises an
error with its path; nothing is ever stripped, replaced or turned into ``null``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.checkpoint import Checkpoint, VersionsSeen, copy_versions_seen
from weavegraph_checkpoints.domain.limits import (
    MAX_CHANNEL_VERSION,
    MAX_CONCURRENCY_LIMIT,
    MAX_STEP,
    safe_repr,
)
from weavegraph_checkpoints.domain.nodes import NodeKind
from weavegraph_checkpoints.domain.state import (
    ErrorEvent,
    ErrorsChannel,
    ExtrasChannel,
    MessagesChannel,
    VersionedState,
)
from weavegraph_checkpoints.exceptions import InvalidCheckpoint, SerializationError
from weavegraph_checkpoints.serde.codec import ENCODER, decode, encode
from weavegraph_checkpoints.serde.errors import name_step
from weavegraph_checkpoints.serde.sizes import check_counts
from weavegraph_checkpoints.serde.values import check_state, check_value, state_document

T = TypeVar("T")

_Step = Annotated[int, msgspec.Meta(ge=0, le=MAX_STEP)]
_Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_CHANNEL_VERSION)]
_Nodes = Annotated[
    tuple[str, ...],
    msgspec.Meta(description="`Start`, `End` or `Custom:<name>`; any other text is a name."),
]
_Timestamp = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class MessagesDocument(MessagesChannel, frozen=True, kw_only=True):
    """The conversation."""

    version: _Version


class ExtrasDocument(ExtrasChannel, frozen=True, kw_only=True):
    """Free values by key."""

    version: _Version


class ErrorDocument(ErrorEvent, frozen=True, kw_only=True):
    """An error of the run."""

    when: _Timestamp = timestamps.EPOCH


class ErrorsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The errors so far."""

    version: _Version
    items: tuple[ErrorDocument, ...] = ()

    def channel(self) -> ErrorsChannel:
        return ErrorsChannel(version=self.version, items=[_event(item) for item in self.items])


class StateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The versioned state. Its values are stored without loss."""

    messages: MessagesDocument
    extra: ExtrasDocument
    errors: ErrorsDocument = ErrorsDocument(version=1)

    def state(self) -> VersionedState:
        return VersionedState(
            messages=MessagesChannel(version=self.messages.version, items=self.messages.items),
            extra=ExtrasChannel(version=self.extra.version, map=self.extra.map),
            errors=self.errors.channel(),
        )


def _event(document: ErrorDocument) -> ErrorEvent:
    return ErrorEvent(
        error=document.error,
        scope=document.scope,
        tags=document.tags,
        context=document.context,
        when=document.when,
    )


class CheckpointDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint. Unknown fields are ignored."""

    session_id: str
    step: _Step
    state: StateDocument
    frontier: Annotated[_Nodes, msgspec.Meta(description="The nodes to resume from.")]
    versions_seen: Annotated[
        VersionsSeen, msgspec.Meta(description="The version of each channel that each node saw.")
    ] = {}
    concurrency_limit: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=MAX_CONCURRENCY_LIMIT,
            description="The session keeps the limit of its first checkpoint.",
        ),
    ] = 1
    created_at: _Timestamp | msgspec.UnsetType = msgspec.UNSET
    ran_nodes: _Nodes = ()
    skipped_nodes: _Nodes = ()
    updated_channels: tuple[str, ...] = ()


class CheckpointToSave(CheckpointDocument, frozen=True, kw_only=True):
    """A checkpoint. `session_id` and `step` are optional; unknown fields are ignored."""

    session_id: str | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]
    step: _Step | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


_FIELDS: dict[str, Callable[[Checkpoint], Any]] = {
    "session_id": lambda checkpoint: checkpoint.session_id,
    "step": lambda checkpoint: checkpoint.step,
    "state": lambda checkpoint: state_document(checkpoint.state),
    "frontier": lambda checkpoint: _encode_nodes(checkpoint.frontier),
    "versions_seen": lambda checkpoint: copy_versions_seen(checkpoint.versions_seen),
    "concurrency_limit": lambda checkpoint: checkpoint.concurrency_limit,
    "created_at": lambda checkpoint: timestamps.format_timestamp(checkpoint.created_at),
    "ran_nodes": lambda checkpoint: _encode_nodes(checkpoint.ran_nodes),
    "skipped_nodes": lambda checkpoint: _encode_nodes(checkpoint.skipped_nodes),
    "updated_channels": lambda checkpoint: checkpoint.updated_channels,
}
"""The function that returns the JSON value of each field, in the order of the document."""


def _encode_nodes(nodes: tuple[NodeKind, ...]) -> list[str]:
    return [node.encoded for node in nodes]


_CHECKPOINT = msgspec.json.Decoder(CheckpointDocument)
_TO_SAVE = msgspec.json.Decoder(CheckpointToSave)
_STATE = msgspec.json.Decoder(StateDocument)
_NAMES = msgspec.json.Decoder(tuple[str, ...])
_VERSIONS_SEEN = msgspec.json.Decoder(VersionsSeen)
_ANY = msgspec.json.Decoder(Any)


def dumps(
    checkpoint: Checkpoint, fields: Collection[str] = _FIELDS, *, is_stored: bool = False
) -> bytes:
    """Return a checkpoint, or some of its fields, as UTF-8 JSON.

    If the checkpoint ``is_stored``, and was just read, its state is not checked again.

    Raise ``SerializationError`` with the path (``$.state.extra.map.total``) of a value that
    is not JSON or is nested more than 200 levels deep, and ``InvalidCheckpoint`` for
    ``versions_seen`` that were mutated into an invalid value.
    """
    if "state" in fields and not is_stored:
        check_state(checkpoint.state, "$.state")
    members = {name: write(checkpoint) for name, write in _FIELDS.items() if name in fields}
    return encode(members)


def loads(data: bytes | str) -> Checkpoint:
    """Return the checkpoint that ``dumps``, or the Rust crate, wrote.

    Raise ``SerializationError`` with the path of a field that is missing, has the wrong type
    or is outside its range. Unknown keys are ignored; of a duplicate key, the last value
    wins; a missing ``created_at`` is now.
    """
    document = decode(_CHECKPOINT, data, "$")
    checkpoint = _checkpoint(document, document.session_id, document.step)
    check_state(checkpoint.state, "$.state")
    return checkpoint


def loads_step(data: bytes | str, session_id: str, step: int) -> Checkpoint:
    """Return a checkpoint of this session and step, which the data may omit.

    Raise ``SerializationError`` as ``loads`` does, and for another session or step, and
    ``LimitExceeded`` for too many nodes, channels or versions. The depth of the free values
    is left to ``dumps_state``.
    """
    document = decode(_TO_SAVE, data, "$")
    check_counts(document)
    for name, expected in (("session_id", session_id), ("step", step)):
        found = getattr(document, name)
        if found is not msgspec.UNSET and found != expected:
            raise SerializationError(
                f"expected the {name} {safe_repr(expected)}, not {safe_repr(found)}", f"$.{name}"
            )
    return _checkpoint(document, session_id, step)


def _checkpoint(document: CheckpointDocument, session_id: str, step: int) -> Checkpoint:
    state = document.state.state()
    try:
        return Checkpoint(
            session_id=session_id,
            step=step,
            state=state,
            frontier=document.frontier,
            versions_seen=document.versions_seen,
            concurrency_limit=document.concurrency_limit,
            created_at=_created_at(document.created_at),
            ran_nodes=document.ran_nodes,
            skipped_nodes=document.skipped_nodes,
            updated_channels=document.updated_channels,
        )
    except InvalidCheckpoint as error:
        raise SerializationError(error.message, error.path) from None


def dumps_state(state: VersionedState, *, path: str = "$") -> bytes:
    """Return a state as UTF-8 JSON.

    ``path`` is the root of the paths in errors. Raise ``SerializationError`` as ``dumps``
    does.
    """
    check_state(state, path)
    return encode(state_document(state), path)


def loads_state(data: bytes | str) -> VersionedState:
    """Return the state that ``dumps_state``, or the Rust crate, wrote.

    Raise ``SerializationError`` as ``loads`` does.
    """
    state = decode(_STATE, data, "$").state()
    check_state(state, "$")
    return state


def dumps_nodes(nodes: tuple[NodeKind, ...]) -> str:
    """Return nodes as the JSON of a ``frontier`` or ``ran_nodes`` column."""
    return ENCODER.encode(_encode_nodes(nodes)).decode()


def loads_nodes(data: bytes | str) -> tuple[NodeKind, ...]:
    """Return the nodes of a ``frontier`` or ``ran_nodes`` column.

    Raise ``SerializationError`` for anything but a list of texts.
    """
    return tuple(map(NodeKind.decode, _names(data, "$")))


def dumps_json(value: object) -> str:
    """Return a JSON value as text.

    Raise ``SerializationError`` for a value that is not JSON, or is nested more than 210
    levels deep: a state has a few levels more than the free values in it.
    """
    check_value(value, "$", levels=210)
    return encode(value).decode()


def loads_as(kind: type[T], data: bytes | str) -> T:
    """Return a msgspec struct from JSON; raises ``SerializationError`` as ``loads`` does."""
    return decode(msgspec.json.Decoder(kind), data, "$")


def loads_json(data: bytes | str) -> Any:
    """Return the value of a JSON text. Raise ``SerializationError`` for invalid JSON."""
    return decode(_ANY, data, "$")


def checkpoint_from_columns(
    session_id: str,
    step: int,
    created_at: datetime,
    concurrency_limit: int,
    state: bytes | str | VersionedState | Callable[[], VersionedState],
    frontier: bytes | str,
    versions_seen: bytes | str,
    ran_nodes: bytes | str = "[]",
    skipped_nodes: bytes | str = "[]",
    updated_channels: bytes | str | None = None,
) -> Checkpoint:
    """Return the checkpoint in the columns of a stored row.

    ``state`` may be a ``VersionedState``, if the column was not read, or a function that
    returns one. Raise ``SerializationError`` with the session, the step and the path.
    """
    try:
        if callable(state):
            state = state()
        elif not isinstance(state, VersionedState):
            state = decode(_STATE, state, "$.state").state()
        seen = decode(_VERSIONS_SEEN, versions_seen, "$.versions_seen")
        return Checkpoint(
            session_id=session_id,
            step=step,
            state=state,
            frontier=_names(frontier, "$.frontier"),
            versions_seen=seen,
            concurrency_limit=concurrency_limit,
            created_at=created_at,
            ran_nodes=_names(ran_nodes, "$.ran_nodes"),
            skipped_nodes=_names(skipped_nodes, "$.skipped_nodes"),
            updated_channels=_names(
                "[]" if updated_channels is None else updated_channels, "$.updated_channels"
            ),
        )
    except (InvalidCheckpoint, SerializationError) as error:
        raise name_step(error, session_id, step) from None


def _names(data: bytes | str, path: str) -> tuple[str, ...]:
    return () if data == "[]" else decode(_NAMES, data, path)


def _created_at(text: str | msgspec.UnsetType) -> datetime:
    if text is msgspec.UNSET:
        return timestamps.now()
    try:
        return timestamps.parse_timestamp(text)
    except ValueError as error:
        raise SerializationError(str(error), "$.created_at") from None
