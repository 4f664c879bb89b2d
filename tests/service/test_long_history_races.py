"""Threads that race on sessions whose states are stored as changes: no state is ever wrong."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection

from tests.builders import wrong_snapshots
from tests.service.racing import race
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    Checkpoint,
    CheckpointerError,
    Message,
    SessionNotFound,
    StepQuery,
    VersionedState,
)
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Keyframe, Step
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde.deltas import planning

SESSIONS = ("a", "b", "c")
FORKS = ("fork 1", "fork 2")
SECONDS = 4


def digest(messages: tuple[Message, ...]) -> str:
    text = "\0".join(message.content for message in messages)
    return hashlib.sha256(text.encode()).hexdigest()


def assert_right(checkpoint: Checkpoint) -> None:
    """Fail if a state does not belong together."""
    assert checkpoint.state.extra.map["digest"] == digest(checkpoint.state.messages.items)
    assert checkpoint.state.extra.map["step"] == checkpoint.step


class Actors:
    """What the threads do with a random session."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.checkpointer = DjangoCheckpointer()

    def save(self) -> None:
        session_id = self.chance.choice([*SESSIONS, *FORKS])
        latest = self.checkpointer.load_latest(session_id)
        step = latest.step + 1 if latest else 1
        messages = latest.state.messages.items if latest else ()
        for _ in range(self.chance.randint(1, 5)):
            messages += (Message.user(f"{self.chance.random()}" * 9),)
            if len(messages) > 60:
                messages = messages[self.chance.randrange(50) :]
            extra = {"digest": digest(messages), "step": step}
            state = VersionedState.new(messages=messages, extra=extra)
            self.checkpointer.save(a_checkpoint(session_id, step, state=state))
            step += 1

    def read(self) -> None:
        session_id = self.chance.choice([*SESSIONS, *FORKS])
        if self.chance.random() < 0.3:
            memory.clear()
        latest = self.checkpointer.load_latest(session_id)
        for found in ([latest] if latest else []) + list(
            self.checkpointer.query_steps(session_id, StepQuery(limit=20)).checkpoints
        ):
            assert_right(found)

    def prune(self) -> None:
        prune(RetentionPolicy(keep_last=self.chance.randint(1, 30)), batch_size=20)
        if self.chance.random() < 0.2:
            self.checkpointer.delete_session(self.chance.choice([*SESSIONS, *FORKS]))

    def fork(self) -> None:
        target = self.chance.choice(FORKS)
        self.checkpointer.delete_session(target)
        assert_right(self.checkpointer.fork_session(self.chance.choice(SESSIONS), target))

    def delete_keyframes(self) -> None:
        keys = list(Keyframe.objects.values_list("pk", flat=True))
        chosen = self.chance.sample(keys, min(3, len(keys)))
        # It does not lock the session, so it may be the victim of a deadlock.
        with suppress(IntegrityError, OperationalError):
            Keyframe.objects.filter(pk__in=chosen).delete()

    def delete_newest(self) -> None:
        newest = Step.objects.filter(session=self.chance.choice(SESSIONS)).order_by("-step")
        with suppress(OperationalError):
            Step.objects.filter(pk__in=list(newest.values_list("pk", flat=True)[:2])).delete()
        time.sleep(0.02)


@pytest.fixture
def tiny_links(committed: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 600)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": 500}
    memory.clear()


@pytest.mark.usefixtures("tiny_links")
@pytest.mark.parametrize("seed", [1, 2])
def test_no_state_is_wrong(seed: int) -> None:
    actors = [Actors(seed * 10 + number) for number in range(7)]
    calls: list[Callable[[], None]] = [
        *(actors[0].save, actors[1].save, actors[2].read, actors[3].prune, actors[4].fork),
        *(actors[5].delete_keyframes, actors[6].delete_newest),
    ]
    ends = time.monotonic() + SECONDS

    def run(number: int) -> int:
        count = 0
        while time.monotonic() < ends:
            try:
                calls[number]()
            except SessionNotFound:
                time.sleep(0.001)
            except CheckpointerError as error:
                if "keyframe" in str(error):
                    raise
            except DatabaseError as error:
                # Without fair locks a writer may wait for longer than the timeout.
                if connection.vendor != "sqlite" or "locked" not in str(error):
                    raise
            count += 1
        return count

    results = race(len(calls), run)
    assert all(isinstance(result, int) and result > 0 for result in results), results
    assert wrong_snapshots() == []
    memory.clear()
    for session_id in (*SESSIONS, *FORKS):
        page = DjangoCheckpointer().query_steps(session_id, StepQuery(limit=1000))
        for found in page.checkpoints:
            assert_right(found)


@pytest.mark.usefixtures("tiny_links")
def test_a_fork_that_races_the_first_save_of_its_source() -> None:
    checkpointer = DjangoCheckpointer()

    def act(number: int, session_id: str) -> Any:
        if number:
            state = VersionedState.new(messages=[Message.user("x" * 800)])
            return checkpointer.save(a_checkpoint(session_id, state=state))
        return checkpointer.fork_session(session_id, f"fork of {session_id}")

    for attempt in range(25):
        result, saved = race(2, lambda number, key=f"source {attempt}": act(number, key))
        assert saved is None
        assert isinstance(result, Checkpoint | SessionNotFound), result
