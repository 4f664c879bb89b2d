"""The ids of keyframes, and which keyframes steps need."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from weavegraph_checkpoints.serde.deltas.planning import MAX_LINKS

_MIN_ROOT_ID = 2**62
_MAX_ID = 2**63 - 1
_MAX_GAP = 2**40
_MIN_ID = 2 * MAX_LINKS * _MAX_GAP
"""The ids of a copied chain are above this, so that it can get more links."""

# Ids are random, so that an id that was rolled back is not given to another keyframe, and secret
# random numbers, because forked processes share the state of the ``random`` module. They decrease
# along a chain: MariaDB checks foreign keys row by row, so a DELETE in the order of the ids must
# meet each keyframe before the one that it refers to.


class KeyframeRow(NamedTuple):
    """A row of the table of keyframes."""

    id: int
    session_id: str
    root_id: int
    previous_id: int | None
    state: bytes | str

    def parameters(self) -> list[int | str | None]:
        """Return the values of the columns as parameters for the database."""
        state = self.state.decode() if isinstance(self.state, bytes) else self.state
        return [*self[:-1], state]


class KeyframeUse(NamedTuple):
    """A keyframe, and whether a step is stored as changes to it."""

    session_id: str
    root_id: int
    id: int
    is_base: bool


def generate_root_id() -> int:
    """Return the id of a new root."""
    return _MIN_ROOT_ID + secrets.randbelow(_MIN_ROOT_ID)


def generate_next_id(previous_id: int) -> int:
    """Return the id of a keyframe that follows another."""
    return previous_id - 1 - secrets.randbelow(_MAX_GAP)


def generate_shift(ids: Iterable[int]) -> int:
    """Return a random number that, added to ids, gives ids of new keyframes in the same order."""
    ids = list(ids)
    lowest, highest = _MIN_ID - min(ids), _MAX_ID - max(ids)
    return lowest + secrets.randbelow(highest - lowest + 1)


def split_by_need(
    keyframes: Iterable[KeyframeUse],
) -> tuple[list[KeyframeUse], list[KeyframeUse]]:
    """Return the keyframes that steps need, and those that they do not need.

    A step needs its base and all keyframes before it, whose ids are higher.
    """
    lowest: dict[int, int] = {}
    rows = list(keyframes)
    for row in rows:
        if row.is_base:
            lowest[row.root_id] = min(row.id, lowest.get(row.root_id, row.id))
    needed: list[KeyframeUse] = []
    unneeded: list[KeyframeUse] = []
    for row in rows:
        is_needed = row.root_id in lowest and row.id >= lowest[row.root_id]
        (needed if is_needed else unneeded).append(row)
    return needed, unneeded
