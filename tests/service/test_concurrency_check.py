"""``save_with_concurrency_check``: one writer after each step."""

from __future__ import annotations

import pickle

import pytest
from django.db import transaction

from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    CheckpointerError,
    ConcurrencyConflict,
    InvalidCheckpoint,
    InvalidQuery,
    SerializationError,
    SessionExists,
    SessionNotFound,
    StateTooLarge,
    StepExists,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session


def test_steps_follow_one_another(checkpointer: DjangoCheckpointer) -> None:
    for step in range(1, 6):
        checkpointer.save_with_concurrency_check(a_checkpoint(step=step), step - 1)
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert latest.step == 5
    assert checkpointer.query_steps("session").page_info.total_count == 5


def test_a_step_may_be_left_out(checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save_with_concurrency_check(a_checkpoint(step=7), 0)
    checkpointer.save_with_concurrency_check(a_checkpoint(step=2**63 - 1), 7)
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert latest.step == 2**63 - 1


@pytest.mark.parametrize("step", [0, 1, 2, 5, 9])
def test_none_is_no_check(checkpointer: DjangoCheckpointer, step: int) -> None:
    save_history(checkpointer, "session", [1, 2, 5])
    checkpointer.save_with_concurrency_check(a_checkpoint(step=step), None)
    checkpointer.save_with_concurrency_check(a_checkpoint("new", step), None)
    assert checkpointer.load("session", step) == a_checkpoint(step=step)
    assert checkpointer.load("new", step) == a_checkpoint("new", step)


@pytest.mark.parametrize("step", [0, 1])
def test_zero_expects_a_session_without_a_step(checkpointer: DjangoCheckpointer, step: int) -> None:
    Session.objects.create(id="empty")
    for session_id in ("unknown", "empty"):
        checkpointer.save_with_concurrency_check(a_checkpoint(session_id, step), 0)
        assert checkpointer.load(session_id, step) is not None


def test_step_zero_is_saved_once(checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save_with_concurrency_check(a_checkpoint(step=0), 0)
    before = everything_stored()
    with pytest.raises(ConcurrencyConflict) as conflict:
        checkpointer.save_with_concurrency_check(a_checkpoint(step=0), 0)
    assert (conflict.value.expected, conflict.value.actual) == (0, 0)
    assert conflict.value.__context__ is None
    assert everything_stored() == before
    checkpointer.save_with_concurrency_check(a_checkpoint(step=1), 0)
    with pytest.raises(ConcurrencyConflict) as conflict:
        checkpointer.save_with_concurrency_check(a_checkpoint(step=0), 0)
    assert (conflict.value.expected, conflict.value.actual) == (0, 1)


@pytest.mark.parametrize(
    ("step", "expected"), [(1, 1), (1, 2), (0, 1), (5, 2**63 - 1), (2**63 - 1, 2**63 - 1)]
)
def test_a_step_that_cannot_come_after_is_invalid(
    checkpointer: DjangoCheckpointer, step: int, expected: int
) -> None:
    save_history(checkpointer, "session", [1, 2])
    before = everything_stored()
    for session_id in ("session", "new"):
        with pytest.raises(InvalidCheckpoint) as refused:
            checkpointer.save_with_concurrency_check(a_checkpoint(session_id, step), expected)
        assert refused.value.path == "$.step"
    assert everything_stored() == before


@pytest.mark.parametrize(
    ("session_id", "step", "expected", "actual"),
    [
        ("session", 3, 1, 2),
        ("session", 3, 0, 2),
        ("session", 9, 5, 2),
        ("session", 0, 0, 2),
        ("zero", 2, 1, 0),
        ("zero", 0, 0, 0),
        ("empty", 2, 1, 0),
        ("unknown", 2, 1, 0),
        ("unknown", 2**63 - 1, 2**63 - 2, 0),
    ],
)
def test_a_conflict_says_what_it_found_and_leaves_no_trace(
    checkpointer: DjangoCheckpointer, session_id: str, step: int, expected: int, actual: int
) -> None:
    save_history(checkpointer, "session", [1, 2])
    save_history(checkpointer, "zero", [0])
    Session.objects.create(id="empty")
    before = everything_stored()
    with pytest.raises(ConcurrencyConflict) as conflict:
        checkpointer.save_with_concurrency_check(a_checkpoint(session_id, step), expected)
    error = conflict.value
    assert (error.session_id, error.expected, error.actual) == (session_id, expected, actual)
    assert isinstance(error, CheckpointerError)
    assert everything_stored() == before
    with transaction.atomic(), pytest.raises(ConcurrencyConflict):
        checkpointer.save_with_concurrency_check(a_checkpoint(session_id, step), expected)
    assert everything_stored() == before


def test_the_snapshot_decides_where_the_newest_step_was_deleted(
    checkpointer: DjangoCheckpointer,
) -> None:
    save_history(checkpointer, "session", [1, 2])
    Session.objects.get().steps.filter(step=2).delete()
    with pytest.raises(ConcurrencyConflict):
        checkpointer.save_with_concurrency_check(a_checkpoint(step=3), 2)
    checkpointer.save_with_concurrency_check(a_checkpoint(step=3), 1)


def test_a_checked_save_keeps_limit_and_owner(checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save_with_concurrency_check(a_checkpoint(step=1, concurrency_limit=4), 0)
    checkpointer.save_with_concurrency_check(a_checkpoint(step=2, concurrency_limit=5), 1)
    row = Session.objects.get()
    assert (row.concurrency_limit, row.owner, row.last_step) == (4, "", 2)


@pytest.mark.parametrize(
    "error",
    [
        ConcurrencyConflict("a/b", 3, 5),
        SessionNotFound("a"),
        SessionNotFound("a", "has no step to fork"),
        SessionExists("a"),
        StepExists("a", 3),
        InvalidCheckpoint("no", "$.step"),
        InvalidQuery("no", "limit"),
        SerializationError("no", "$.state.extra.map.a"),
        StateTooLarge(11, 10),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_a_process_boundary(error: CheckpointerError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
