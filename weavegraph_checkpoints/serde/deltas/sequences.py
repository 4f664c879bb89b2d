"""Runs: how a sequence is made of parts of another and of new items."""

from __future__ import annotations

from collections.abc import Sequence
from operator import countOf, length_hint
from typing import Any, NamedTuple, TypeVar

from weavegraph_checkpoints.serde.deltas.documents import refuse

T = TypeVar("T")
Sliceable = TypeVar("Sliceable", bytes, tuple[Any, ...])

Edit = tuple[int, int, Sequence[Any]]
"""The items ``start`` to ``stop`` (exclusive) are replaced with others."""

_NEAR_ITEMS = 16


class Part(NamedTuple):
    """The items ``start`` to ``stop`` (exclusive) of the base, or of the new sequence."""

    from_base: bool
    start: int
    stop: int


def identical_prefix_length(base: Sequence[object], new: Sequence[object]) -> int:
    """Return how many items at the start are the same objects."""
    rest = iter(new)
    for old, item in zip(base, rest, strict=False):
        if old is not item:
            return len(new) - length_hint(rest) - 1
    return min(len(base), len(new))


def common_prefix_length(base: Sliceable, new: Sliceable) -> int:
    """Return how many items at the start are equal; slices are compared in C."""
    low, high = 0, min(len(base), len(new))
    if base[:high] == new[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if base[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle
    return low


def common_suffix_length(base: Sliceable, new: Sliceable) -> int:
    """Return how many items at the end are equal."""
    size, new_size = len(base), len(new)
    low, high = 0, min(size, new_size)
    if base[size - high :] == new[new_size - high :]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if base[size - middle : size - low] == new[new_size - middle : new_size - low]:
            low = middle
        else:
            high = middle
    return low


def find_parts(base: tuple[T, ...], new: tuple[T, ...], known: int = 0) -> list[Part]:
    """Return the parts that make up ``new``; the first ``known`` items are known to be equal.

    Items are compared by ``==`` and hashed.
    """
    start = known + common_prefix_length(base[known:], new[known:])
    end = common_suffix_length(base[start:], new[start:])
    parts = [Part(True, 0, start)] if start else []
    base_stop, new_stop = len(base) - end, len(new) - end
    if start == base_stop and start < new_stop:
        parts.append(Part(False, start, new_stop))
    elif start < new_stop:
        parts += _align(base, new, start, base_stop, new_stop)
    if end:
        parts.append(Part(True, base_stop, len(base)))
    return parts


def _align(
    base: tuple[T, ...], new: tuple[T, ...], start: int, base_stop: int, new_stop: int
) -> list[Part]:
    """Return the parts of the items between the common start and the common end."""
    positions: dict[T, int] = {}
    parts: list[Part] = []
    at = literal = expected = start
    while at < new_stop:
        found = _find_near(base, new[at], expected, base_stop)
        if found is None:
            positions = positions or {base[i]: i for i in range(base_stop - 1, start - 1, -1)}
            found = positions.get(new[at])
        if found is None:
            at += 1
            continue
        if literal < at:
            parts.append(Part(False, literal, at))
        length = _match_length(base, found, base_stop, new, at, new_stop)
        expected = found + length
        parts.append(Part(True, found, expected))
        at = literal = at + length
    if literal < new_stop:
        parts.append(Part(False, literal, new_stop))
    return parts


def _find_near(base: tuple[T, ...], item: T, start: int, stop: int) -> int | None:
    """Return the position of an item among the next few of the base."""
    try:
        return base.index(item, start, min(stop, start + _NEAR_ITEMS))
    except ValueError:
        return None


def _match_length(
    base: tuple[T, ...], base_at: int, base_stop: int, new: tuple[T, ...], at: int, stop: int
) -> int:
    """Return how many items are equal from two positions on."""
    length, step = 0, _NEAR_ITEMS
    while True:
        old = base[base_at + length : min(base_stop, base_at + length + step)]
        items = new[at + length : min(stop, at + length + step)]
        equal = common_prefix_length(old, items)
        length += equal
        if equal < step:
            return length
        step *= 2


def find_gaps(parts: list[Part], size: int) -> list[tuple[int, int]] | None:
    """Return the parts of the base that are left out; ``None`` if its order is not kept."""
    gaps = []
    position = 0
    for part in parts:
        if not part.from_base:
            continue
        if part.start < position:
            return None
        if part.start > position:
            gaps.append((position, part.start))
        position = part.stop
    if position < size:
        gaps.append((position, size))
    return gaps


def find_appended(items: tuple[Any, ...], size: int) -> tuple[Any, ...] | None:
    """Return the new items of a delta that only appends to a base of ``size`` items.

    Return ``None`` for any other delta.
    """
    if not items or items[0] != (0, size):
        return None
    new = items[1:]
    if not new:
        return new
    # A type is compared with itself by identity, which is much faster than with another one.
    kind = type(new[0])
    is_new = kind is not tuple and countOf(map(type, new), kind) == len(new)
    return new if is_new else None


def find_edits(items: tuple[Any, ...], size: int, path: str) -> list[Edit] | None:
    """Return the edits that the items of a delta make to a base of ``size`` items.

    Return ``None`` if they do not keep its order. Raise ``SerializationError`` for a run
    outside the base.
    """
    indexes = [index for index, item in enumerate(items) if type(item) is tuple]
    edits: list[Edit] = []
    position = following = 0
    ordered = True
    for index in indexes:
        start, stop = items[index]
        if not start <= stop <= size:
            raise refuse(f"no run [{start}, {stop}] in {size} items", f"{path}[{index}]")
        if start < position:
            ordered = False
        if start > position or following < index:
            edits.append((position, start, items[following:index]))
        position = stop
        following = index + 1
    if position < size or following < len(items):
        edits.append((position, size, items[following:]))
    return edits if ordered else None


def rebuild(base: Sequence[Any], items: tuple[Any, ...]) -> list[Any]:
    """Return the items of a delta, with those of the base in place of its runs."""
    new: list[Any] = []
    for item in items:
        if type(item) is tuple:
            new += base[item[0] : item[1]]
        else:
            new.append(item)
    return new
