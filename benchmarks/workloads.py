"""The checkpoints that the benchmarks save: always the same, from a seed."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

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
ROLES = ("assistant", "tool")
NODES = ("plan", "act", "review")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Prose:
    """Random text from a vocabulary of 2000 random words."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        letters = "etaoinshrdlucmfw"
        self._vocabulary = [
            "".join(generator.choices(letters, k=generator.randint(2, 9))) for _ in range(2000)
        ]

    def write(self, characters: int) -> str:
        """Return a text of about this length."""
        return " ".join(self._random.choices(self._vocabulary, k=max(characters // 6, 1)))


class Workload(NamedTuple):
    """Sessions to save, each a list of checkpoints."""

    key: str
    title: str
    sessions: list[list[Checkpoint]]
    node: str = "review"
    """The node that ``page_of_node`` filters by."""


def build_workloads(scale: float = 1.0) -> Iterator[Workload]:
    """Yield workloads (a) to (d), always the same; (b) needs ``WEAVEGRAPH_TEST_DATA``."""
    prose = Prose(random.Random(SEED))
    count = max(int(10 * scale), 2)
    sessions = [build_steps(f"a-{n}", 100, 2, 134, prose) for n in range(count)]
    yield Workload("a", f"{count} sessions × 100 steps, a growing conversation", sessions)
    if runs := load_recorded_runs(scale):
        title = f"{len(runs)} recorded runs of real agents"
        yield Workload("b", title, runs, node=str(runs[0][0].ran_nodes[0]))
    steps = max(int(1000 * scale), 200)
    sessions = [build_steps("c-0", steps, 1, 36, prose)]
    yield Workload("c", f"one session × {steps:,} steps, a growing conversation", sessions)
    count *= 10
    sessions = [build_steps(f"d-{n}", 10, 1, 840, prose, growing=False) for n in range(count)]
    yield Workload("d", f"{count} sessions × 10 steps, small states", sessions)


class History(NamedTuple):
    """Sessions of one shape, to be saved with states stored as changes and whole."""

    key: str
    title: str
    sessions: Iterable[list[Checkpoint]]
    is_short: bool = True
    """Whether all steps can be saved with whole states."""


def build_histories(scale: float = 1.0) -> Iterator[History]:
    """Yield histories of each shape; recorded runs need ``WEAVEGRAPH_TEST_DATA``."""
    prose = Prose(random.Random(SEED))
    for steps, count in ((100, 10), (1000, 1), (5000, 1)):
        number = max(int(steps * scale), 20)
        title = f"growing conversation, {number:,} steps"
        sessions = [
            build_steps(f"growing-{steps}-{n}", number, 2, 134, prose) for n in range(count)
        ]
        yield History("growing", title, sessions, is_short=number <= 1000)
    if runs := load_recorded_runs(scale):
        yield History("recorded", f"{len(runs)} recorded runs", runs)
    number = max(int(1000 * scale), 20)
    for key, title in SHAPES.items():
        yield History(key, f"{title}, {number:,} steps", [build_shape(key, number, prose)])


SHAPES = {
    "list": "growing list in `extra`",
    "members": "growing object in `extra`",
    "rewritten": "a message in the middle rewritten",
    "everything": "everything rewritten, 106 kB",
    "small": "small states, 1.1 kB",
}


def build_shape(key: str, steps: int, prose: Prose) -> list[Checkpoint]:
    """Return the checkpoints of a session of one of ``SHAPES``."""
    texts = [prose.write(300) for _ in range(steps)]
    if key == "small":
        return build_steps(key, steps, 1, 840, prose, growing=False)
    if key == "everything":
        return build_steps(key, min(steps, 300), 300, 300, prose, growing=False)
    if key == "rewritten":
        growing = build_steps(key, steps, 2, 134, prose)
        return [_rewrite(each, prose) for each in growing]
    return [
        build_checkpoint(
            key,
            number,
            [Message(role="user", content=texts[0])],
            {"log": _collect(key, texts[:number])},
        )
        for number in range(1, steps + 1)
    ]


def _collect(key: str, texts: list[str]) -> Any:
    if key == "list":
        return [{"number": number, "text": text} for number, text in enumerate(texts)]
    return {f"result-{number}": text for number, text in enumerate(texts)}


def _rewrite(checkpoint: Checkpoint, prose: Prose) -> Checkpoint:
    messages = list(checkpoint.state.messages.items)
    messages[len(messages) // 2] = Message(role="tool", content=prose.write(134))
    return build_checkpoint(checkpoint.session_id, checkpoint.step, messages)


def build_steps(
    session: str, steps: int, messages: int, characters: int, prose: Prose, *, growing: bool = True
) -> list[Checkpoint]:
    """Return checkpoints with some new messages each, and with all earlier ones if growing."""
    history: list[Message] = []
    checkpoints = []
    for step in range(1, steps + 1):
        new = [
            Message(role=ROLES[number % 2], content=prose.write(characters))
            for number in range(messages)
        ]
        history = history + new if growing else new
        checkpoints.append(build_checkpoint(session, step, history))
    return checkpoints


def build_checkpoint(
    session: str, step: int, messages: list[Message], extra: dict[str, Any] | None = None
) -> Checkpoint:
    """Return a checkpoint with these messages, and these values in ``extra`` besides."""
    node, following = NODES[step % 3], NODES[(step + 1) % 3]
    return Checkpoint(
        session_id=session,
        step=step,
        state=VersionedState(
            messages=MessagesChannel(version=step, items=messages),
            extra=ExtrasChannel(
                version=step, map={"budget": 100 - step / 8, "step": step, **(extra or {})}
            ),
        ),
        frontier=[NodeKind.custom(following)],
        versions_seen={
            f"Custom:{seen}": {"messages": max(step - age, 0), "extra": max(step - age, 0)}
            for age, seen in enumerate((node, following))
        },
        created_at=START + timedelta(seconds=step),
        ran_nodes=[NodeKind.custom(node)],
        updated_channels=["messages", "extra"],
    )


def load_recorded_runs(scale: float) -> list[list[Checkpoint]]:
    """Return the recorded runs below ``WEAVEGRAPH_TEST_DATA``, or an empty list."""
    path = Path(os.environ.get("WEAVEGRAPH_TEST_DATA", "")) / "trajectories" / "runs.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        runs = [list(replay(json.loads(line))) for line in lines]
    return runs[:: max(round(1 / scale), 1)]


def replay(run: dict[str, Any]) -> Iterator[Checkpoint]:
    """Yield the checkpoints that a runtime would have saved during a recorded run."""
    messages: list[Message] = []
    extra: dict[str, Any] = {}
    events: list[ErrorEvent] = []
    versions_seen: dict[str, dict[str, int]] = {}
    extra_version = 1
    for number, step in enumerate(run["steps"], 1):
        node, at = NodeKind.custom(step["node"]), START + timedelta(seconds=number)
        versions_seen[node.encoded] = {"messages": number - 1, "extra": extra_version}
        messages = messages + [Message(**message) for message in step["messages"]]
        updated = ["messages"]
        if step["extra"]:
            extra, extra_version = extra | step["extra"], extra_version + 1
            updated.append("extra")
        if step["error"] is not None:
            scope = NodeScope(kind=step["node"], step=number)
            error = WeaveError(message=step["error"])
            events = [*events, ErrorEvent(error=error, scope=scope, tags=["tool"], when=at)]
            updated.append("errors")
        following = run["steps"][number : number + 1]
        yield Checkpoint(
            session_id=run["id"],
            step=number,
            state=VersionedState(
                messages=MessagesChannel(version=number, items=messages),
                extra=ExtrasChannel(version=extra_version, map=extra),
                errors=ErrorsChannel(version=len(events) + 1, items=events),
            ),
            frontier=[NodeKind.custom(following[0]["node"]) if following else NodeKind.END],
            versions_seen=versions_seen,
            created_at=at,
            ran_nodes=[node],
            updated_channels=updated,
        )
