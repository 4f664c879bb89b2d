"""The runs that the peers save: the same checkpoints for all of them, from a seed."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from weavegraph_checkpoints import Checkpoint, Message, NodeKind, VersionedState
from weavegraph_checkpoints.domain.state import (
    ErrorEvent,
    ErrorsChannel,
    ExtrasChannel,
    MessagesChannel,
    NodeScope,
    WeaveError,
)

SEED = 8
NODES = ("plan", "act", "review")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ROLES = ("assistant", "tool")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Some sessions, each the list of its checkpoints."""

    key: str
    title: str
    sessions: list[list[Checkpoint]]
    node: str
    """The node that a page is filtered by."""

    @property
    def steps(self) -> int:
        """How many checkpoints there are."""
        return sum(map(len, self.sessions))


class Prose:
    """Text of random words."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        letters = "etaoinshrdlucmfw"
        self._words = [
            "".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(2000)
        ]

    def of(self, characters: int) -> str:
        """Return about so many characters."""
        words = self._chance.choices(self._words, k=max(characters // 6, 1))
        return " ".join(words)


def conversation(
    session: str, steps: int, messages: int, characters: int, prose: Prose
) -> list[Checkpoint]:
    """Return the checkpoints of a conversation that grows by some messages a step."""
    said: list[Message] = []
    return [
        _checkpoint(
            session,
            step,
            said := said
            + [
                Message(role=ROLES[number % 2], content=prose.of(characters))
                for number in range(messages)
            ],
        )
        for step in range(1, steps + 1)
    ]


def small(session: str, steps: int, characters: int, prose: Prose) -> list[Checkpoint]:
    """Return checkpoints whose state is one message each time."""
    return [
        _checkpoint(session, step, [Message.assistant(prose.of(characters))])
        for step in range(1, steps + 1)
    ]


def _checkpoint(session: str, step: int, said: list[Message]) -> Checkpoint:
    node, following = NODES[step % 3], NODES[(step + 1) % 3]
    return Checkpoint(
        session_id=session,
        step=step,
        state=VersionedState(
            messages=MessagesChannel(version=step, items=said),
            extra=ExtrasChannel(version=step, map={"budget": 100 - step / 8, "step": step}),
        ),
        frontier=[NodeKind.custom(following)],
        versions_seen={
            f"Custom:{seen}": {"messages": max(step - ago, 0), "extra": max(step - ago, 0)}
            for ago, seen in enumerate((node, following))
        },
        created_at=BEGAN + timedelta(seconds=step),
        ran_nodes=[NodeKind.custom(node)],
        updated_channels=["messages", "extra"],
    )


def workloads(scale: float = 1.0) -> Iterator[Workload]:
    """Yield the workloads (a) to (d); (b) where its recordings are, ``scale`` below 1 less."""
    prose = Prose(random.Random(SEED))
    sessions = max(int(10 * scale), 2)
    yield Workload(
        key="a",
        title=f"{sessions} sessions × 100 steps, a growing conversation",
        sessions=[conversation(f"a-{n}", 100, 2, 134, prose) for n in range(sessions)],
        node="review",
    )
    recorded = recorded_runs(scale)
    if recorded:
        yield Workload(
            key="b",
            title=f"{len(recorded)} recorded runs of real agents",
            sessions=recorded,
            node=str(recorded[0][0].ran_nodes[0]),
        )
    steps = max(int(1000 * scale), 200)
    yield Workload(
        key="c",
        title=f"one session × {steps:,} steps, a growing conversation",
        sessions=[conversation("c-0", steps, 1, 36, prose)],
        node="review",
    )
    yield Workload(
        key="d",
        title=f"{sessions * 10} sessions × 10 steps, small states",
        sessions=[small(f"d-{n}", 10, 840, prose) for n in range(sessions * 10)],
        node="review",
    )


def recorded_runs(scale: float = 1.0) -> list[list[Checkpoint]]:
    """Return the recorded runs of the folder that ``WEAVEGRAPH_TEST_DATA`` names, or none."""
    path = Path(os.environ.get("WEAVEGRAPH_TEST_DATA", "")) / "trajectories" / "runs.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        runs = [_replayed(json.loads(line)) for line in lines]
    return runs[:: max(round(1 / scale), 1)]


def _replayed(run: dict[str, Any]) -> list[Checkpoint]:
    """Return the checkpoints that a runtime would have saved during a recorded run."""
    messages: list[Message] = []
    extra: dict[str, Any] = {}
    events: list[ErrorEvent] = []
    seen: dict[str, dict[str, int]] = {}
    extra_version = 1
    checkpoints = []
    for number, step in enumerate(run["steps"], 1):
        node = NodeKind.custom(step["node"])
        seen[node.encoded] = {"messages": number - 1, "extra": extra_version}
        messages = messages + [Message(**message) for message in step["messages"]]
        extra = extra | step["extra"]
        extra_version += bool(step["extra"])
        if step["error"] is not None:
            events = [*events, _event(step["error"], step["node"], number)]
        following = run["steps"][number : number + 1]
        checkpoints.append(
            Checkpoint(
                session_id=run["id"],
                step=number,
                state=VersionedState(
                    messages=MessagesChannel(version=number, items=messages),
                    extra=ExtrasChannel(version=extra_version, map=extra),
                    errors=ErrorsChannel(version=len(events) + 1, items=events),
                ),
                frontier=[NodeKind.custom(following[0]["node"]) if following else NodeKind.END],
                versions_seen=seen,
                created_at=BEGAN + timedelta(seconds=number),
                ran_nodes=[node],
                updated_channels=_changed(step),
            )
        )
    return checkpoints


def _changed(step: dict[str, Any]) -> list[str]:
    changed = {"extra": step["extra"], "errors": step["error"] is not None}
    return ["messages", *(channel for channel, has in changed.items() if has)]


def _event(message: str, node: str, step: int) -> ErrorEvent:
    return ErrorEvent(
        error=WeaveError(message=message),
        scope=NodeScope(kind=node, step=step),
        tags=["tool"],
        when=BEGAN + timedelta(seconds=step),
    )
