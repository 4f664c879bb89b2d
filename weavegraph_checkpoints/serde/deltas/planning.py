"""How a state is stored: whole, or as changes to a chain of keyframes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

MAX_LINKS = 128
FREE_LINKS = 4
LINK_BYTES = 12 * 1024
"""A chain may have ``FREE_LINKS`` links, and one more for so many bytes of its state.

Each link takes time to read, whatever its length: this bounds it, too, by the time to read the
state. A chain never has more than ``MAX_LINKS``.
"""
SMALL_DELTA_BYTES = 4096
"""A smaller delta needs no new link."""
MAX_CHAIN_RATIO = 1.25
FREE_CHAIN_BYTES = 16 * 1024
"""A chain may have this multiple of the bytes of its state, and these.

What links replace is read for nothing: this bounds the time to read a chain by the time to
read its state.
"""
MAX_MEMBERS = 10_000
"""A state with more values in ``extra.map`` is whole: those of a chain would take much memory."""
MAX_IDLE_ROOTS = 2
"""After so many roots in a row that served no other step, states are stored whole for a while."""
MIN_PAUSE, MAX_PAUSE = 4, 64
"""The number of saves that are whole before the next root is tried; it doubles each time."""


class Storage(Enum):
    """What a save writes."""

    WHOLE = "whole"
    DELTA = "delta"
    LINK = "link"
    """A new keyframe on the chain, and an empty delta."""
    ROOT = "root"
    """A new chain, and an empty delta."""


@dataclass(frozen=True, kw_only=True)
class ChainState:
    """What ``plan`` needs to know of the newest chain of a session."""

    exists: bool = False
    links: int = 0
    chain_bytes: int = 0
    """The length of the root and the links."""
    first_delta_bytes: int | None = None
    """The length of the first delta on the newest keyframe."""
    is_used: bool = True
    """Whether a step other than the first is on this root; if unknown, true."""
    idle_roots: int = 0
    """How many roots in a row before this one served no other step."""
    pause: int = 0
    """The number of saves in the last pause."""
    pause_left: int = 0
    """How many of the next saves are whole."""

    @classmethod
    def of_chain(cls, *, links: int, chain_bytes: int) -> ChainState:
        """Return the state of a chain whose saves are not known.

        The first delta is taken for a small one: if each save came from a process that does
        not know the saves before, the deltas would otherwise grow up to half of the state.
        """
        return cls(
            exists=True,
            links=links,
            chain_bytes=chain_bytes,
            first_delta_bytes=SMALL_DELTA_BYTES,
        )

    def after(self, storage: Storage, document_bytes: int) -> ChainState:
        """Return the chain after a save.

        ``document_bytes`` is the length of what was written: the whole state, the delta or
        the keyframe.
        """
        if storage is Storage.ROOT:
            return ChainState(
                exists=True,
                chain_bytes=document_bytes,
                is_used=False,
                idle_roots=0 if self.is_used else self.idle_roots + 1,
                pause=self.pause,
            )
        if storage is Storage.LINK:
            return replace(
                self,
                links=self.links + 1,
                chain_bytes=self.chain_bytes + document_bytes,
                first_delta_bytes=None,
                is_used=True,
                idle_roots=0,
                pause=0,
            )
        if storage is Storage.DELTA:
            if self.first_delta_bytes is None:
                return replace(self._after_use(), first_delta_bytes=document_bytes)
            return self._after_use()
        return self._after_whole()

    def _after_use(self) -> ChainState:
        if self.is_used and not (self.idle_roots or self.pause):
            return self
        return replace(self, is_used=True, idle_roots=0, pause=0)

    def _after_whole(self) -> ChainState:
        if self.pause_left:
            return replace(self, pause_left=self.pause_left - 1)
        if self.exists and not self.is_used and self.idle_roots + 1 >= MAX_IDLE_ROOTS:
            pause = min(MAX_PAUSE, max(MIN_PAUSE, self.pause * 2))
            return ChainState(
                idle_roots=self.idle_roots, is_used=False, pause=pause, pause_left=pause - 1
            )
        return self


def plan(
    chain: ChainState, *, state_bytes: int, delta_bytes: int | None, changes_from: int | None
) -> Storage:
    """Return how to store a state.

    ``delta_bytes`` is the length of its delta on the newest keyframe of the chain, ``None``
    if there is no chain or it is not known. ``changes_from`` is the setting
    ``CHANGES_FROM_BYTES``.
    """
    if changes_from is None or state_bytes < changes_from or chain.pause_left:
        return Storage.WHOLE
    if not chain.exists or delta_bytes is None:
        return Storage.ROOT
    if delta_bytes > state_bytes / 2:
        is_idle = not chain.is_used and chain.idle_roots + 1 >= MAX_IDLE_ROOTS
        return Storage.WHOLE if is_idle else Storage.ROOT
    first = delta_bytes if chain.first_delta_bytes is None else chain.first_delta_bytes
    if delta_bytes < SMALL_DELTA_BYTES or delta_bytes < 2 * first:
        return Storage.DELTA
    if is_chain_full(chain, state_bytes):
        return Storage.ROOT
    return Storage.LINK


def is_wide(members: object) -> bool:
    """Return whether ``extra.map`` has too many values for a state that is stored as changes."""
    return isinstance(members, Mapping) and len(members) > MAX_MEMBERS


def is_chain_full(chain: ChainState, state_bytes: int) -> bool:
    """Return whether a chain is too long for a state of this size to be read from it."""
    max_links = min(MAX_LINKS, FREE_LINKS + state_bytes // LINK_BYTES)
    max_bytes = MAX_CHAIN_RATIO * state_bytes + FREE_CHAIN_BYTES
    return chain.links >= max_links or chain.chain_bytes > max_bytes
