"""What the writers did, as they told it: each call with its beginning, its end and its outcome."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LINGERING_SECONDS = 30
"""How long a call whose process was killed may still take effect on a server."""

DONE, REFUSED, FAILED, UNKNOWN = "done", "refused", "failed", "unknown"
DEADLOCK = "deadlock"


@dataclass(slots=True)
class Call:
    """One call of the service; times are those of the machine's monotonic clock."""

    kind: str
    session_id: str
    slot: int = 0
    step: int | None = None
    token: str | None = None
    target: str | None = None
    begun: float = 0.0
    ended: float = math.inf
    outcome: str = UNKNOWN
    result: Any = None

    @property
    def may_have_happened(self) -> bool:
        return self.outcome != REFUSED


@dataclass
class Journal:
    """All calls of all writers, by what they touch."""

    saves: dict[str, dict[int, list[Call]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    deletes: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    prunes: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    forks: dict[str, Call] = field(default_factory=dict)
    acknowledged: int = 0
    """Saves that returned."""
    interrupted: int = 0
    """Calls whose process was killed before they returned."""
    failures: list[Call] = field(default_factory=list)
    """Calls that raised an error of the database; its name is their result."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Errors of our own that calls raised."""
    warnings: list[str] = field(default_factory=list)
    """What the app logged."""
    resumed: list[str] = field(default_factory=list)
    """Faults that a writer found when it read what others had left."""

    def begin(self, call: Call) -> None:
        if call.kind == "save":
            assert call.step is not None
            self.saves[call.session_id][call.step].append(call)
        elif call.kind == "delete":
            self.deletes[call.session_id].append(call)
        elif call.kind == "prune":
            self.prunes[call.session_id].append(call)
        elif call.kind == "fork":
            assert call.target is not None
            self.forks[call.target] = call

    def end(self, call: Call, outcome: str, result: Any, ended: float) -> None:
        call.outcome, call.result, call.ended = outcome, result, ended
        if outcome == DONE:
            self.acknowledged += call.kind == "save"
        elif outcome == REFUSED:
            self.refusals[result] += 1
        else:
            self.failures.append(call)

    def interrupt(self, call: Call) -> None:
        """The process of a call was killed; it may still take effect for a while."""
        call.ended = time.monotonic() + LINGERING_SECONDS
        self.interrupted += 1

    def sessions(self) -> set[str]:
        """Return every session that a writer touched, forks among them."""
        return set(self.saves) | set(self.forks)

    def interrupted_saves(self) -> Iterator[Call]:
        """Yield the saves whose process was killed before they returned."""
        for steps in self.saves.values():
            for calls in steps.values():
                yield from (call for call in calls if call.outcome == UNKNOWN)


def overruled(call: Call | None, others: list[Call]) -> bool:
    """Say whether another call that returned began only after this one had ended.

    ``None`` is the state before the first call.
    """
    ended = -math.inf if call is None else call.ended
    return any(other.outcome == DONE and other.begun > ended for other in others)
