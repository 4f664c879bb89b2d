"""Inside the caller's transactions: ``atomic()``, ``ATOMIC_REQUESTS``, autocommit off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client

from tests.builders import everything_stored, save_history, wrong_snapshots
from tests.service.statements import captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import ConcurrencyConflict, SessionExists, SessionNotFound
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session


class Changed(Exception):
    """The caller's own change of mind."""


def business_rows() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


def test_checkpoint_and_business_rows_commit_together(checkpointer: DjangoCheckpointer) -> None:
    with transaction.atomic():
        Group.objects.create(name="before")
        checkpointer.save(a_checkpoint(step=1))
        checkpointer.save_with_concurrency_check(a_checkpoint(step=2), 1)
        checkpointer.fork_session("session", "fork")
        Group.objects.create(name="after")
    connection.close()
    assert business_rows() == ["after", "before"]
    assert sorted(checkpointer.list_sessions()) == ["fork", "session"]


def test_checkpoint_and_business_rows_roll_back_together(
    checkpointer: DjangoCheckpointer,
) -> None:
    save_history(checkpointer, "kept", [1, 2])
    before = everything_stored()
    with pytest.raises(Changed), transaction.atomic():
        Group.objects.create(name="business")
        checkpointer.save(a_checkpoint("kept", 3))
        checkpointer.save_with_concurrency_check(a_checkpoint("new"), 0)
        checkpointer.fork_session("kept", "fork", at_step=1)
        assert checkpointer.delete_session("kept")
        assert sorted(checkpointer.list_sessions()) == ["fork", "new"]
        raise Changed
    assert business_rows() == []
    assert everything_stored() == before


REFUSED: dict[str, tuple[type[Exception], Callable[[DjangoCheckpointer], Any]]] = {
    "conflict": (
        ConcurrencyConflict,
        lambda kept: kept.save_with_concurrency_check(a_checkpoint(step=9), 7),
    ),
    "conflict at birth": (
        ConcurrencyConflict,
        lambda kept: kept.save_with_concurrency_check(a_checkpoint("new", 9), 7),
    ),
    "owner": (
        SessionNotFound,
        lambda kept: DjangoCheckpointer(owner="ann").save(a_checkpoint(step=9)),
    ),
    "fork of nothing": (SessionNotFound, lambda kept: kept.fork_session("unknown", "fork")),
    "fork of no step": (
        SessionNotFound,
        lambda kept: kept.fork_session("session", "fork", at_step=0),
    ),
    "fork onto another": (SessionExists, lambda kept: kept.fork_session("session", "session")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_after_a_refusal_the_callers_transaction_goes_on(
    checkpointer: DjangoCheckpointer, name: str
) -> None:
    save_history(checkpointer, "session", [1, 2])
    error, call = REFUSED[name]
    before = everything_stored()
    with transaction.atomic():
        Group.objects.create(name="before")
        with pytest.raises(error):
            call(checkpointer)
        assert everything_stored() == before
        Group.objects.create(name="after")
        checkpointer.save_with_concurrency_check(a_checkpoint(step=3), 2)
    assert business_rows() == ["after", "before"]
    assert checkpointer.load("session", 3) is not None
    assert wrong_snapshots() == []


def test_a_savepoint_takes_its_saves_back(checkpointer: DjangoCheckpointer) -> None:
    with transaction.atomic():
        checkpointer.save(a_checkpoint(step=1))
        with pytest.raises(Changed), transaction.atomic():
            checkpointer.save(a_checkpoint(step=2))
            checkpointer.save(a_checkpoint("other"))
            raise Changed
        checkpointer.save_with_concurrency_check(a_checkpoint(step=3), 1)
    assert [kept.step for kept in checkpointer.query_steps("session").checkpoints] == [3, 1]
    assert checkpointer.list_sessions() == ["session"]
    assert wrong_snapshots() == []


def test_a_transaction_reads_what_it_wrote(checkpointer: DjangoCheckpointer) -> None:
    with transaction.atomic():
        for step in range(1, 5):
            checkpointer.save_with_concurrency_check(a_checkpoint(step=step), step - 1)
            latest = checkpointer.load_latest("session")
            assert latest is not None
            assert latest.step == step


def test_a_durable_block_of_the_caller_is_the_transaction(
    checkpointer: DjangoCheckpointer,
) -> None:
    with transaction.atomic(durable=True):
        checkpointer.save(a_checkpoint())
        assert connection.in_atomic_block
    assert not connection.in_atomic_block


@pytest.fixture
def atomic_requests(committed: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of a project under ``ATOMIC_REQUESTS``."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    return Client(raise_request_exception=False)


@pytest.mark.urls("tests.service.views")
def test_under_atomic_requests_a_view_commits_all_or_nothing(atomic_requests: Client) -> None:
    checkpointer = DjangoCheckpointer()
    response = atomic_requests.get("/save/1/")
    assert (response.status_code, response.json()) == (200, {"in_atomic_block": True})
    assert atomic_requests.get("/save/2/?fail").status_code == 500
    assert business_rows() == ["business 1"]
    assert [kept.step for kept in checkpointer.query_steps("session").checkpoints] == [1]


@pytest.mark.urls("tests.service.views")
def test_under_atomic_requests_a_view_answers_to_a_conflict(atomic_requests: Client) -> None:
    assert atomic_requests.get("/save/5/").status_code == 409
    assert business_rows() == ["business 5"]
    assert Session.objects.count() == 0


@pytest.fixture
def manual(committed: None) -> DjangoCheckpointer:
    """One on a connection whose caller commits by hand."""
    connection.set_autocommit(False)
    return DjangoCheckpointer()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_with_autocommit_off_the_caller_commits(manual: DjangoCheckpointer, end: str) -> None:
    save_history(manual, "kept", [1, 2])
    transaction.commit()
    before = everything_stored()
    transaction.rollback()
    Group.objects.create(name="business")
    manual.save(a_checkpoint("kept", 3))
    manual.save_with_concurrency_check(a_checkpoint("new"), 0)
    with pytest.raises(ConcurrencyConflict):
        manual.save_with_concurrency_check(a_checkpoint("new"), 0)
    with pytest.raises(ConcurrencyConflict):
        manual.save_with_concurrency_check(a_checkpoint("never", 9), 7)
    manual.fork_session("kept", "fork")
    assert manual.delete_session("fork")
    getattr(transaction, end)()
    if end == "commit":
        assert business_rows() == ["business"]
        assert sorted(manual.list_sessions()) == ["kept", "new"]
        assert manual.query_steps("kept").page_info.total_count == 3
    else:
        assert business_rows() == []
        assert everything_stored() == before
    transaction.rollback()


@pytest.mark.usefixtures("whole_states")
@pytest.mark.vendor("sqlite")
def test_an_error_of_the_site_s_own_trigger_is_raised_and_nothing_tried_again(
    checkpointer: DjangoCheckpointer,
) -> None:
    """It may have ended the caller's transaction: what followed would be on its own."""
    checkpointer.save(a_checkpoint(step=1))
    before = everything_stored()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuse AFTER INSERT ON weavegraph_checkpoints_step"
            " BEGIN SELECT RAISE(ROLLBACK, 'refused'); END"
        )
    try:
        with pytest.raises(IntegrityError, match="refused"), transaction.atomic():
            Group.objects.create(name="before")
            checkpointer.save(a_checkpoint(step=2))
        with captured() as found, pytest.raises(IntegrityError, match="refused"):
            checkpointer.save(a_checkpoint(step=2))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse")
    assert len(found.statements) == 1
    assert business_rows() == []
    assert everything_stored() == before
