"""Changes to ``extra.map``, whose values are JSON: by member, by splice, or as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.serde.codec import ENCODER
from weavegraph_checkpoints.serde.deltas.documents import MapDelta, refuse, split_members
from weavegraph_checkpoints.serde.deltas.sequences import find_edits, find_parts, rebuild
from weavegraph_checkpoints.serde.deltas.splices import SplicedText, find_splice

MIN_CHANGED_BYTES = 128
"""Smaller values are written as a whole."""
MAX_INNER_LEVELS = 4
"""How many levels of objects are compared by member; below, they are spliced."""
MAX_REPEATED_VALUE_BYTES = 64
MAX_REPEATED_BYTES = 1024
"""Values of ``extra.map`` up to these sizes, each and together, are written in every delta."""

Members: TypeAlias = dict[str, "bytes | SplicedText | Members"]
"""The members of an object while deltas are applied to it."""


def build_extras_delta(base: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the changes to ``extra.map``, with the small values that did not change."""
    return _build_map_delta(base, new, MAX_INNER_LEVELS, _find_repeated(new))


def _find_repeated(values: Mapping[str, bytes]) -> set[str]:
    """Return the keys of the small values that are written in every delta."""
    left = MAX_REPEATED_BYTES
    repeated = set()
    for key, value in values.items():
        size = len(value)
        if size <= MAX_REPEATED_VALUE_BYTES and left >= size + len(key):
            left -= size + len(key)
            repeated.add(key)
    return repeated


def _build_map_delta(
    base: Mapping[str, bytes], new: Mapping[str, bytes], levels: int, repeated: set[str]
) -> dict[str, Any]:
    values: dict[str, msgspec.Raw] = {}
    delta: dict[str, Any] = {}
    for key, value in new.items():
        old = base.get(key)
        if old is None or key in repeated:
            values[key] = msgspec.Raw(value)
        elif old != value:
            kind, change = _build_change(old, value, levels)
            if kind == "map":
                values[key] = change
            else:
                delta.setdefault(kind, {})[key] = change
    if values:
        delta["map"] = values
    order = tuple(new)
    if order[: len(base)] != tuple(base):
        delta |= _build_order(base, order)
    return delta


def _build_order(base: Mapping[str, bytes], order: tuple[str, ...]) -> dict[str, Any]:
    """Return the keys to drop, and the order of the others unless it is kept."""
    delta: dict[str, Any] = {}
    wanted = set(order)
    drop = [key for key in base if key not in wanted]
    if drop:
        delta["drop"] = drop
    keys = tuple(key for key in base if key in wanted)
    keys += tuple(key for key in order if key not in base)
    if keys != order:
        delta["order"] = [(part.start, part.stop) for part in find_parts(keys, order)]
    return delta


def _build_change(old: bytes, new: bytes, levels: int) -> tuple[str, msgspec.Raw]:
    """Return the kind of a change, ``inner``, ``splice`` or ``map``, and its JSON.

    The kind depends on the type only, so that a chain does not mix ``inner`` and ``splice``,
    which would split and join the value at each link.
    """
    kind = "map"
    change = new
    if min(len(old), len(new)) >= MIN_CHANGED_BYTES:
        if levels and old[:1] == new[:1] == b"{":
            delta = _build_map_delta(split_members(old), split_members(new), levels - 1, set())
            kind, change = "inner", ENCODER.encode(delta)
        else:
            kind, change = "splice", ENCODER.encode(find_splice(old, new))
        if len(change) >= len(new):
            kind, change = "map", new
    return kind, msgspec.Raw(change)


def apply_map_delta(members: Members, delta: MapDelta, path: str) -> None:
    """Apply a delta to the members of an object, in place."""
    for key in delta.drop:
        _get_member(members, key, path)
        del members[key]
    for key, (start, end, text) in delta.splice.items():
        value = _get_member(members, key, path)
        if not isinstance(value, SplicedText):
            members[key] = value = SplicedText(join_value(value))
        if start + end > len(value):
            where = join_json_path(path, key)
            raise refuse(f"no {start} and {end} bytes in {len(value)}", where)
        value.splice(start, end, text.encode())
    for key, inner in delta.inner.items():
        value = _get_member(members, key, path)
        where = join_json_path(path, key)
        if not isinstance(value, dict):
            members[key] = value = {**split_members(join_value(value), where)}
        apply_map_delta(value, inner, where)
    for key, raw in delta.map.items():
        members[key] = bytes(raw)
    if delta.order is not None:
        _reorder(members, delta.order, path)


def _get_member(members: Members, key: str, path: str) -> bytes | SplicedText | Members:
    try:
        return members[key]
    except KeyError:
        raise refuse("no such key", join_json_path(path, key)) from None


def _reorder(members: Members, order: tuple[tuple[int, int], ...], path: str) -> None:
    keys = list(members)
    find_edits(order, len(keys), path)
    ordered = rebuild(keys, order)
    if len(ordered) != len(keys) or len(set(ordered)) != len(keys):
        raise refuse("the order does not have each key once", path)
    values = dict(members)
    members.clear()
    members.update((key, values[key]) for key in ordered)


def join_value(value: bytes | SplicedText | Members) -> bytes:
    """Return the JSON of a value to which deltas were applied."""
    if type(value) is bytes:
        return value
    pieces: list[bytes | memoryview] = []
    _collect_pieces(value, pieces)
    return b"".join(pieces)


def _collect_pieces(value: bytes | SplicedText | Members, pieces: list[bytes | memoryview]) -> None:
    if isinstance(value, bytes):
        pieces.append(value)
    elif isinstance(value, SplicedText):
        pieces += value.pieces()
    else:
        separator = b"{"
        for key, member in value.items():
            pieces += (separator, ENCODER.encode(key), b":")
            _collect_pieces(member, pieces)
            separator = b","
        pieces.append(b"}" if value else b"{}")
