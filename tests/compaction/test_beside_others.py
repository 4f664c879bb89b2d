"""Compactions that run at the same time as savers, readers, prunes, forks and each other."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection

from tests.builders import orphans, wrong_snapshots
from tests.compaction.histories import a_conversation, read_states, save, save_whole
from tests.service.racing import race
from tests.service.test_long_history_races import FORKS, SESSIONS, Actors, assert_right
from weavegraph_checkpoints import CheckpointerError, SessionNotFound, StepQuery, conf, serde
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.compaction import CompactionResult, compact
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.serde.deltas import planning

pytestmark = pytest.mark.usefixtures("committed")
SECONDS = 5


def call(action: Callable[[], None]) -> None:
    """Call an action; fail if it finds a wrong state."""
    try:
        action()
    except SessionNotFound:
        time.sleep(0.001)
    except CheckpointerError as error:
        if "keyframe" in str(error):
            raise
    except DatabaseError as error:
        # Without fair locks a writer may wait for longer than the timeout.
        if connection.vendor != "sqlite" or "locked" not in str(error):
            raise


@pytest.mark.parametrize("changes_from", [None, 500])
def test_no_state_is_wrong_and_nobody_deadlocks(
    changes_from: int | None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 600)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    monkeypatch.setattr(conf, "DEFAULT_CHANGES_FROM_BYTES", 500)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": changes_from}
    actors = [Actors(number) for number in range(5)]
    chance = random.Random(1)
    rewritten = {False: 0, True: 0}

    def compact_some() -> None:
        whole = chance.random() < 0.3
        result = compact(whole=whole, batch_size=chance.choice([3, 20, 1000]))
        rewritten[whole] += result.rewritten

    calls: list[Callable[[], None]] = [
        *(actors[0].save, actors[1].save, actors[2].read, actors[3].prune, actors[4].fork),
        *(compact_some, compact_some),
    ]
    ends = time.monotonic() + SECONDS

    def run(number: int) -> int:
        count = 0
        while time.monotonic() < ends:
            call(calls[number])
            count += 1
        return count

    with caplog.at_level(logging.WARNING, "weavegraph_checkpoints"):
        results = race(len(calls), run)
    assert all(isinstance(result, int) and result > 0 for result in results), results
    assert caplog.messages == []
    assert min(rewritten.values()) > 0
    assert (wrong_snapshots(), orphans()) == ([], [])
    for session_id in (*SESSIONS, *FORKS):
        memory.clear()
        page = DjangoCheckpointer().query_steps(session_id, StepQuery(limit=1000))
        for found in page.checkpoints:
            assert_right(found)


def test_a_session_that_is_saved_to_between_two_batches() -> None:
    states = [*a_conversation(60)]
    save_whole(states[:40])
    expected = dict(enumerate(map(serde.dumps_state, states), 1))

    def save_more(result: CompactionResult) -> None:
        last = Session.objects.get().last_step
        if last < 60:
            save(states[last : last + 1], first=last + 1)
            save(states[9:10], first=10)

    compact(batch_size=3, on_progress=save_more)
    assert Session.objects.get().last_step > 50
    stored = read_states()
    assert stored == {step: expected[step] for step in stored}
    assert compact().rewritten <= 1


@pytest.mark.parametrize("at", [3, 9, 15])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_session_that_is_deleted_between_two_batches(at: int, again: bool, whole: bool) -> None:
    states = [*a_conversation(30)]
    save_whole(states)
    if whole:
        compact()

    def delete(result: CompactionResult) -> None:
        if result.checked == at:
            DjangoCheckpointer().delete_session("s")
            if again:
                save_whole(states)

    compact(whole=whole, batch_size=3, on_progress=delete)
    assert len(read_states()) == (30 if again else 0)
    if again:
        assert read_states() == dict(enumerate(map(serde.dumps_state, states), 1))
    else:
        assert (Step.objects.count(), Keyframe.objects.count()) == (0, 0)


def test_the_keyframe_of_the_last_batch_is_pruned_before_the_next() -> None:
    save_whole(a_conversation(40))
    expected = read_states()

    def delete_newest(result: CompactionResult) -> None:
        if result.checked == 10:
            Step.objects.exclude(base=None).delete()
            Keyframe.objects.all().delete()

    compact(batch_size=10, on_progress=delete_newest)
    stored = read_states()
    assert stored == {step: expected[step] for step in range(1, 31)}
    assert Step.objects.exclude(base=None).count() > 15
