"""``save(…, replace=False)``: append a step, and never replace one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from tests.builders import everything_stored, save_history, wrong_snapshots
from tests.service.racing import race
from tests.service.random_calls import CallContext, build_checkpoint
from tests.service.statements import captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    ConcurrencyConflict,
    SessionNotFound,
    StepExists,
    VersionedState,
)
from weavegraph_checkpoints.backends import StepRow, get_backend
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.signals import checkpoint_saved

RACERS = 8
ROUNDS = 6

CALLERS: dict[str, CallContext] = {"autocommit": nullcontext, "in atomic()": transaction.atomic}
EITHER_WAY = pytest.mark.parametrize("call_context", CALLERS.values(), ids=CALLERS)


@EITHER_WAY
@pytest.mark.parametrize("step", [0, 1, 3, 9])
def test_a_new_step_is_saved(
    checkpointer: DjangoCheckpointer, call_context: CallContext, step: int
) -> None:
    save_history(checkpointer, "session", [2, 4])
    Session.objects.create(id="empty")
    for session_id in ("session", "empty", "new"):
        with call_context():
            checkpointer.save(a_checkpoint(session_id, step), replace=False)
        assert checkpointer.load(session_id, step) == a_checkpoint(session_id, step)
    assert wrong_snapshots() == []


@EITHER_WAY
@pytest.mark.parametrize("owner", [None, ""])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_an_existing_step_is_refused_and_nothing_is_written(
    checkpointer: DjangoCheckpointer, call_context: CallContext, step: int, owner: str | None
) -> None:
    save_history(checkpointer, "session", [0, 1, 2])
    before = everything_stored()
    with call_context(), pytest.raises(StepExists) as refused:
        DjangoCheckpointer(owner=owner).save(
            a_checkpoint(step=step, state=VersionedState.new_with_user_message("other")),
            replace=False,
        )
    assert (refused.value.session_id, refused.value.step) == ("session", step)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert everything_stored() == before


def test_a_transaction_goes_on_after_a_refused_save(checkpointer: DjangoCheckpointer) -> None:
    with transaction.atomic():
        checkpointer.save(a_checkpoint(step=1), replace=False)
        with pytest.raises(StepExists):
            checkpointer.save(a_checkpoint(step=1), replace=False)
        checkpointer.save(a_checkpoint(step=2), replace=False)
    assert list(Step.objects.values_list("step", flat=True).order_by("step")) == [1, 2]


def test_an_expected_last_step_is_checked_too(checkpointer: DjangoCheckpointer) -> None:
    save = checkpointer.save_with_concurrency_check
    save(a_checkpoint(step=0), 0, replace=False)
    save(a_checkpoint(step=5), 0, replace=False)
    before = everything_stored()
    with pytest.raises(ConcurrencyConflict):
        save(a_checkpoint(step=6), 0, replace=False)
    with pytest.raises(ConcurrencyConflict):
        save(a_checkpoint(step=5), 0, replace=False)
    with pytest.raises(StepExists):
        save(a_checkpoint(step=5), None, replace=False)
    assert everything_stored() == before


def test_a_step_beyond_a_stale_snapshot_is_not_replaced(checkpointer: DjangoCheckpointer) -> None:
    """The snapshot may be wrong if the trigger was missing; the step is what counts."""
    save_history(checkpointer, "session", [1, 2])
    Session.objects.update(last_step=1)
    before = everything_stored()
    with pytest.raises(StepExists):
        checkpointer.save_with_concurrency_check(a_checkpoint(step=2), 1, replace=False)
    assert everything_stored() == before


def test_a_session_of_another_owner_is_not_found(checkpointer: DjangoCheckpointer) -> None:
    save_history(DjangoCheckpointer(owner="ann"), "session", [1])
    before = everything_stored()
    for step in (1, 2):
        with pytest.raises(SessionNotFound):
            DjangoCheckpointer(owner="bob").save(a_checkpoint(step=step), replace=False)
    assert everything_stored() == before


def test_a_refused_save_sends_no_signal(checkpointer: DjangoCheckpointer) -> None:
    sent: list[int] = []

    def receive(step: int, **kwargs: Any) -> None:
        sent.append(step)

    checkpoint_saved.connect(receive)
    try:
        checkpointer.save(a_checkpoint(step=1), replace=False)
        with pytest.raises(StepExists):
            checkpointer.save(a_checkpoint(step=1), replace=False)
    finally:
        checkpoint_saved.disconnect(receive)
    assert sent == [1]


def test_it_takes_as_many_statements_as_a_save(checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "session", [1])
    for session_id in ("session", "new"):
        with captured() as plain:
            checkpointer.save(a_checkpoint(session_id, 2))
        checkpointer.delete_session("new")
        with captured() as appending:
            checkpointer.save(a_checkpoint(session_id, 3), replace=False)
        assert len(appending) == len(plain)


def assert_one_appended(results: list[Any], session_id: str, step: int, *, stored: int) -> None:
    winners = [racer for racer, result in enumerate(results) if result is None]
    assert len(winners) == 1, results
    losers = [result for result in results if result is not None]
    assert {type(result) for result in losers} == {StepExists}, results
    assert DjangoCheckpointer().load(session_id, step) == build_checkpoint(
        session_id, step, winners[0]
    )
    assert Session.objects.get(id=session_id).revision == stored
    assert Step.objects.filter(session=session_id).count() == stored


@EITHER_WAY
def test_of_threads_that_append_the_same_step_one_wins(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord], call_context: CallContext
) -> None:
    def appending(session_id: str, step: int) -> Callable[[int], None]:
        def save(racer: int) -> None:
            with call_context():
                DjangoCheckpointer().save(build_checkpoint(session_id, step, racer), replace=False)

        return save

    for attempt in range(ROUNDS):
        session_id = f"s{attempt}"
        for stored, step in enumerate((5, 0, 2, 9), 1):
            results = race(RACERS, appending(session_id, step))
            assert_one_appended(results, session_id, step, stored=stored)
    assert warnings == []
    assert wrong_snapshots() == []


@EITHER_WAY
def test_appends_and_replacing_saves_race_without_a_deadlock(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord], call_context: CallContext
) -> None:
    def save(racer: int) -> int:
        refused = 0
        for step in range(10):
            with call_context():
                try:
                    DjangoCheckpointer().save(
                        build_checkpoint(f"s{step % 3}", step, racer), replace=racer % 2 == 0
                    )
                except StepExists:
                    refused += 1
        return refused

    results = race(6, save)
    assert [type(result) for result in results] == [int] * 6, results
    assert (warnings, wrong_snapshots()) == ([], [])
    assert Step.objects.count() == 10


@pytest.mark.vendor("mysql")
def test_another_integrity_error_passes(checkpointer: DjangoCheckpointer) -> None:
    row = StepRow.from_checkpoint(a_checkpoint("missing", 1), None)
    backend = get_backend(connection)
    with pytest.raises(IntegrityError, match="1452"):
        backend.insert_step(row, replace=False)
