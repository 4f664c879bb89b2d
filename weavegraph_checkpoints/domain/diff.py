"""The differences between two JSON documents, for people to read.

The paths agree with those of an RFC 6902 patch: both find a change or neither, and every
path of one is under a path of the other. A list has one change, not one per index that
moved, because patches differ in how they align the items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

Path = tuple[str | int, ...]

MAX_COMPARISONS = 100_000
"""Default of a ``DiffBudget``: about 0.3 s of work."""
BYTES_PER_COMPARISON = 64
"""Bytes of JSON that cost as much as the comparison of one value."""

MAX_OVERDRAFT = 100
"""Keys of an object that are compared although fewer comparisons are left, but not none."""

_ENCODER = msgspec.json.Encoder(order="sorted")


class DiffBudget:
    """The work that all comparisons of one request share.

    A comparison that finds its budget exhausted no longer looks inside a changed value: it
    reports the value as a whole.
    """

    def __init__(self, comparisons: int = MAX_COMPARISONS) -> None:
        self.remaining = comparisons
        """Comparisons that are left; negative if the last one cost more than that."""
        self.is_exceeded = False
        """Whether a value was compared as a whole for lack of comparisons."""

    @property
    def is_exhausted(self) -> bool:
        """Whether no comparisons are left."""
        return self.remaining <= 0

    def spend(self, comparisons: int) -> None:
        """Spend comparisons, of which some may be missing."""
        self.remaining -= comparisons

    def spend_bytes(self, size: int) -> None:
        """Spend the comparison of a value whose JSON has ``size`` bytes."""
        self.remaining -= 1 + size // BYTES_PER_COMPARISON

    def reserve(self, comparisons: int) -> bool:
        """Spend comparisons if that many are left; return whether they were."""
        if comparisons > self.remaining:
            self.is_exceeded = True
            return False
        self.remaining -= comparisons
        return True


class Absent(Enum):
    """The type of ``ABSENT``: no value, before a key is added or after it is removed."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A changed value of a document."""

    path: Path
    """The keys and indexes from the root of the document to the value."""
    before: Any
    """``ABSENT`` if the key was added."""
    after: Any
    """``ABSENT`` if the key was removed."""
    at: int | None = None
    """For a list, the index of the first item that differs.

    ``before`` and ``after`` are then the items without the common beginning and end.
    """
    within: tuple[Change, ...] = ()
    """For a list whose items were changed in place, the changes inside the items."""

    def parts(self) -> Iterator[Change]:
        """Yield the innermost changes."""
        if self.within:
            for change in self.within:
                yield from change.parts()
        else:
            yield self


def is_same_json(before: Any, after: Any, budget: DiffBudget | None = None) -> bool:
    """Return whether two JSON values are the same; ``1``, ``1.0`` and ``True`` differ.

    The comparison is exact even if the budget is exhausted.
    """
    if before is after:
        return True
    if isinstance(before, str | int) or isinstance(after, str | int):
        return type(before) is type(after) and bool(before == after)
    old, new = _ENCODER.encode(before), _ENCODER.encode(after)
    if budget is not None:
        budget.spend_bytes(len(old) + len(new))
    return old == new


def diff_json(
    before: Any, after: Any, path: Path = (), *, budget: DiffBudget | None = None
) -> list[Change]:
    """Return the changes between two JSON documents, in the order of their keys.

    Once the budget is exhausted, a changed value is one change, however little of it differs.
    Without ``budget``, the call has one of its own.
    """
    return list(_iter_changes(before, after, path, budget or DiffBudget()))


def count_common_ends(
    before: Sequence[Any], after: Sequence[Any], budget: DiffBudget | None = None
) -> tuple[int, int]:
    """Return the numbers of items that two sequences share at the beginning and at the end.

    The numbers are exact even if the budget is exhausted: no item is compared more than twice.
    """
    shortest = min(len(before), len(after))
    start = 0
    while start < shortest and is_same_json(before[start], after[start], budget):
        start += 1
    end = 0
    while end < shortest - start and is_same_json(before[-1 - end], after[-1 - end], budget):
        end += 1
    if budget is not None:
        budget.spend(start + end)
    return start, end


def _iter_changes(before: Any, after: Any, path: Path, budget: DiffBudget) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict) and _can_open(before, after, budget):
        for key in before | after:
            yield from _iter_changes(
                before.get(key, ABSENT), after.get(key, ABSENT), (*path, key), budget
            )
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _iter_list_changes(before, after, path, budget)
    elif before is ABSENT or after is ABSENT or not is_same_json(before, after, budget):
        yield Change(path=path, before=before, after=after)


def _can_open(before: Sized, after: Sized, budget: DiffBudget) -> bool:
    """Return whether the budget allows the comparison of all keys of two objects; spend it.

    Objects with few keys may overdraw a budget that is not exhausted.
    """
    if budget.is_exhausted:
        return False
    count = max(len(before), len(after))
    if count > MAX_OVERDRAFT:
        return budget.reserve(count)
    budget.spend(count)
    return True


def _iter_list_changes(
    before: Sequence[Any], after: Sequence[Any], path: Path, budget: DiffBudget
) -> Iterator[Change]:
    start, end = count_common_ends(before, after, budget)
    old = list(before[start : len(before) - end])
    new = list(after[start : len(after) - end])
    if not old and not new:
        return
    within: list[Change] = []
    if len(old) == len(new) and not budget.is_exhausted and all(map(_are_containers, old, new)):
        for index, (was, now) in enumerate(zip(old, new, strict=True), start):
            within += _iter_changes(was, now, (*path, index), budget)
    yield Change(path=path, before=old, after=new, at=start, within=tuple(within))


def _are_containers(before: Any, after: Any) -> bool:
    return any(
        isinstance(before, kind) and isinstance(after, kind) for kind in (dict, (list, tuple))
    )
