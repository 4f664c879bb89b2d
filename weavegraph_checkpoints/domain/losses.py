"""What a prune takes, added up in bounded memory."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

LARGEST = 10


@dataclass(frozen=True, slots=True, order=True)
class SessionLoss:
    """What one session loses, or a part of it."""

    bytes: int
    steps: int
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What went, or in a dry run would go."""

    steps: int = 0
    """Steps, those of removed sessions among them."""
    sessions: int = 0
    """Whole sessions."""
    bytes: int = 0
    """Bytes of serialised states, as far as their steps tell."""
    largest: tuple[SessionLoss, ...] = ()
    """The ten sessions that lose most, by bytes and then by steps."""
    finished: bool = False
    """False while the work goes on, and where ``max_batches`` ended it."""


@dataclass(slots=True)
class Ledger:
    """Adds up what goes; losses of one session come one after the other."""

    steps: int = 0
    sessions: int = 0
    bytes: int = 0
    _largest: list[SessionLoss] = field(default_factory=list)
    _open: str | None = None
    _open_steps: int = 0
    _open_bytes: int = 0

    def lose(self, session_id: str, size: int, steps: int = 1) -> None:
        """Note that a session loses so many steps, of so many bytes together."""
        if session_id != self._open:
            self._largest = self._ranking()
            self._open, self._open_steps, self._open_bytes = session_id, 0, 0
        self.steps += steps
        self.bytes += size
        self._open_steps += steps
        self._open_bytes += size

    def _ranking(self) -> list[SessionLoss]:
        if self._open is None:
            return []
        last = SessionLoss(int(self._open_bytes), self._open_steps, self._open)
        return heapq.nlargest(LARGEST, [*self._largest, last])

    def result(self, *, finished: bool = False) -> PruneResult:
        """Return the sums so far."""
        return PruneResult(
            steps=self.steps,
            sessions=self.sessions,
            bytes=int(self.bytes),
            largest=tuple(self._ranking()),
            finished=finished,
        )
