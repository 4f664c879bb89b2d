"""``save``, ``load_latest`` and ``list_sessions``: the same in memory and in a database."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.assertions import assert_same
from tests.builders import a_history, save_history
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import Checkpoint, NodeKind, VersionedState, restore_session_state
from weavegraph_checkpoints.checkpointer import (
    Checkpointer,
    DjangoCheckpointer,
    InMemoryCheckpointer,
)
from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.models import Session

CLOCK_STEP = timedelta(milliseconds=2)


def assert_latest(latest: Checkpoint | None, saved: Checkpoint, **kept: Any) -> None:
    """Compare all but the metadata, which are empty, and the time, which is the update's."""
    assert latest is not None
    assert_same(
        latest,
        dataclasses.replace(
            saved,
            created_at=latest.created_at,
            ran_nodes=(),
            skipped_nodes=(),
            updated_channels=(),
            **kept,
        ),
    )


def test_an_unknown_session_has_no_latest_checkpoint(checkpointer: Checkpointer) -> None:
    assert checkpointer.load_latest("never seen") is None
    assert checkpointer.list_sessions() == []


def test_the_latest_holds_all_but_the_metadata(checkpointer: Checkpointer) -> None:
    saved = a_full_checkpoint()
    checkpointer.save(saved)
    assert_latest(checkpointer.load_latest("session"), saved)


def test_the_latest_was_created_when_the_session_was_updated(checkpointer: Checkpointer) -> None:
    before = datetime.now(UTC) - CLOCK_STEP
    checkpointer.save(a_checkpoint(created_at=datetime(2001, 1, 1, tzinfo=UTC)))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert before <= latest.created_at <= datetime.now(UTC) + CLOCK_STEP


def test_the_latest_was_created_at_updated_at_of_the_row(django: DjangoCheckpointer) -> None:
    django.save(a_checkpoint())
    stamp = datetime(2020, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    Session.objects.update(updated_at=stamp)
    latest = django.load_latest("session")
    assert latest is not None
    assert latest.created_at == stamp


def test_a_session_without_a_step_has_no_latest_checkpoint(django: DjangoCheckpointer) -> None:
    Session.objects.create(id="empty")
    assert django.load_latest("empty") is None
    assert django.list_sessions() == ["empty"]


def test_saving_twice_is_harmless(checkpointer: Checkpointer) -> None:
    saved = a_full_checkpoint()
    checkpointer.save(saved)
    checkpointer.save(saved)
    assert_latest(checkpointer.load_latest("session"), saved)
    assert checkpointer.list_sessions() == ["session"]


def test_saving_a_step_again_replaces_what_to_resume_from(checkpointer: Checkpointer) -> None:
    checkpointer.save(a_full_checkpoint())
    replacement = a_checkpoint(state=VersionedState.new(extra={"other": 1}), frontier=["End"])
    checkpointer.save(replacement)
    assert_latest(checkpointer.load_latest("session"), replacement, concurrency_limit=7)


@pytest.mark.parametrize("steps", [[1, 5, 9, 3, 5], [9, 1], [2**63 - 1, 0], [3, 2, 1, 0]])
def test_the_highest_step_wins_whenever_it_was_saved(
    checkpointer: Checkpointer, steps: list[int]
) -> None:
    save_history(checkpointer, "session", steps)
    (highest,) = a_history("session", [max(steps)])
    assert_latest(checkpointer.load_latest("session"), highest)


def test_a_late_step_touches_the_session_all_the_same(checkpointer: Checkpointer) -> None:
    save_history(checkpointer, "first", [9])
    time.sleep(0.003)
    save_history(checkpointer, "second", [1])
    assert checkpointer.list_sessions() == ["second", "first"]
    before = checkpointer.load_latest("first")
    time.sleep(0.003)
    save_history(checkpointer, "first", [3])
    after = checkpointer.load_latest("first")
    assert before is not None
    assert after is not None
    assert (after.step, checkpointer.list_sessions()) == (9, ["first", "second"])
    assert after.created_at > before.created_at


def test_step_zero_is_a_checkpoint(checkpointer: Checkpointer) -> None:
    (zero,) = save_history(checkpointer, "session", [0])
    assert_latest(checkpointer.load_latest("session"), zero)
    (one,) = save_history(checkpointer, "session", [1])
    assert_latest(checkpointer.load_latest("session"), one)


def test_the_first_concurrency_limit_stays(checkpointer: Checkpointer) -> None:
    checkpointer.save(a_checkpoint(step=1, concurrency_limit=7))
    later = a_checkpoint(step=2, concurrency_limit=9)
    checkpointer.save(later)
    assert_latest(checkpointer.load_latest("session"), later, concurrency_limit=7)


@pytest.mark.parametrize("limit", [0, 1, 2**63 - 1])
def test_every_concurrency_limit_is_kept(checkpointer: Checkpointer, limit: int) -> None:
    saved = a_checkpoint(concurrency_limit=limit)
    checkpointer.save(saved)
    assert_latest(checkpointer.load_latest("session"), saved)


def test_what_was_handed_in_may_change_after_the_call(checkpointer: Checkpointer) -> None:
    extra: dict[str, Any] = {"list": [1]}
    checkpointer.save(a_checkpoint(state=VersionedState.new(extra=extra)))
    extra["list"].append(2)
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert latest.state.extra.map == {"list": [1]}
    latest.state.extra.map["list"].append(3)
    again = checkpointer.load_latest("session")
    assert again is not None
    assert again.state.extra.map == {"list": [1]}


def test_a_run_resumes_from_the_latest(checkpointer: Checkpointer) -> None:
    saved = a_checkpoint(frontier=["plan", NodeKind.END], concurrency_limit=3)
    checkpointer.save(saved)
    latest = checkpointer.load_latest("session")
    assert latest is not None
    resumed = restore_session_state(latest)
    assert_same(resumed, restore_session_state(saved))
    checkpointer.save(Checkpoint.from_session("session", resumed))
    assert_latest(checkpointer.load_latest("session"), saved)


def test_sessions_are_listed_by_their_last_update(checkpointer: Checkpointer) -> None:
    for session_id in ("b", "a", "c", "b"):
        checkpointer.save(a_checkpoint(session_id))
        time.sleep(0.003)
    assert checkpointer.list_sessions() == ["b", "c", "a"]


TIED = [
    "a",
    "A",
    "b",
    "B",
    "á",
    "z",
    " ",
    "a ",
    "aa",
    "a-b",
    "a_b",
    "10",
    "9",
    "ß",
    "日",
    "😀",
    "\uffee",
]


def test_ties_are_listed_by_code_point(
    checkpointer: Checkpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(timestamps, "now", lambda: stamp)
    shuffled = random.Random(4).sample(TIED, len(TIED))
    for session_id in shuffled:
        checkpointer.save(a_checkpoint(session_id))
    Session.objects.update(updated_at=stamp)
    assert checkpointer.list_sessions() == sorted(TIED)


def test_a_checkpointer_in_memory_is_safe_among_threads() -> None:
    checkpointer = InMemoryCheckpointer()

    def save_many(first: int) -> None:
        for step in range(first, 200, 4):
            checkpointer.save(a_checkpoint(f"s{step % 10}", step))
            checkpointer.list_sessions()

    threads = [threading.Thread(target=save_many, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = [checkpointer.load_latest(f"s{digit}") for digit in range(10)]
    assert [kept and kept.step for kept in latest] == list(range(190, 200))


def test_two_checkpointers_in_memory_share_nothing() -> None:
    first, second = InMemoryCheckpointer(), InMemoryCheckpointer()
    first.save(a_checkpoint())
    assert second.load_latest("session") is None


def test_the_one_in_memory_has_no_async_twins() -> None:
    assert not [name for name in dir(InMemoryCheckpointer) if name.startswith("a")]
