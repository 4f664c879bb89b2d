"""A checkpoint that is about to be saved, and how its state is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends.chains import Base, memory
from weavegraph_checkpoints.backends.keyframes import (
    KeyframeRow,
    generate_next_id,
    generate_root_id,
)
from weavegraph_checkpoints.backends.rows import StepRow
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.exceptions import StateTooLarge
from weavegraph_checkpoints.serde import dumps_state
from weavegraph_checkpoints.serde.deltas import (
    ChainState,
    Delta,
    FoldedState,
    Storage,
    build_delta,
    build_empty_delta,
    is_wide,
    plan,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredState:
    """How a state is stored, given the base of the newest step of its session."""

    newest_id: int | None
    """The id of that base; the state may be stored like this only while it is the same."""
    document: bytes
    state_bytes: int
    base: Base | None
    """The base of the saved step, or ``None`` if its state is whole."""
    chain_state: ChainState
    """The state of the chain after the save."""
    keyframe: KeyframeRow | None = None
    """The keyframe to insert first."""

    @property
    def base_id(self) -> int | None:
        """The id of the base of the saved step."""
        return None if self.base is None else self.base.id


class Draft:
    """A checkpoint to save, checked and serialized once, before any retries.

    How its state is stored depends on the newest keyframe of its session: ``stored`` is for the
    one that this process remembers, ``store_on`` returns it for another one.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        alias: str,
    ) -> None:
        self._alias = alias
        self._session_id = checkpoint.session_id
        self._state = checkpoint.state
        self._max_state_bytes = conf.max_state_bytes()
        self._changes_from = None if is_wide(self._state.extra.map) else conf.changes_from_bytes()
        known = memory.get(alias, checkpoint.session_id)
        newest = None if self._changes_from is None else known.newest
        self.chain_state = known.chain_state
        self.stored = self.store_on(newest, self.chain_state)
        self.row = StepRow.from_checkpoint(
            checkpoint,
            self._max_state_bytes,
            self.stored.document,
            state_bytes=self.stored.state_bytes,
            base_id=self.stored.base_id,
        )

    @cached_property
    def _whole(self) -> bytes:
        document = dumps_state(self._state, path="$.state")
        self._check_size(len(document))
        return document

    def _check_size(self, state_bytes: int) -> None:
        if self._max_state_bytes is not None and state_bytes > self._max_state_bytes:
            raise StateTooLarge(state_bytes, self._max_state_bytes)

    @property
    def may_have_base(self) -> bool:
        """Whether a state of this size may be stored as changes."""
        return self._changes_from is not None and self.stored.state_bytes >= self._changes_from

    def build_row(self, stored: StoredState) -> StepRow:
        """Return the row of the step."""
        return self.row._replace(
            state=stored.document, state_bytes=stored.state_bytes, base_id=stored.base_id
        )

    def store_on(self, newest: Base | None, chain_state: ChainState) -> StoredState:
        """Return how to store the state if ``newest`` is the base of the newest step."""
        if newest is None:
            size = len(self._whole)
            storage = plan(
                chain_state, state_bytes=size, delta_bytes=None, changes_from=self._changes_from
            )
            if storage is Storage.ROOT:
                return self.store_root(None, chain_state)
            return self.store_whole(None, chain_state)
        delta = build_delta(newest.folded, self._state)
        self._check_size(delta.state_bytes)
        storage = plan(
            chain_state,
            state_bytes=delta.state_bytes,
            delta_bytes=len(delta.document),
            changes_from=self._changes_from,
        )
        if storage is Storage.DELTA:
            return StoredState(
                newest_id=newest.id,
                document=delta.document,
                state_bytes=delta.state_bytes,
                base=newest,
                chain_state=chain_state.after(storage, len(delta.document)),
            )
        if storage is Storage.LINK:
            return self._store_link(newest, delta, chain_state)
        if storage is Storage.ROOT:
            return self.store_root(newest, chain_state)
        return self.store_whole(newest, chain_state)

    def store_whole(self, newest: Base | None, chain_state: ChainState) -> StoredState:
        """Return how to store the state whole."""
        return StoredState(
            newest_id=None if newest is None else newest.id,
            document=self._whole,
            state_bytes=len(self._whole),
            base=None,
            chain_state=chain_state.after(Storage.WHOLE, len(self._whole)),
        )

    def store_root(self, newest: Base | None, chain_state: ChainState) -> StoredState:
        """Return how to store the state as a new root."""
        key = generate_root_id()
        base = Base(id=key, root_id=key, links=0, folded=FoldedState.from_whole(self._whole))
        chain_state = chain_state.after(Storage.ROOT, len(self._whole))
        return self._store_keyframe(newest, base, self._whole, len(self._whole), chain_state)

    def _store_link(self, newest: Base, delta: Delta, chain_state: ChainState) -> StoredState:
        # What was decoded from the document is remembered, as another process will read it.
        base = Base(
            id=generate_next_id(newest.id),
            root_id=newest.root_id,
            links=newest.links + 1,
            folded=newest.folded.apply(delta.document),
        )
        chain_state = chain_state.after(Storage.LINK, len(delta.document))
        return self._store_keyframe(newest, base, *delta, chain_state)

    def _store_keyframe(
        self,
        newest: Base | None,
        base: Base,
        document: bytes,
        state_bytes: int,
        chain_state: ChainState,
    ) -> StoredState:
        base.folded.adopt(self._state.messages.items)
        is_root = base.id == base.root_id
        return StoredState(
            newest_id=None if newest is None else newest.id,
            document=build_empty_delta(base.folded),
            state_bytes=state_bytes,
            base=base,
            chain_state=chain_state,
            keyframe=KeyframeRow(
                id=base.id,
                session_id=self._session_id,
                root_id=base.root_id,
                previous_id=None if is_root or newest is None else newest.id,
                state=document,
            ),
        )

    def remember(self, stored: StoredState) -> None:
        """Remember the chain of a state that was saved; the transaction may be rolled back."""
        if self._changes_from is not None:
            memory.set_newest(self._alias, self._session_id, stored.base, stored.chain_state)
