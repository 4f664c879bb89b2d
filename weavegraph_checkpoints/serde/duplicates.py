"""Refuses JSON in which an object has a key twice: of those, a reader keeps either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from weavegraph_checkpoints.domain.limits import safe_repr
from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.exceptions import SerializationError

_STATE_KEY = b'"state":'
_NO_MEMBER = b"{}"
_NO_ERRORS = b'{"version":1,"items":[]}'

Pairs = list[tuple[str, Any]]


class _Duplicate(Exception):
    """An object has a key twice."""


class _Object:
    """The members of an object, those with the same key too."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


class _Message(msgspec.Struct, gc=False):
    role: Raw
    content: Raw


class _Messages(msgspec.Struct):
    version: Raw
    items: list[_Message] | UnsetType = UNSET


class _Extra(msgspec.Struct):
    version: Raw
    map: Raw | UnsetType = UNSET


class _State(msgspec.Struct):
    messages: _Messages
    extra: _Extra
    errors: Raw | UnsetType = UNSET


class _Checkpoint(msgspec.Struct):
    """A checkpoint whose values are left as they are written."""

    state: _State
    versions_seen: Raw | UnsetType = UNSET
    session_id: Raw | UnsetType = UNSET
    step: Raw | UnsetType = UNSET
    frontier: Raw | UnsetType = UNSET
    concurrency_limit: Raw | UnsetType = UNSET
    created_at: Raw | UnsetType = UNSET
    ran_nodes: Raw | UnsetType = UNSET
    skipped_nodes: Raw | UnsetType = UNSET
    updated_channels: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    """What the API adds, of any type."""


_CHECKPOINT = msgspec.json.Decoder(_Checkpoint)
_ENCODER = msgspec.json.Encoder()


def check_unique_keys(data: bytes, state: bytes = b"") -> None:
    """Raise ``SerializationError`` with the path of a key that stands twice in an object.

    ``data`` has been decoded without an error. ``state``, where ``data`` is a checkpoint,
    is what ``dumps_state`` made of the state in it: what agrees with that in every
    character, as what serde and other compact encoders write does, needs no second look.
    That makes the check cheap, where a scan of the whole costs more than decoding did.
    """
    try:
        found = _found(data, state)
    except RecursionError:
        raise SerializationError("nested too deep", "$") from None
    if found is not None:
        path, key = found
        raise SerializationError(f"the key {safe_repr(key)} stands twice", path)


def _found(data: bytes, state: bytes) -> tuple[str, str] | None:
    """Return the path and the name of the first key that stands twice."""
    try:
        for part in _unseen(data, state) if state else [data]:
            _scan(part.decode())
    except _Duplicate:
        return next(_duplicates(_members(data.decode()), "$"))
    return None


def _unseen(data: bytes, state: bytes) -> list[bytes]:
    """Return the parts of a checkpoint in which a key may stand twice."""
    rest = _without(state, data)
    if rest is not None:
        return [rest]
    compact = msgspec.json.format(data, indent=-1)
    rest = _without(state, compact)
    return _free_values(compact, state) if rest is None else [rest]


def _without(state: bytes, data: bytes) -> bytes | None:
    """Return ``data`` without its state, or ``None`` unless that is ``state`` exactly.

    What follows a key ``"state":`` and begins with a whole object is that object, so
    what is cut out holds no key twice, wherever it stands.
    """
    key = data.find(_STATE_KEY)
    start = key + len(_STATE_KEY)
    if key >= 0 and data.startswith(state, start):
        return b"%b0%b" % (data[:start], data[start + len(state) :])
    return None


def _free_values(compact: bytes, state: bytes) -> list[bytes]:
    """Return the free values in a compact checkpoint, unless they are as in ``state``.

    Around them a key that stands twice, is unknown, or has escapes in it makes the
    checkpoint longer than it is when it is written again; then it is returned whole.
    """
    checkpoint = _CHECKPOINT.decode(compact)
    if len(_ENCODER.encode(checkpoint)) != len(compact):
        return [compact]
    extra = _written(checkpoint.state.extra.map, _NO_MEMBER)
    errors = _written(checkpoint.state.errors, _NO_ERRORS)
    others = [_written(each, _NO_MEMBER) for each in (checkpoint.versions_seen, checkpoint.url)]
    # What follows a key "map": and begins with whole values is those, as above.
    if state.endswith(b'"map":%b},"errors":%b}' % (extra, errors)):
        return others
    return [*others, extra, errors]


def _written(value: Raw | UnsetType, default: bytes) -> bytes:
    return default if value is UNSET else bytes(value)


def _unique(pairs: Pairs) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _Duplicate


# Numbers are not looked at: those of JSON can be longer than Python reads.
_scan = json.JSONDecoder(object_pairs_hook=_unique, parse_int=len, parse_float=len).decode
_members = json.JSONDecoder(object_pairs_hook=_Object, parse_int=len, parse_float=len).decode


def _duplicates(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each key that stands twice, in document order."""
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _duplicates(item, join_json_path(path, position))
    elif isinstance(value, _Object):
        seen = set()
        for key, item in value.pairs:
            if key in seen:
                yield join_json_path(path, key), key
            seen.add(key)
            yield from _duplicates(item, join_json_path(path, key))
