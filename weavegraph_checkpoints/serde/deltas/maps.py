"""Changes to ``extra.map``, whose values are JSON: by member, by splice, or as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.serde.codec import ENCODER
from weavegraph_checkpoints.serde.deltas.documents import (
    NOTHING,
    MapDelta,
    Splice,
    refuse,
    split_members,
)
from weavegraph_checkpoints.serde.deltas.sequences import find_edits, find_parts, rebuild
from weavegraph_checkpoints.serde.deltas.splices import SplicedText, find_splice

MIN_CHANGED_BYTES = 128
"""Smaller values are written as a whole."""
MAX_INNER_LEVELS = 4
"""How many levels of objects are compared by member; below, they are spliced."""
MAX_INNER_BYTES = 1024 * 1024
MAX_INNER_KEYS = 100_000
"""An object with more bytes and more keys, nested ones too, is spliced.

Members that are kept apart take many times the memory of their text.
"""
MAX_REPEATED_VALUE_BYTES = 64
MAX_REPEATED_BYTES = 1024
"""Values of ``extra.map`` up to these sizes, each and together, are written in every delta."""

_OPENING_BRACE = b"{"[0]

Json = TypeVar("Json", bytes, msgspec.Raw)

Member: TypeAlias = "msgspec.Raw | SplicedText | Members"
Members: TypeAlias = dict[str, Member]
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
    base: Mapping[str, Json], new: Mapping[str, Json], levels: int, repeated: Collection[str]
) -> dict[str, Any]:
    values: dict[str, msgspec.Raw] = {}
    delta: dict[str, Any] = {}
    for key, value in new.items():
        old = base.get(key)
        if old is None or key in repeated:
            values[key] = msgspec.Raw(bytes(value))
        elif old != value:
            kind, change = _build_change(bytes(old), bytes(value), levels)
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


def _build_order(base: Mapping[str, Json], order: tuple[str, ...]) -> dict[str, Any]:
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

    The kind depends on type and size only, so that a chain does not mix ``inner`` and
    ``splice``, which would split and join the value at each link.
    """
    kind = "map"
    change = new
    if min(len(old), len(new)) >= MIN_CHANGED_BYTES:
        if levels and old[:1] == new[:1] == b"{" and not _has_many_keys(new):
            kind, change = "inner", ENCODER.encode(_build_inner(old, new, levels - 1))
        else:
            kind, change = "splice", ENCODER.encode(find_splice(old, new))
        if len(change) >= len(new):
            kind, change = "map", new
    return kind, msgspec.Raw(change)


def _has_many_keys(value: bytes) -> bool:
    return len(value) > MAX_INNER_BYTES and value.count(b'":') > MAX_INNER_KEYS


def _build_inner(old: bytes, new: bytes, levels: int) -> dict[str, Any]:
    if new.startswith(b"%b," % old[:-1]):
        return {"add": msgspec.Raw(b"{%b" % new[len(old) :])}
    base, members = split_members(old), split_members(new)
    delta = _build_map_delta(base, members, levels, ())
    if "order" not in delta:
        added = [key for key in members if key not in base]
        if added:
            values = delta.pop("map")
            delta["add"] = {key: values.pop(key) for key in added}
            if values:
                delta["map"] = values
    return delta


def apply_map_delta(members: Members, delta: MapDelta, path: str) -> None:
    """Apply a delta to the members of an object, in place."""
    for key in delta.drop:
        _get_member(members, key, path)
        del members[key]
    if delta.splice:
        _apply_splices(members, delta.splice, path)
    if delta.inner:
        _apply_inner(members, delta.inner, path)
    members.update(delta.map)
    if delta.add is not NOTHING:
        members.update(split_members(bytes(delta.add), f"{path}.add"))
    if delta.order is not None:
        _reorder(members, delta.order, path)


def _apply_splices(members: Members, splices: Mapping[str, Splice], path: str) -> None:
    for key, (start, end, text) in splices.items():
        value = _get_spliced(members, key, path)
        if start + end > len(value):
            where = join_json_path(path, key)
            raise refuse(f"no {start} and {end} bytes in {len(value)}", where)
        value.splice(start, end, text.encode())


def _apply_inner(members: Members, deltas: Mapping[str, MapDelta], path: str) -> None:
    for key, inner in deltas.items():
        value = members.get(key)
        if isinstance(value, dict):
            apply_map_delta(value, inner, join_json_path(path, key))
        elif _only_adds(inner):
            _append_members(_get_spliced(members, key, path), inner.add, path, key)
        else:
            where = join_json_path(path, key)
            split: Members = {**split_members(join_value(_get_member(members, key, path)), where)}
            members[key] = split
            apply_map_delta(split, inner, where)


def _only_adds(delta: MapDelta) -> bool:
    is_other = delta.map or delta.drop or delta.splice or delta.inner
    return not is_other and delta.order is None and delta.add is not NOTHING


def _append_members(text: SplicedText, added: msgspec.Raw, path: str, key: str) -> None:
    """Append the members of an object to the JSON of another, which stays text."""
    members = bytes(added)
    if text.first_byte != _OPENING_BRACE:
        raise refuse("not an object", join_json_path(path, key))
    if not members.startswith(b"{"):
        raise refuse("not an object", f"{join_json_path(path, key)}.add")
    size = len(text)
    if len(members) > 2:
        text.splice(size - 1, 1, members[1:-1] if size == 2 else b",%b" % members[1:-1])


def _get_spliced(members: Members, key: str, path: str) -> SplicedText:
    value = _get_member(members, key, path)
    if not isinstance(value, SplicedText):
        members[key] = value = SplicedText(join_value(value))
    return value


def _get_member(members: Members, key: str, path: str) -> Member:
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


def join_value(value: Member) -> bytes:
    """Return the JSON of a value to which deltas were applied."""
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    if isinstance(value, SplicedText):
        return b"".join(value.pieces())
    return ENCODER.encode({key: _encodable(member) for key, member in value.items()})


def copy_members(members: Mapping[str, Member]) -> Members:
    """Return members to which deltas can be applied without changing these."""
    return {
        key: member if isinstance(member, msgspec.Raw) else _copy_member(member)
        for key, member in members.items()
    }


def _copy_member(member: SplicedText | Members) -> Member:
    return member.copy() if isinstance(member, SplicedText) else copy_members(member)


def count_objects(member: Member) -> int:
    """Return the number of parts in which a value is kept."""
    if isinstance(member, msgspec.Raw):
        return 1
    if isinstance(member, SplicedText):
        return 1 + len(member.pieces())
    return 1 + sum(map(count_objects, member.values()))


def _encodable(member: Member) -> msgspec.Raw:
    return member if isinstance(member, msgspec.Raw) else msgspec.Raw(join_value(member))
