"""Runs: how a sequence is made of parts of another and of new items."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, NamedTuple, TypeVar

from weavegraph_checkpoints.serde.deltas.documents import refuse

T = TypeVar("T")
Sliceable = TypeVar("Sliceable", bytes, tuple[Any, ...])


class Part(NamedTuple):
    """The items ``start`` to ``stop`` (exclusive) of the base, or of the new sequence."""

    from_base: bool
    start: int
    stop: int


def identical_prefix_length(base: Sequence[object], new: Sequence[object]) -> int:
    """Return how many items at the start are the same objects."""
    return next(compress(count(), map(is_not, base, new)), min(len(base), len(new)))


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
    positions = {base[at]: at for at in range(base_stop - 1, start - 1, -1)}
    parts: list[Part] = []
    at = literal = start
    while at < new_stop:
        found = positions.get(new[at])
        if found is None:
            at += 1
            continue
        if literal < at:
            parts.append(Part(False, literal, at))
        length = 1
        while (
            at + length < new_stop
            and found + length < base_stop
            and base[found + length] == new[at + length]
        ):
            length += 1
        parts.append(Part(True, found, found + length))
        at = literal = at + length
    if literal < new_stop:
        parts.append(Part(False, literal, new_stop))
    return parts


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


class Edit(NamedTuple):
    """Replace the items ``start`` to ``stop`` (exclusive) with others."""

    start: int
    stop: int
    items: list[Any]


def find_edits(items: Sequence[Any], size: int, path: str) -> list[Edit] | None:
    """Return the edits that the items of a delta make to a base of ``size`` items.

    Return ``None`` if they do not keep its order. Raise ``SerializationError`` for a run
    outside the base.
    """
    edits: list[Edit] = []
    new: list[Any] = []
    position = 0
    ordered = True
    for index, item in enumerate(items):
        if type(item) is not tuple:
            new.append(item)
            continue
        start, stop = item
        if not start <= stop <= size:
            raise refuse(f"no run [{start}, {stop}] in {size} items", f"{path}[{index}]")
        ordered = ordered and start >= position
        if new or start > position:
            edits.append(Edit(position, start, new))
            new = []
        position = stop
    if new or position < size:
        edits.append(Edit(position, size, new))
    return edits if ordered else None


def rebuild(base: Sequence[Any], items: Sequence[Any]) -> list[Any]:
    """Return the items of a delta, with those of the base in place of its runs."""
    new: list[Any] = []
    for item in items:
        if type(item) is tuple:
            new += base[item[0] : item[1]]
        else:
            new.append(item)
    return new
