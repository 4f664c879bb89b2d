"""Refuses JSON in which an object has a key twice: of those, a reader keeps either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from weavegraph_checkpoints.domain.limits import shown
from weavegraph_checkpoints.domain.paths import member
from weavegraph_checkpoints.exceptions import SerializationError

_STATE_KEY = '"state":'

Pairs = list[tuple[str, Any]]


class _Duplicate(Exception):
    """An object has a key twice."""


class _Object:
    """The members of an object, those with the same key too."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


def check_unique_keys(data: str, state: str = "") -> None:
    """Raise ``SerializationError`` with the path of a key that stands twice in an object.

    ``data`` has been decoded without an error; ``state`` is what ``dumps_state`` made of
    the state in it. Where the two agree in every character, as they do in what serde and
    other compact encoders write, the state needs no second look: that makes the check
    nearly free, where a scan of the whole costs more than decoding did.
    """
    rest = _without(state, data)
    if rest is None:
        compact = msgspec.json.format(data, indent=-1)
        rest = _without(state, compact) or compact
    try:
        _scan(rest)
    except _Duplicate:
        path, key = next(_duplicates(_members(rest), "$"))
        raise SerializationError(f"the key {shown(key)} stands twice", path) from None
    except RecursionError:
        raise SerializationError("nested too deep", "$") from None


def _without(state: str, data: str) -> str | None:
    """Return ``data`` without its state, or ``None`` unless that is ``state`` exactly.

    What follows a key ``"state":`` and begins with a whole object is that object, so
    what is cut out holds no key twice, wherever it stands.
    """
    key = data.find(_STATE_KEY)
    start = key + len(_STATE_KEY)
    if state and key >= 0 and data.startswith(state, start):
        return f"{data[:start]}0{data[start + len(state) :]}"
    return None


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
            yield from _duplicates(item, member(path, position))
    elif isinstance(value, _Object):
        seen = set()
        for key, item in value.pairs:
            if key in seen:
                yield member(path, key), key
            seen.add(key)
            yield from _duplicates(item, member(path, key))
