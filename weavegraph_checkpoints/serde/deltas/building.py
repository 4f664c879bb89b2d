"""Build the delta of a state on a base."""

from __future__ import annotations

from operator import is_
from typing import NamedTuple

import msgspec

from weavegraph_checkpoints.domain.state import ErrorsChannel, Message, VersionedState
from weavegraph_checkpoints.serde import dumps_state
from weavegraph_checkpoints.serde.codec import ENCODER
from weavegraph_checkpoints.serde.deltas.folding import PATH, FoldedState
from weavegraph_checkpoints.serde.deltas.maps import build_extras_delta
from weavegraph_checkpoints.serde.deltas.sequences import (
    Part,
    find_gaps,
    find_parts,
    identical_prefix_length,
)
from weavegraph_checkpoints.serde.deltas.sizes import count_items_bytes, count_state_bytes
from weavegraph_checkpoints.serde.values import (
    check_channels,
    check_event,
    check_value,
    event_document,
)

_EMPTY_RUN = b"[0,0]"
_NO_ERRORS = msgspec.Raw(b"[%b]" % _EMPTY_RUN)


class Delta(NamedTuple):
    """The JSON of a delta, and the length of the JSON of the whole state."""

    document: bytes
    state_bytes: int


def build_delta(base: FoldedState, state: VersionedState, path: str = PATH) -> Delta:
    """Return the delta that makes ``state`` of ``base``.

    ``state_bytes`` is the length of ``dumps_state(state)``. Raise ``SerializationError`` as
    ``dumps_state`` does; ``path`` is the root of the paths in errors.
    """
    try:
        return _build(base, state, path)
    except (AttributeError, TypeError, ValueError):
        # Of several invalid values, name the one that dumps_state names.
        dumps_state(state, path=path)
        raise


def build_empty_delta(base: FoldedState) -> bytes:
    """Return the delta of the state that ``base`` itself is."""
    return ENCODER.encode(
        {
            "messages": {"version": base.messages_version, "items": [(0, len(base.messages))]},
            "extra": {"version": base.extra_version, **build_extras_delta(base.extra, base.extra)},
            "errors": {"version": base.errors_version, "items": [(0, len(base.errors))]},
        }
    )


def _build(base: FoldedState, state: VersionedState, path: str) -> Delta:
    check_channels(state, path)
    items, messages_bytes = _build_messages(base, state.messages.items)
    check_value(state.extra.map, f"{path}.extra.map")
    extra = {key: ENCODER.encode(value) for key, value in state.extra.map.items()}
    errors = _encode_errors(state.errors, path)
    document = {
        "messages": {"version": state.messages.version, "items": items},
        "extra": {"version": state.extra.version, **build_extras_delta(base.extra, extra)},
        "errors": {"version": state.errors.version, "items": _build_errors(base.errors, errors)},
    }
    state_bytes = count_state_bytes(
        (state.messages.version, state.extra.version, state.errors.version),
        state.messages.items,
        messages_bytes,
        extra,
        errors,
    )
    return Delta(ENCODER.encode(document), state_bytes)


def _build_messages(base: FoldedState, items: tuple[Message, ...]) -> tuple[msgspec.Raw, int]:
    """Return the JSON of the items of a delta, and the length of all messages."""
    known = identical_prefix_length(base.messages, items)
    parts = find_parts(base.messages, items, known)
    _check_messages(base.messages, items, parts, known)
    pieces = [] if parts and parts[0].from_base else [_EMPTY_RUN]
    new_bytes = 0
    for part in parts:
        if part.from_base:
            pieces.append(b"[%d,%d]" % (part.start, part.stop))
            continue
        piece = ENCODER.encode(items[part.start : part.stop])[1:-1]
        pieces.append(piece)
        new_bytes += len(piece) - (part.stop - part.start - 1)
    gaps = find_gaps(parts, len(base.messages))
    if gaps is None:
        total = count_items_bytes(items)
    else:
        dropped = sum(count_items_bytes(base.messages[start:stop]) for start, stop in gaps)
        total = base.messages_bytes - dropped + new_bytes
    first = parts[0] if parts else Part(False, 0, 0)
    if first.from_base and first.start == 0 and first.stop > known:
        base.adopt(items[: first.stop])
    return msgspec.Raw(b"[%b]" % b",".join(pieces)), total


def _check_messages(
    base: tuple[Message, ...], items: tuple[Message, ...], parts: list[Part], known: int
) -> None:
    """Raise ``TypeError`` unless all items are messages with text.

    The first ``known`` items are objects of the base, which are valid. Others may be equal to
    those, and yet invalid: a subclass of ``str`` equals its text.
    """
    position = 0
    for part in parts:
        start = max(position, known)
        position += part.stop - part.start
        old = base[part.stop - position + start : part.stop] if part.from_base else ()
        if len(old) != position - start or not all(map(is_, old, items[start:position])):
            for message in items[start:position]:
                if (
                    type(message) is not Message
                    or type(message.role) is not str
                    or type(message.content) is not str
                ):
                    raise TypeError("not a message with text")


def _encode_errors(errors: ErrorsChannel, path: str) -> tuple[bytes, ...]:
    encoded = []
    for position, event in enumerate(errors.items):
        check_event(event, f"{path}.errors.items[{position}]")
        encoded.append(ENCODER.encode(event_document(event)))
    return tuple(encoded)


def _build_errors(base: tuple[bytes, ...], errors: tuple[bytes, ...]) -> msgspec.Raw:
    """Return the JSON of the items of a delta."""
    if not (base or errors):
        return _NO_ERRORS
    parts = find_parts(base, errors)
    pieces = [] if parts and parts[0].from_base else [_EMPTY_RUN]
    for part in parts:
        if part.from_base:
            pieces.append(b"[%d,%d]" % (part.start, part.stop))
        else:
            pieces += errors[part.start : part.stop]
    return msgspec.Raw(b"[%b]" % b",".join(pieces))
