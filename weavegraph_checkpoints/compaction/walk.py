"""Walk a session from its newest step to its oldest, and store whole states as changes.

A whole state is stored as changes to the keyframe of the step after it, if it shares enough with
that. If it does not, the step before it decides: if that is stored as changes, its keyframe is
tried too; if that is whole and shares enough, the state becomes the root of a new chain. Else it
stays whole. So nothing grows, and a second walk finds nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from weavegraph_checkpoints.backends.chains import Base, read_bases
from weavegraph_checkpoints.backends.keyframes import (
    KeyframeRow,
    generate_next_id,
    generate_root_id,
)
from weavegraph_checkpoints.backends.updates import StateUpdate
from weavegraph_checkpoints.compaction.exactness import WholeStep, reads_back
from weavegraph_checkpoints.compaction.sql import CompactionStatements
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde.deltas import (
    ChainState,
    FoldedState,
    Storage,
    build_delta,
    build_empty_delta,
    is_chain_full,
    is_wide,
    plan,
)


class Writer(Protocol):
    """What writes, or only counts, the rows of a batch."""

    def has_keyframe(self, keyframe_id: int) -> bool:
        """Return whether a keyframe that was seen before still exists."""

    def insert_keyframe(self, row: KeyframeRow) -> bool:
        """Insert a keyframe; return ``False`` if another follows its previous one."""

    def update(self, update: StateUpdate, stored_bytes: int) -> None:
        """Write a state whose JSON had ``stored_bytes``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Position:
    """Where a walk is: after a step that is stored as changes, or after one that is whole."""

    base_id: int | None = None
    """The keyframe of the last step that is stored as changes."""
    base: Base | None = None
    """That keyframe, once it was read."""
    first_delta_bytes: int | None = None
    """The size of the first delta on it, but the one of its own state."""
    pending: int | None = None
    """The last step, if it is whole and could become a root."""


class Walk:
    """A part of a walk, from ``position`` on."""

    def __init__(
        self,
        statements: CompactionStatements,
        session_id: str,
        position: Position,
        pending: WholeStep | None,
        writer: Writer,
        changes_from: int,
    ) -> None:
        self.statements = statements
        self.session_id = session_id
        self.position = position
        self.pending = pending
        self.writer = writer
        self.changes_from = changes_from
        self._found_id: int | None = None
        """The last keyframe that was found to exist."""

    def skip(self, base_id: int | None, document_bytes: int) -> None:
        """Go on after a step that is stored as changes already."""
        if base_id == self.position.base_id:
            if self.position.first_delta_bytes is None:
                self._move(replace(self.position, first_delta_bytes=document_bytes))
            return
        pending = self.pending
        self._move(Position(base_id=base_id))
        if pending is None or (base := self._get_base()) is None:
            return
        if self._store_on_base(pending, base):
            # As if the pending step had been stored like this before.
            is_same = self.position.base_id == base_id
            first = document_bytes if is_same else None
            self._move(Position(base_id=base_id, base=base, first_delta_bytes=first))

    def store(self, step: WholeStep) -> None:
        """Store a step as changes, if it shares enough with the step after it."""
        if len(step.document) < self.changes_from or is_wide(step.state.extra.map):
            return
        base = self._get_base()
        is_stored = False
        if base is not None:
            is_stored = self._store_on_base(step, base)
        elif self.pending is not None:
            is_stored = self._store_on_pending(step, self.pending)
        if not is_stored:
            self._move(Position(pending=step.step), step)

    def _move(self, position: Position, pending: WholeStep | None = None) -> None:
        self.position, self.pending = position, pending

    def _get_base(self) -> Base | None:
        """Return the keyframe of the position, if it can be read."""
        position = self.position
        base_id = position.base_id
        if base_id is None:
            return None
        if base_id != self._found_id and not self.writer.has_keyframe(base_id):
            return None
        self._found_id = base_id
        if position.base is None:
            bases = read_bases(self.statements.backend, self.session_id, [base_id])
            try:
                position = replace(position, base=bases.get(base_id))
            except SerializationError:
                return None
            self._move(position)
        return position.base

    def _store_on_base(self, step: WholeStep, base: Base) -> bool:
        chain = base.get_chain_state()
        chain = replace(chain, first_delta_bytes=self.position.first_delta_bytes)
        size = len(step.document)
        if is_chain_full(chain, size):
            return False
        delta = build_delta(base.folded, step.state).document
        storage = plan(
            chain, state_bytes=size, delta_bytes=len(delta), changes_from=self.changes_from
        )
        if storage is Storage.LINK:
            return self._store_link(step, base, delta)
        return storage is Storage.DELTA and self._store_delta(step, base, delta)

    def _store_delta(self, step: WholeStep, base: Base, delta: bytes) -> bool:
        if not reads_back(base, delta, step.document):
            return False
        self._update(step, base, delta)
        first = self.position.first_delta_bytes
        first = len(delta) if first is None else first
        self._move(replace(self.position, first_delta_bytes=first))
        return True

    def _store_link(self, step: WholeStep, previous: Base, document: bytes) -> bool:
        link = Base(
            id=generate_next_id(previous.id),
            root_id=previous.root_id,
            links=previous.links + 1,
            folded=previous.folded.apply(document),
        )
        delta = build_empty_delta(link.folded)
        if not reads_back(link, delta, step.document):
            return False
        if not self._insert_keyframe(link, previous.id, document):
            return False
        self._update(step, link, delta)
        self._found_id = link.id
        self._move(Position(base_id=link.id, base=link))
        return True

    def _store_on_pending(self, step: WholeStep, pending: WholeStep) -> bool:
        size = len(step.document)
        if is_chain_full(ChainState(exists=True, chain_bytes=len(pending.document)), size):
            return False
        key = generate_root_id()
        folded = FoldedState.from_whole(pending.document)
        root = Base(id=key, root_id=key, links=0, folded=folded)
        own = build_empty_delta(folded)
        delta = build_delta(folded, step.state).document
        if len(delta) > size / 2 or len(own) + len(delta) >= size:
            return False
        if not (reads_back(root, own, pending.document) and reads_back(root, delta, step.document)):
            return False
        self._insert_keyframe(root, None, pending.document)
        self._update(pending, root, own)
        self._update(step, root, delta)
        self._found_id = root.id
        self._move(Position(base_id=key, base=root, first_delta_bytes=len(delta)))
        return True

    def _insert_keyframe(self, base: Base, previous_id: int | None, document: bytes) -> bool:
        return self.writer.insert_keyframe(
            KeyframeRow(
                id=base.id,
                session_id=self.session_id,
                root_id=base.root_id,
                previous_id=previous_id,
                state=document,
            )
        )

    def _update(self, step: WholeStep, base: Base, delta: bytes) -> None:
        update = StateUpdate(step.step, base.id, len(step.document), delta.decode())
        self.writer.update(update, step.stored_bytes)
