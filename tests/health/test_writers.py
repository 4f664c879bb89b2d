"""Healthy rows cause no findings while other connections save."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import a_history, save_history, wrong_snapshots
from tests.health.damage import get_findings, get_problems, set_session, set_step
from tests.service.racing import race
from tests.strategies import a_checkpoint, checkpoints
from tests.triggers.helpers import forget_updates, moved
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.health.sql import HealthStatements
from weavegraph_checkpoints.models import Session, Step

ROUNDS = 15

PAUSE_SECONDS = 0.005
"""Between two saves: SQLite's locks are not fair."""


@pytest.mark.django_db
@given(checkpoint=checkpoints())
def test_whatever_is_saved_is_healthy(checkpoint: Checkpoint) -> None:
    with transaction.atomic():
        DjangoCheckpointer().save(checkpoint)
        assert get_findings(deep=True) == []
        transaction.set_rollback(True)


FRONTIERS = st.sampled_from([[], ["End"], ["End", "End"], ["Custom:End"], ["Start", "End"]])
SESSIONS = st.sampled_from(["a", "A", "a "])
STEPS = st.sampled_from([0, 1, 2, 3, 2**63 - 1])
ACTIONS = st.one_of(
    st.tuples(st.just("save"), SESSIONS, STEPS, FRONTIERS),
    st.tuples(st.just("delete step"), SESSIONS, STEPS),
    st.tuples(st.just("delete session"), SESSIONS),
    st.tuples(st.just("fork"), SESSIONS, STEPS),
)


def act(number: int, action: tuple[Any, ...]) -> None:
    """Run one action of a history."""
    checkpointer = DjangoCheckpointer()
    kind, session_id, *others = action
    if kind == "save":
        step, frontier = others
        (checkpoint,) = a_history(session_id, [step], frontier=frontier)
        checkpointer.save(checkpoint)
    elif kind == "delete step":
        Step.objects.filter(session_id=session_id, step=others[0]).delete()
    elif kind == "delete session":
        checkpointer.delete_session(session_id)
    elif Step.objects.filter(session_id=session_id, step__lte=others[0]).exists():
        checkpointer.fork_session(session_id, f"fork {number}", at_step=others[0])


@pytest.mark.django_db
@given(actions=st.lists(ACTIONS, max_size=12))
def test_any_history_is_healthy(actions: list[tuple[Any, ...]]) -> None:
    with transaction.atomic():
        for number, action in enumerate(actions):
            act(number, action)
        assert get_findings(deep=True) == []
        assert get_findings(deep=True, repair=True) == []
        transaction.set_rollback(True)


DAMAGES = st.fixed_dictionaries(
    {},
    optional={
        "last_step": STEPS,
        "status": st.sampled_from(["empty", "resumable", "finished"]),
        "last_frontier": st.sampled_from([None, "[]", '["End"]']),
        "last_versions_seen": st.sampled_from([None, "{}"]),
        "last_state": st.sampled_from([None, "{}"]),
        "last_message_count": st.sampled_from([None, 0, 1, 2]),
        "last_error_count": st.sampled_from([None, 0, 1]),
        "last_state_bytes": st.sampled_from([None, 7]),
    },
).filter(bool)


@pytest.mark.django_db
@given(actions=st.lists(ACTIONS, min_size=1, max_size=8), damage=DAMAGES, session_id=SESSIONS)
def test_any_damage_to_a_session_is_found_and_undone(
    actions: list[tuple[Any, ...]], damage: dict[str, Any], session_id: str
) -> None:
    with transaction.atomic():
        for number, action in enumerate(actions):
            act(number, action)
        before = Session.objects.filter(pk=session_id).values().first()
        if before is not None:
            set_session(session_id, **damage)
            damaged = Session.objects.filter(pk=session_id).values().get()
            reported = get_findings()
            assert bool(reported) == (damaged != before)
            repaired = get_findings(repair=True)
            assert [f.problem for f in repaired] == [f.problem for f in reported]
            assert all(f.repaired and f.session_id == session_id for f in repaired)
            raised = before | {"revision": before["revision"] + bool(reported)}
            assert Session.objects.filter(pk=session_id).values().get() == raised
            assert get_findings() == []
        transaction.set_rollback(True)


def after_first(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], Any]) -> None:
    """Let something happen just after the first read of a kind."""
    real = getattr(HealthStatements, name)
    left = [action]

    def read(self: HealthStatements, *args: Any, **options: Any) -> Any:
        rows = real(self, *args, **options)
        if left:
            left.pop()()
        return rows

    monkeypatch.setattr(HealthStatements, name, read)


@pytest.mark.django_db
def test_what_a_save_repairs_first_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_session("a", last_state=None)
    after_first(monkeypatch, "get_snapshots", lambda: save_history(DjangoCheckpointer(), "a", [3]))
    assert get_findings(repair=True) == []
    assert wrong_snapshots() == []


@pytest.mark.django_db
def test_a_snapshot_is_derived_from_a_step_saved_during_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_session("a", last_step=9)
    after_first(monkeypatch, "get_snapshots", lambda: save_history(DjangoCheckpointer(), "a", [3]))
    assert get_problems(repair=True) == [("a", 3, "snapshot", True)]
    assert wrong_snapshots() == []


@pytest.mark.django_db
@pytest.mark.parametrize("read", ["get_snapshots", "get_headers"])
def test_a_session_that_is_deleted_during_the_check(
    monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_step("a", 2, message_count=None)
    set_session("a", status="finished")
    after_first(monkeypatch, read, lambda: DjangoCheckpointer().delete_session("a"))
    assert get_problems(repair=True) == (
        [("a", 2, "status", True)] if read == "get_headers" else []
    )
    assert not Session.objects.exists()


@pytest.mark.django_db
def test_counts_that_a_save_repairs_first_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    Step.objects.update(message_count=None)
    after_first(monkeypatch, "get_headers", lambda: save_history(DjangoCheckpointer(), "a", [2]))
    assert get_problems(repair=True) == [("a", 1, "missing-counts", True)]


@pytest.mark.django_db
def test_steps_that_come_between_two_reads_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weavegraph_checkpoints.health.DECODE_BATCH_SIZE", 2)
    save_history(DjangoCheckpointer(), "a", [0, 10, 20])

    def insert() -> None:
        save_history(DjangoCheckpointer(), "a", range(1, 9))
        Step.objects.filter(step__in=[1, 5, 20]).update(message_count=9)

    after_first(monkeypatch, "get_headers", insert)
    assert get_problems(deep=True) == [("a", step, "wrong-counts", False) for step in (1, 5, 20)]


def test_checks_beside_writers_raise_no_alarm(committed: None) -> None:
    for session_id in ("a", "b", "c"):
        save_history(DjangoCheckpointer(), session_id, [0])
    saving = threading.Event()
    saving.set()

    def work(racer: int) -> Any:
        if racer == 0:
            alarms = [get_findings(deep=True) for _ in range(ROUNDS)]
            alarms += [get_findings(deep=True, repair=True) for _ in range(ROUNDS)]
            saving.clear()
            return alarms
        checkpointer, step = DjangoCheckpointer(), 0
        while saving.is_set():
            step += 1
            time.sleep(PAUSE_SECONDS)
            checkpointer.save(a_checkpoint("abc"[racer % 3], step % 50))
            if step % 20 == 0:
                checkpointer.delete_session("abc"[racer % 3])
        return step

    alarms, *saved = race(4, work)
    assert alarms == [[]] * (2 * ROUNDS)
    assert all(step > 0 for step in saved), saved


def test_repair_while_writers_save(committed: None) -> None:
    for session_id in ("a", "b", "c"):
        save_history(DjangoCheckpointer(), session_id, [0, 1])
    forget_updates()
    saving = threading.Event()
    saving.set()

    def work(racer: int) -> Any:
        if racer == 0:
            repaired = []
            for _ in range(ROUNDS):
                for session_id in ("a", "b", "c"):
                    set_session(session_id, last_state=None, status="empty")
                    set_step(session_id, 1, message_count=None)
                repaired += get_findings(deep=True, repair=True)
            saving.clear()
            return repaired
        checkpointer, step = DjangoCheckpointer(), 1
        while saving.is_set():
            step += 1
            time.sleep(PAUSE_SECONDS)
            checkpointer.save(a_checkpoint("ab"[racer % 2], step))
        return step

    repaired, *saved = race(3, work)
    assert all(finding.repaired for finding in repaired)
    assert len(repaired) >= ROUNDS
    newest = {"b": saved[0], "a": saved[1], "c": 1}
    assert dict(Session.objects.values_list("pk", "last_step")) == newest
    assert wrong_snapshots() == []
    assert get_findings(deep=True) == []
    assert not connections["default"].in_atomic_block


def test_an_idle_session_is_repaired_without_a_trace_in_its_time(committed: None) -> None:
    save_history(DjangoCheckpointer(), "a", [0, 1])
    set_session("a", last_state=None)
    set_step("a", 0, message_count=None)
    forget_updates()
    assert get_problems(repair=True) == [
        ("a", 1, "snapshot", True),
        ("a", 0, "missing-counts", True),
    ]
    assert not moved("a")
