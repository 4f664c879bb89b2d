"""The difference between two states, as an RFC 6902 patch of bounded cost.

The states are compared as JSON text, one level at a time: a value that did not change is
never decoded, and a changed one is copied into the patch as it is stored.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain.diff import DiffBudget

MAX_LEVELS = 100
"""Values nested deeper are replaced whole."""
MAX_KEYS = 200_000
"""An object whose text may have more keys than this, at any level, is replaced whole."""
MAX_ITEMS = 400_000
"""A list whose text has more commas than this is replaced whole."""
MAX_ALIGNED_ITEMS = 100_000
"""Longer lists, without their common ends, are compared item by item."""
MAX_BYTES_BESIDES_STATE = 1024 * 1024
"""A patch may have this many bytes more than twice the state that it leads to."""
BYTES_PER_COMPARISON = 2048
ITEMS_PER_COMPARISON = 8
COMPARISONS_PER_LEVEL = 8
_MAX_CANONICAL_BYTES = 256 * 1024
_OPERATION_BYTES = 40

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])

Path = tuple[Any, ...]
"""The path to the parent (empty for the root), and a key or an index."""
Run = tuple[int, int, int, int]
"""A part ``before[a:b]`` of a list that becomes ``after[c:d]``, as ``(a, b, c, d)``."""


class _PatchTooLong(Exception):
    """The patch would be longer than the whole state."""


def build_patch(
    before: bytes, after: bytes, budget: DiffBudget | None = None
) -> list[dict[str, Any]]:
    """Return the patch that turns one state, as JSON, into another.

    It distinguishes 1 from 1.0 and from true, and 0.0 from -0.0. Once the budget is
    exhausted, changed values are replaced whole; a patch that would be much longer than
    the state replaces the three channels. Raise ``SerializationError`` for a state that is
    not JSON.
    """
    old, new = (Raw(_normalize(state)) for state in (before, after))
    builder = _PatchBuilder(budget or DiffBudget(), 2 * len(new) + MAX_BYTES_BESIDES_STATE)
    try:
        builder.compare((), old, new)
    except _PatchTooLong:
        channels = serde.loads_as(dict[str, Raw], bytes(new))
        return [
            {"op": "replace", "path": f"/{name}", "value": value}
            for name, value in channels.items()
        ]
    return builder.operations


def _normalize(data: bytes) -> bytes:
    """Return a state as the API returns it.

    A long state is taken as it is stored if it begins as the app writes it, because decoding
    it could take many times its size in memory.
    """
    if len(data) > _MAX_CANONICAL_BYTES and data.startswith(b'{"messages":{"version":'):
        return data
    return serde.dumps_state(serde.loads_state(data))


class _PatchBuilder:
    """Collects the operations of a patch."""

    def __init__(self, budget: DiffBudget, max_bytes: int) -> None:
        self.operations: list[dict[str, Any]] = []
        self._budget = budget
        self._bytes_left = max_bytes

    def compare(self, path: Path, before: Raw, after: Raw, levels: int = MAX_LEVELS) -> None:
        """Add the operations that turn one value into another. Raise ``_PatchTooLong``."""
        if before == after:
            return
        kinds = {bytes(memoryview(value)[:1]) for value in (before, after)}
        if levels and kinds == {b"{"}:
            is_done = self._compare_objects(path, before, after, levels - 1)
        elif levels and kinds == {b"["}:
            is_done = self._compare_lists(path, before, after, levels - 1)
        else:
            is_done = False
        if not is_done:
            self._add("replace", path, after)

    def _compare_objects(self, path: Path, before: Raw, after: Raw, levels: int) -> bool:
        """Compare the values of two objects, unless they have too many."""
        # The state and its channels have few keys of their own.
        limit = MAX_KEYS if levels < MAX_LEVELS - 2 else None
        if not self._can_decode(before, after, b'":', limit):
            return False
        old, new = (_OBJECT.decode(value) for value in (before, after))
        changed = [key for key in old if key in new and old[key] != new[key]]
        removed = [key for key in old if key not in new]
        added = [key for key in new if key not in old]
        changes = len(changed) + len(removed) + len(added)
        if not self._budget.reserve((len(old) + len(new)) // ITEMS_PER_COMPARISON + 2 * changes):
            return False
        for key in removed:
            self._add("remove", (path, key))
        for key in added:
            self._add("add", (path, key), new[key])
        for key in changed:
            self.compare((path, key), old[key], new[key], levels)
        return True

    def _compare_lists(self, path: Path, before: Raw, after: Raw, levels: int) -> bool:
        """Compare the items of two lists, unless they have too many."""
        if not self._can_decode(before, after, b",", MAX_ITEMS):
            return False
        old, new = (_LIST.decode(value) for value in (before, after))
        if not self._budget.reserve((len(old) + len(new)) // ITEMS_PER_COMPARISON):
            return False
        runs = list(_iter_runs(old, new))
        if not self._budget.reserve(2 * sum(max(b - a, d - c) for a, b, c, d in runs)):
            return False
        for a, b, c, d in runs:  # Everything before the run is as in the new list already.
            common = min(b - a, d - c)
            for index in range(common):
                self.compare((path, c + index), old[a + index], new[c + index], levels)
            for _ in range(a + common, b):
                self._add("remove", (path, c + common))
            for index in range(c + common, d):
                self._add("add", (path, index), new[index])
        return True

    def _can_decode(self, before: Raw, after: Raw, separator: bytes, limit: int | None) -> bool:
        """Spend what decoding one level of two values costs; return whether it is allowed."""
        if not self._budget.reserve(
            COMPARISONS_PER_LEVEL + (len(before) + len(after)) // BYTES_PER_COMPARISON
        ):
            return False
        return limit is None or all(
            bytes(value).count(separator) <= limit for value in (before, after)
        )

    def _add(self, operation: str, path: Path, value: Raw | None = None) -> None:
        pointer = _build_pointer(path)
        self._bytes_left -= len(pointer) + _OPERATION_BYTES
        added: dict[str, Any] = {"op": operation, "path": pointer}
        if value is not None:
            self._bytes_left -= len(value)
            added["value"] = value
        if self._bytes_left < 0:
            raise _PatchTooLong
        self.operations.append(added)


def _build_pointer(path: Path) -> str:
    parts = []
    while path:
        path, key = path
        parts.append(str(key).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in reversed(parts))


def _iter_runs(before: Sequence[Raw], after: Sequence[Raw]) -> Iterator[Run]:
    """Yield the runs of items in which two lists differ.

    Between the items that both lists have at their beginning and end, they are aligned by
    the items that each has exactly once, which takes about linear time for any lists.
    """
    shortest = min(len(before), len(after))
    start = 0
    while start < shortest and before[start] == after[start]:
        start += 1
    end = 0
    while end < shortest - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = (
        [bytes(item) for item in items[start : len(items) - end]] for items in (before, after)
    )
    a = c = 0
    for b, d in [*_align(old, new), (len(old), len(new))]:
        while a < b and c < d and old[a] == new[c]:
            a, c = a + 1, c + 1
        e = 0
        while b - e > a and d - e > c and old[b - e - 1] == new[d - e - 1]:
            e += 1
        if a < b - e or c < d - e:
            yield start + a, start + b - e, start + c, start + d - e
        a, c = b + 1, d + 1


def _align(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the indexes of items that occur once in each list, in the same order in both."""
    if not old or not new or not 2 < len(old) + len(new) <= 2 * MAX_ALIGNED_ITEMS:
        return
    once, counts = Counter(old), Counter(new)
    positions = {item: at for at, item in enumerate(new) if counts[item] == 1}
    pairs = [
        (at, positions[item])
        for at, item in enumerate(old)
        if once[item] == 1 and item in positions
    ]
    # The longest increasing subsequence of the new indexes.
    tails: list[int] = []
    lasts: list[int] = []
    previous: list[int] = []
    for number, (_, position) in enumerate(pairs):
        length = bisect_left(tails, position)
        previous.append(lasts[length - 1] if length else -1)
        tails[length : length + 1] = [position]
        lasts[length : length + 1] = [number]
    chosen = []
    number = lasts[-1] if lasts else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = previous[number]
    yield from reversed(chosen)
