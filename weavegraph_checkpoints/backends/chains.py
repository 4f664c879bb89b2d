"""Chains of keyframes: read them, and remember those that were used last."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from weavegraph_checkpoints.backends.keyframes import KeyframeRow
from weavegraph_checkpoints.domain.state import Message
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde.deltas import ChainState, FoldedState, fold

if TYPE_CHECKING:
    from weavegraph_checkpoints.backends.base import Backend

MAX_MEMORY_BYTES = 32 * 1024 * 1024
"""The estimated size of the chains that a process remembers."""
MAX_BASES = 8
"""The number of keyframes of a session whose states a process remembers."""

_ENTRY_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """A keyframe, with the state that its chain up to it adds up to."""

    id: int
    root_id: int
    links: int
    """The number of keyframes between the root and it, itself included; 0 for a root."""
    folded: FoldedState

    def get_chain_state(self) -> ChainState:
        """Return what is known about its chain for the next save."""
        return ChainState.of_chain(links=self.links, chain_bytes=self.folded.document_bytes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownChains:
    """What a process remembers of a session. It may be outdated or rolled back."""

    newest: Base | None = None
    """The base of the newest step, or ``None`` if that was whole or is unknown."""
    chain_state: ChainState = field(default_factory=ChainState)
    """What is known about the chain of ``newest``."""
    bases: Mapping[int, Base] = field(default_factory=dict)
    memory_bytes: int = 0
    """An estimate of the memory that the bases occupy."""
    messages: tuple[Message, ...] | None = None
    """The messages of the last of them when that was estimated."""

    def has_same_objects(self, bases: Mapping[int, Base]) -> bool:
        """Return whether these bases occupy the memory that was estimated."""
        is_same = list(bases.values()) == list(self.bases.values())
        return is_same and _get_last_messages(bases) is self.messages


def _get_last_messages(bases: Mapping[int, Base]) -> tuple[Message, ...] | None:
    last = next(reversed(tuple(bases.values())), None)
    return None if last is None else last.folded.messages


_NOTHING = KnownChains()


def _share_messages(bases: Iterable[Base]) -> int:
    """Let the bases of a chain hold equal messages as the same objects.

    Return an estimate of the memory that all bases occupy.
    """
    total = _ENTRY_BYTES
    longest: dict[int, FoldedState] = {}
    value_sizes: dict[int, int] = {}
    for base in sorted(bases, key=attrgetter("id")):
        folded = base.folded
        other = longest.setdefault(base.root_id, folded)
        total += folded.memory_bytes if other is folded else folded.share_messages(other)
        value_sizes |= folded.get_value_sizes()
    return total + sum(value_sizes.values())


class ChainMemory:
    """The chains that this process used last, by database alias and session. Thread-safe.

    Keyframes are never updated and their ids never reused, so what is remembered of a keyframe
    stays true, and nothing has to be invalidated.
    """

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self.max_bytes = max_bytes
        self.reset()

    def reset(self) -> None:
        """Forget everything, with a new lock: another thread may have held it at a fork."""
        self._bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], KnownChains] = OrderedDict()

    def get(self, alias: str, session_id: str) -> KnownChains:
        """Return what is known of a session."""
        with self._lock:
            known = self._entries.get((alias, session_id))
            if known is None:
                return _NOTHING
            self._entries.move_to_end((alias, session_id))
            return known

    def set_newest(
        self, alias: str, session_id: str, newest: Base | None, chain_state: ChainState
    ) -> None:
        """Remember the base of the newest step, and the state of its chain."""
        known = self.get(alias, session_id)
        is_same = newest is known.newest and chain_state == known.chain_state
        if is_same and (newest is None or newest.folded.messages is known.messages):
            return
        bases = {**known.bases} if newest is None else {**known.bases, newest.id: newest}
        self._put(alias, session_id, known, newest, chain_state, bases)

    def see_newest(self, alias: str, session_id: str, newest: Base | None) -> None:
        """Remember the base of the newest step that was read."""
        known = self.get(alias, session_id)
        if newest is None:
            if known.newest is not None:
                self.set_newest(alias, session_id, None, ChainState())
        elif known.newest is None or known.newest.id != newest.id:
            self.set_newest(alias, session_id, newest, newest.get_chain_state())

    def add(self, alias: str, session_id: str, bases: Iterable[Base]) -> None:
        """Remember bases of other steps."""
        known = self.get(alias, session_id)
        merged = {**known.bases}
        for base in bases:
            merged.pop(base.id, None)
            merged[base.id] = base
        self._put(alias, session_id, known, known.newest, known.chain_state, merged)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _put(
        self,
        alias: str,
        session_id: str,
        known: KnownChains,
        newest: Base | None,
        chain_state: ChainState,
        bases: dict[int, Base],
    ) -> None:
        kept = dict(list(bases.items())[-MAX_BASES:])
        if newest is not None:
            kept.pop(newest.id, None)
            kept[newest.id] = newest
        is_same = known is not _NOTHING and known.has_same_objects(kept)
        entry = KnownChains(
            newest=newest,
            chain_state=chain_state,
            bases=kept,
            memory_bytes=known.memory_bytes if is_same else _share_messages(kept.values()),
            messages=_get_last_messages(kept),
        )
        key = alias, session_id
        with self._lock:
            old = self._entries.pop(key, _NOTHING)
            self._bytes -= old.memory_bytes
            if entry.memory_bytes > self.max_bytes:
                return
            self._entries[key] = entry
            self._bytes += entry.memory_bytes
            while self._bytes > self.max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= oldest.memory_bytes


memory = ChainMemory()
"""What this process remembers."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=memory.reset)


class Bases:
    """The bases of some steps of a session; one that cannot be read raises when it is used."""

    def __init__(self, known: Mapping[int, Base]) -> None:
        self._found: dict[int, Base | SerializationError] = {**known}
        self.missing: set[int] = set()

    def add(self, base_id: int, base: Base | SerializationError) -> None:
        self._found[base_id] = base

    def __contains__(self, base_id: object) -> bool:
        return base_id in self._found

    def get(self, base_id: int | None) -> Base:
        """Return a base. Raise ``SerializationError`` if it is missing or damaged."""
        found = None if base_id is None else self._found.get(base_id)
        if found is None:
            message = "is stored as changes, but its keyframe is missing"
            raise SerializationError(message, "$.state")
        if isinstance(found, SerializationError):
            raise SerializationError(found.message, found.path)
        return found


def read_bases(
    backend: Backend,
    session_id: str,
    base_ids: Collection[int],
    remembered: ChainMemory = memory,
) -> Bases:
    """Return bases of steps of a session, from memory or by one query for each chain."""
    alias = backend.connection.alias
    known = remembered.get(alias, session_id).bases
    found = Bases({base_id: known[base_id] for base_id in base_ids if base_id in known})
    wanted = sorted(set(base_ids) - known.keys())
    read: list[Base] = []
    while wanted:
        bases, failure = _read_chain(backend, session_id, wanted, known)
        for base in bases:
            found.add(base.id, base)
        if failure is not None:
            found.add(wanted[0], failure)
        elif wanted[0] not in found:
            found.missing.add(wanted[0])
        read += bases
        wanted = [base_id for base_id in wanted[1:] if base_id not in found]
    if read:
        remembered.add(alias, session_id, sorted(read, key=lambda base: base.id, reverse=True))
    return found


def _read_chain(
    backend: Backend, session_id: str, wanted: Sequence[int], known: Mapping[int, Base]
) -> tuple[list[Base], SerializationError | None]:
    """Return those of the wanted bases that are on the chain of the first one, the lowest.

    Also return the error that ended the chain. A remembered base is prolonged only if the
    first keyframe that is read names it: a base that was rolled back is on no chain.
    """
    lowest, highest = wanted[0], wanted[-1]
    start = min((base_id for base_id in known if base_id > highest), default=None)
    if start is not None:
        rows = backend.read_keyframes(session_id, lowest, start)
        if rows and rows[0].id == rows[0].root_id:
            return _fold_rows(rows, wanted, None)
        if rows and rows[0].previous_id == start:
            return _fold_rows(rows, wanted, known[start])
    rows = backend.read_keyframes(session_id, lowest)
    return _fold_rows(rows, wanted, None)


def _fold_rows(
    rows: Sequence[KeyframeRow], wanted: Collection[int], base: Base | None
) -> tuple[list[Base], SerializationError | None]:
    bases: list[Base] = []
    pending: list[KeyframeRow] = []
    previous_id = None if base is None else base.id
    for row in rows:
        is_root = row.id == row.root_id
        if row.previous_id != previous_id or is_root != (previous_id is None):
            message = f"the chain of keyframes is broken at {row.id}"
            return bases, SerializationError(message, "$.state")
        previous_id = row.id
        pending.append(row)
        if row.id in wanted:
            try:
                base = _prolong(base, pending)
            except SerializationError as error:
                message = f"keyframe {row.id} or one before it: {error.message}"
                return bases, SerializationError(message, error.path)
            bases.append(base)
            pending = []
    return bases, None


def _prolong(base: Base | None, rows: Sequence[KeyframeRow]) -> Base:
    documents = [row.state for row in rows]
    if base is None:
        folded = fold(documents[0], documents[1:])
        return Base(id=rows[-1].id, root_id=rows[0].id, links=len(rows) - 1, folded=folded)
    folded = fold(base.folded, documents)
    return replace(base, id=rows[-1].id, links=base.links + len(rows), folded=folded)
