"""The result of a prune, and the tally that adds it up."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_LARGEST = 10
MAX_PROTECTED_IDS = 10


@dataclass(frozen=True, slots=True, order=True)
class SessionLoss:
    """What one session loses: a number of steps, and the bytes of their states."""

    bytes: int
    steps: int
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What a prune deleted, or what a dry run counted."""

    steps: int = 0
    """Deleted steps, including those of deleted sessions."""
    sessions: int = 0
    """Deleted sessions."""
    bytes: int = 0
    """Size of the deleted states as JSON; steps without ``state_bytes`` count as 0."""
    largest: tuple[SessionLoss, ...] = ()
    """The ten sessions that lose most, by bytes and then by steps."""
    protected: int = 0
    """Inactive sessions that were not deleted, because objects of other models refer to them."""
    first_protected: tuple[str, ...] = ()
    """The ids of the first ten of them."""
    finished: bool = False
    """False in progress reports, and if ``max_batches`` ended the prune."""


def merge_results(first: PruneResult, second: PruneResult) -> PruneResult:
    """Return the result of two prunes of different sessions."""
    return PruneResult(
        steps=first.steps + second.steps,
        sessions=first.sessions + second.sessions,
        bytes=first.bytes + second.bytes,
        largest=tuple(heapq.nlargest(MAX_LARGEST, first.largest + second.largest)),
        protected=first.protected + second.protected,
        first_protected=(first.first_protected + second.first_protected)[:MAX_PROTECTED_IDS],
        finished=first.finished and second.finished,
    )


@dataclass(slots=True)
class PruneTally:
    """Add up what is deleted, in bounded memory."""

    steps: int = 0
    sessions: int = 0
    bytes: int = 0
    protected: int = 0
    _first_protected: list[str] = field(default_factory=list)
    _largest: list[SessionLoss] = field(default_factory=list)
    _current: SessionLoss | None = None

    def add(self, loss: SessionLoss) -> None:
        """Add a loss; those of one session must come one after the other."""
        self.steps += loss.steps
        self.bytes += loss.bytes
        current = self._current
        if current is not None and current.session_id == loss.session_id:
            loss = SessionLoss(
                current.bytes + loss.bytes, current.steps + loss.steps, loss.session_id
            )
        else:
            self._largest = self._get_largest()
        self._current = loss

    def add_protected(self, session_ids: Sequence[str]) -> None:
        """Add sessions that must not be deleted."""
        self.protected += len(session_ids)
        free = MAX_PROTECTED_IDS - len(self._first_protected)
        self._first_protected += session_ids[:free]

    def _get_largest(self) -> list[SessionLoss]:
        current = [] if self._current is None else [self._current]
        return heapq.nlargest(MAX_LARGEST, self._largest + current)

    def get_result(self, *, finished: bool = False) -> PruneResult:
        """Return what was added so far."""
        return PruneResult(
            steps=self.steps,
            sessions=self.sessions,
            bytes=self.bytes,
            largest=tuple(self._get_largest()),
            protected=self.protected,
            first_protected=tuple(self._first_protected),
            finished=finished,
        )
