"""Build histories, and prune them in memory by the rule of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from weavegraph_checkpoints.domain.retention import RetentionPolicy, get_cutoff
from weavegraph_checkpoints.models import Label, Session, Step
from weavegraph_checkpoints.pruning import PruneResult, SessionLoss

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MAX_STEP = 2**63 - 1
STATE = {
    "messages": {"version": 1, "items": []},
    "extra": {"version": 1, "map": {}},
    "errors": {"version": 1, "items": []},
}

Steps = dict[int, tuple[datetime, int | None]]


@dataclass
class History:
    """One session: its steps as number → (created_at, state_bytes)."""

    steps: Steps = field(default_factory=dict)
    owner: str = ""
    finished: bool = False
    updated_at: datetime = NOW
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """What the trigger makes of it."""
        if not self.steps:
            return "empty"
        return "finished" if self.finished else "resumable"


def build_history(numbers: Iterable[int], size: int = 10, **fields: Any) -> History:
    """Return a history a day older for each step below the newest."""
    numbers = sorted(numbers)
    made = {step: NOW - DAY * age for age, step in enumerate(reversed(numbers))}
    return History(steps={step: (made[step], size) for step in numbers}, **fields)


def create_histories(histories: Mapping[str, History], using: str = "default") -> None:
    """Write histories; the triggers see every row."""
    Session.objects.using(using).bulk_create(
        [Session(id=session_id, owner=one.owner) for session_id, one in histories.items()]
    )
    Step.objects.using(using).bulk_create(
        [
            Step(
                session_id=session_id,
                step=step,
                created_at=created_at,
                state_bytes=size,
                message_count=0,
                error_count=0,
                frontier=["End"] if one.finished else ["Custom:work"],
                state=STATE,
            )
            for session_id, one in histories.items()
            for step, (created_at, size) in one.steps.items()
        ],
        batch_size=200,
    )
    Label.objects.using(using).bulk_create(
        Label(session_id=session_id, key=key, value=value)
        for session_id, one in histories.items()
        for key, value in one.labels.items()
    )
    for session_id, one in histories.items():
        Session.objects.using(using).filter(id=session_id).update(updated_at=one.updated_at)


def get_stored_steps(using: str = "default") -> dict[str, set[int]]:
    """Return the steps of each session that are there."""
    found: dict[str, set[int]] = {
        session_id: set()
        for session_id in Session.objects.using(using).values_list("id", flat=True)
    }
    for session_id, step in Step.objects.using(using).values_list("session_id", "step"):
        found[session_id].add(step)
    return found


def prunable_steps(
    policy: RetentionPolicy, history: Iterable[tuple[int, datetime]], now: datetime
) -> frozenset[int]:
    """Return which steps of one session the step rules match.

    ``history`` holds the number and ``created_at`` of every step of the session.
    """
    if not policy.has_step_rule:
        return frozenset()
    older = sorted(history, reverse=True)[policy.keep_last or 1 :]
    return frozenset(
        step
        for step, created_at in older
        if policy.older_than is None or created_at < get_cutoff(now, policy.older_than)
    )


@dataclass
class Model:
    """Prunes in memory by the pure rule."""

    histories: dict[str, History]
    now: datetime = NOW

    def left(self) -> dict[str, set[int]]:
        """Return what ``stored`` would."""
        return {session_id: set(one.steps) for session_id, one in self.histories.items()}

    def prune(self, policy: RetentionPolicy) -> PruneResult:
        """Delete what a policy matches, and return what ``prune`` would."""
        losses = []
        removed = 0
        for session_id, one in list(self.histories.items()):
            if not policy.applies_to(session_id, one.owner, one.status):
                continue
            if not (policy.labels or {}).items() <= one.labels.items():
                continue
            if policy.is_inactive(one.updated_at, self.now):
                removed += 1
                deleted = self.histories.pop(session_id).steps
            else:
                ages = [(step, created_at) for step, (created_at, _) in one.steps.items()]
                prunable = prunable_steps(policy, ages, self.now)
                deleted = {step: one.steps.pop(step) for step in prunable}
            if deleted:
                size = sum(size or 0 for _, size in deleted.values())
                losses.append(SessionLoss(size, len(deleted), session_id))
        return PruneResult(
            steps=sum(loss.steps for loss in losses),
            sessions=removed,
            bytes=sum(loss.bytes for loss in losses),
            largest=tuple(sorted(losses, reverse=True)[:10]),
            finished=True,
        )
