"""The calls of the writers, as they reported them: start, end and outcome of each."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LINGERING_SECONDS = 30
"""How long after a kill the call of the killed process may still take effect on a server."""

DONE, REFUSED, FAILED, UNKNOWN = "done", "refused", "failed", "unknown"
DEADLOCK = "deadlock"
UNREAD_TRIGGER = "has an error in its body"
"""MariaDB's error if a conflict aborts a statement while it reads a trigger from disk."""
MERGE_LABELS, REPLACE_LABELS = "merge labels", "replace labels"


@dataclass(slots=True)
class Call:
    """One call of the service; times are from ``time.monotonic()``."""

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
    """All calls of all writers, by kind and session."""

    saves: dict[str, dict[int, list[Call]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    deletes: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    prunes: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    forks: dict[str, Call] = field(default_factory=dict)
    labels: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    """Calls that merge labels, and calls that replace them."""
    acknowledged: int = 0
    """Saves that returned."""
    interrupted: int = 0
    """Calls whose process was killed before they returned."""
    failures: list[Call] = field(default_factory=list)
    """Calls that raised a database error; ``result`` is the name of its class."""
    refusals: Counter[str] = field(default_factory=Counter)
    """The number of calls that raised each exception of the app."""
    warnings: list[str] = field(default_factory=list)
    """Messages that the app logged."""
    resumed: list[str] = field(default_factory=list)
    """Faults that a writer found when it loaded a session of a killed writer."""

    def begin(self, call: Call) -> None:
        if call.kind == "save":
            assert call.step is not None
            self.saves[call.session_id][call.step].append(call)
        elif call.kind == "delete":
            self.deletes[call.session_id].append(call)
        elif call.kind in (MERGE_LABELS, REPLACE_LABELS):
            self.labels[call.session_id].append(call)
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
        """Record that the process of a call was killed; it may still take effect later."""
        call.ended = time.monotonic() + LINGERING_SECONDS
        self.interrupted += 1

    def sessions(self) -> set[str]:
        """Return the ids of all sessions that a writer saved or forked."""
        return set(self.saves) | set(self.forks)

    def interrupted_saves(self) -> Iterator[Call]:
        """Yield the saves whose process was killed before they returned."""
        for steps in self.saves.values():
            for calls in steps.values():
                yield from (call for call in calls if call.outcome == UNKNOWN)


def is_superseded(call: Call | None, others: list[Call]) -> bool:
    """Return whether a successful call of ``others`` began after this call had ended.

    ``None`` is the state before the first call.
    """
    ended = -math.inf if call is None else call.ended
    return any(other.outcome == DONE and other.begun > ended for other in others)
