"""What changed between two states, for people to read.

The paths agree with those of an RFC 6902 patch: both find a change or neither, and
every path of the one is under a path of the other. A list has one change, not one for
each index that moved: patches differ in which item they align with which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from weavegraph_checkpoints.domain.state import VersionedState

Path = tuple[str | int, ...]

_ENCODER = msgspec.json.Encoder(order="sorted")


class Absent(Enum):
    """Stands for the value that is not there, before it is added or after it is removed."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One place of a document that is not what it was."""

    path: Path
    """The keys and indexes that lead to it, from the root of the document."""
    before: Any
    """``ABSENT`` where a key was added."""
    after: Any
    """``ABSENT`` where a key was removed."""
    at: int | None = None
    """In a list, the index of the first item that differs.

    ``before`` and ``after`` are then the items without the common beginning and end.
    """
    within: tuple[Change, ...] = ()
    """What changed inside the items, where each has stayed in its place."""

    def parts(self) -> Iterator[Change]:
        """Yield the smallest changes that make it up."""
        if self.within:
            for change in self.within:
                yield from change.parts()
        else:
            yield self


def same(before: Any, after: Any) -> bool:
    """Say whether two JSON values are the same: ``1``, ``1.0`` and ``True`` are not."""
    if before is after:
        return True
    if isinstance(before, str | int) or isinstance(after, str | int):
        return type(before) is type(after) and bool(before == after)
    return _ENCODER.encode(before) == _ENCODER.encode(after)


def changes(before: Any, after: Any, path: Path = ()) -> list[Change]:
    """Return what changed between two JSON documents, in the order of their keys."""
    return list(_changes(before, after, path))


def state_changes(before: VersionedState, after: VersionedState) -> list[Change]:
    """Return what changed between two states, in the layout of their persisted JSON."""
    return changes(msgspec.to_builtins(before), msgspec.to_builtins(after))


def common_ends(before: Sequence[Any], after: Sequence[Any]) -> tuple[int, int]:
    """Return how many items two sequences share at the beginning, and then at the end."""
    shortest = min(len(before), len(after))
    start = 0
    while start < shortest and same(before[start], after[start]):
        start += 1
    end = 0
    while end < shortest - start and same(before[-1 - end], after[-1 - end]):
        end += 1
    return start, end


def _changes(before: Any, after: Any, path: Path) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before | after:
            yield from _changes(before.get(key, ABSENT), after.get(key, ABSENT), (*path, key))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _list_changes(before, after, path)
    elif before is ABSENT or after is ABSENT or not same(before, after):
        yield Change(path=path, before=before, after=after)


def _list_changes(before: Sequence[Any], after: Sequence[Any], path: Path) -> Iterator[Change]:
    start, end = common_ends(before, after)
    old = list(before[start : len(before) - end])
    new = list(after[start : len(after) - end])
    if not old and not new:
        return
    within: list[Change] = []
    if len(old) == len(new) and all(map(_both_hold_others, old, new)):
        for index, (was, now) in enumerate(zip(old, new, strict=True), start):
            within += _changes(was, now, (*path, index))
    yield Change(path=path, before=old, after=new, at=start, within=tuple(within))


def _both_hold_others(before: Any, after: Any) -> bool:
    return any(
        isinstance(before, kind) and isinstance(after, kind) for kind in (dict, (list, tuple))
    )
