"""The JSON of a delta: the structure of a state, with runs of the items of its base.

``items`` begins with a run ``[start, stop]``, which no state does, so a document says itself
whether it is a delta.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec

from weavegraph_checkpoints.domain.limits import MAX_CHANNEL_VERSION
from weavegraph_checkpoints.domain.state import Message
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde.codec import decode
from weavegraph_checkpoints.serde.errors import from_decode_error

Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_CHANNEL_VERSION)]
_Position = Annotated[int, msgspec.Meta(ge=0)]

Run = tuple[_Position, _Position]
"""The items ``start`` to ``stop`` (exclusive) of the base."""
Splice = tuple[_Position, _Position, str]
"""How many bytes of the base are kept at the start and at the end, and the text between."""


NOTHING = msgspec.Raw(b"")
"""What stands for a JSON value that a delta does not have."""


class MapDelta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to an object: the members to drop, to change, to set and to append, and their order.

    ``add`` is an object of members that the base does not have. ``order`` has runs of the keys
    as they are after the other changes.
    """

    drop: tuple[str, ...] = ()
    splice: dict[str, Splice] = {}
    inner: dict[str, MapDelta] = {}
    map: dict[str, msgspec.Raw] = {}
    add: msgspec.Raw = NOTHING
    order: tuple[Run, ...] | None = None


class ExtrasDelta(MapDelta, frozen=True, kw_only=True):
    """Changes to ``extra``."""

    version: Version


class MessagesDelta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs of the messages of the base, and new messages."""

    version: Version
    items: tuple[Run | Message, ...]


class ErrorsDelta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs of the errors of the base, and the JSON of new errors."""

    version: Version
    items: tuple[msgspec.Raw, ...]


class DeltaDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a state adds to its base."""

    messages: MessagesDelta
    extra: ExtrasDelta
    errors: ErrorsDelta


class _MessagesWhole(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    items: tuple[Message, ...] = ()


class _ExtrasWhole(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    map: dict[str, msgspec.Raw] = {}


class _ErrorsWhole(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    items: tuple[msgspec.Raw, ...] = ()


class WholeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A state; its free values and errors are left as JSON. Unknown keys are ignored."""

    messages: _MessagesWhole
    extra: _ExtrasWhole
    errors: _ErrorsWhole = _ErrorsWhole(version=1)


_START_OF_DELTA = r'\s*\{\s*"messages"\s*:\s*\{\s*"version"\s*:\s*\d+\s*,\s*"items"\s*:\s*\[\s*\['
_DELTA_TEXT = re.compile(_START_OF_DELTA, re.ASCII)
_DELTA_BYTES = re.compile(_START_OF_DELTA.encode())

_DELTA = msgspec.json.Decoder(DeltaDocument)
_DELTAS = msgspec.json.Decoder(list[DeltaDocument])
_WHOLE = msgspec.json.Decoder(WholeDocument)
_RUN = msgspec.json.Decoder(Run)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_delta(document: bytes | str) -> bool:
    """Return whether a document is a delta: its messages begin with a run."""
    if isinstance(document, str):
        return _DELTA_TEXT.match(document) is not None
    return _DELTA_BYTES.match(document) is not None


def decode_delta(document: bytes | str, path: str) -> DeltaDocument:
    return decode(_DELTA, document, path)


def decode_whole(document: bytes | str, path: str) -> WholeDocument:
    return decode(_WHOLE, document, path)


def decode_links(
    documents: Sequence[bytes | str], path: str
) -> Sequence[DeltaDocument | WholeDocument]:
    """Return the documents of a chain. Raise ``SerializationError`` for one that is damaged."""
    return _decode_deltas(documents) or [
        decode_delta(document, path) if is_delta(document) else decode_whole(document, path)
        for document in documents
    ]


def _decode_deltas(documents: Sequence[bytes | str]) -> Sequence[DeltaDocument] | None:
    """Return some deltas by one call, which takes less time; ``None`` if one is not a delta."""
    try:
        texts = [each if isinstance(each, str) else each.decode() for each in documents]
        if len(texts) == 1:
            deltas = [_DELTA.decode(texts[0])]
        else:
            # JSON has no line feed inside of a text, so each document ends at its separator.
            deltas = _DELTAS.decode("[" + ",\n".join(texts) + "]")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    are_deltas = all(type(next(iter(each.messages.items), None)) is tuple for each in deltas)
    return deltas if are_deltas and len(deltas) == len(texts) else None


def decode_error_item(item: msgspec.Raw, path: str) -> tuple[int, int] | bytes:
    """Return a run, or the JSON of an error."""
    data = bytes(item)
    return decode(_RUN, data, path) if data.startswith(b"[") else data


def split_members(value: bytes, path: str = "$") -> dict[str, msgspec.Raw]:
    """Return the JSON of each member of an object."""
    try:
        return _MEMBERS.decode(value)
    except (msgspec.DecodeError, ValueError) as error:
        raise from_decode_error(error, value, path) from None


def refuse(reason: str, path: str) -> SerializationError:
    """Return the error for a delta that does not fit its base."""
    return SerializationError(f"the delta does not fit its base: {reason}", path)
