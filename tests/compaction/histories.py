"""Histories whose states are stored whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from django.test import override_settings

from tests.service.random_states import RandomStates
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, serde
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Step
from weavegraph_checkpoints.serde.deltas import is_delta

CHANGES = override_settings(WEAVEGRAPH_CHECKPOINTS={})
WHOLE = override_settings(WEAVEGRAPH_CHECKPOINTS={"CHANGES_FROM_BYTES": None})


def a_message(number: int, size: int = 300) -> Message:
    return Message.user(f"message {number} ".ljust(size, "é"))


def a_conversation(steps: int) -> Iterator[VersionedState]:
    """Yield the states of a conversation that grows by one message a step."""
    for count in range(1, steps + 1):
        yield VersionedState.new([a_message(n) for n in range(count)], {"step": count})


def a_window(steps: int) -> Iterator[VersionedState]:
    """Yield the states of a conversation that keeps only its last messages."""
    for count in range(steps):
        yield VersionedState.new([a_message(n) for n in range(count, count + 60)])


def rewritten_states(steps: int) -> Iterator[VersionedState]:
    """Yield states that share nothing."""
    for count in range(steps):
        yield VersionedState.new([a_message(1000 * count + n) for n in range(20)])


def random_states(steps: int, seed: int = 1) -> Iterator[VersionedState]:
    """Yield states that change at random."""
    states = RandomStates(random.Random(seed))
    state = VersionedState.new([a_message(n) for n in range(20)])
    for _ in range(steps):
        state = states.next(state)
        yield state


def save(states: Any, session_id: str = "s", first: int = 1, using: str | None = None) -> None:
    """Save a step for each state."""
    checkpointer = DjangoCheckpointer(using)
    for step, state in enumerate(states, first):
        checkpointer.save(
            Checkpoint(
                session_id=session_id, step=step, state=state, frontier=["plan"], versions_seen={}
            )
        )


def save_whole(
    states: Any, session_id: str = "s", first: int = 1, using: str | None = None
) -> None:
    """Save a step for each state, which is stored whole."""
    with WHOLE:
        save(states, session_id, first, using)


def read_states(session_id: str = "s") -> dict[int, bytes]:
    """Return each state as a process reads it that remembers nothing."""
    memory.clear()
    page = DjangoCheckpointer().query_steps(session_id)
    latest = DjangoCheckpointer().load_latest(session_id)
    states = {each.step: serde.dumps_state(each.state) for each in page.checkpoints}
    if latest is not None:
        assert serde.dumps_state(latest.state) == states[latest.step]
    return states


def count_deltas(session_id: str = "s") -> int:
    """Return the number of steps that are stored as changes."""
    rows = Step.objects.filter(session=session_id)
    return sum(is_delta(serde.dumps_json(row.state)) for row in rows)


def stored_rows(using: str = "default") -> list[Any]:
    """Return what a second run must not change."""
    steps = Step.objects.using(using).order_by("pk").values_list("pk", "base", "state_bytes")
    keyframes = Keyframe.objects.using(using).order_by("pk").values_list("pk", "previous")
    return [*steps, *keyframes]
