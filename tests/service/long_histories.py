"""Sessions whose states are stored as changes."""

from __future__ import annotations

from typing import Any

from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Message, VersionedState
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Session


def build_state(
    step: int, *, text: str = "x", messages: int | None = None, kept: int = 0
) -> VersionedState:
    """Return a state whose messages have a text; the first ``kept`` have the usual one."""
    count = step if messages is None else messages
    items = [
        Message.user(f"{number} {('x' if number < kept else text) * 150}")
        for number in range(count)
    ]
    return VersionedState.new(messages=items, extra={"step": step})


def save(step: int, session_id: str = "s", using: str = "default", **options: Any) -> None:
    state = build_state(step, **options)
    DjangoCheckpointer(using).save(a_checkpoint(session_id, step, state=state))


def save_steps(count: int, session_id: str = "s") -> None:
    for step in range(1, count + 1):
        save(step, session_id)


def assert_reads(step: int, session_id: str = "s", **options: Any) -> None:
    """Check a step, as this process and as a new one reads it."""
    for _ in range(2):
        found = DjangoCheckpointer().load(session_id, step)
        assert found is not None
        assert found.state == build_state(step, **options)
        memory.clear()


def chain_of(session_id: str = "s") -> list[Keyframe]:
    return list(Keyframe.objects.filter(session=session_id).order_by("-id"))


def last_base(session_id: str = "s") -> int | None:
    return Session.objects.values_list("last_base_id", flat=True).get(pk=session_id)
