"""``checkpoint_saved``: after the commit, robust, and free without receivers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from tests.strategies import a_checkpoint
from weavegraph_checkpoints import ConcurrencyConflict, SerializationError, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.signals import checkpoint_saved


class Receiver:
    """Remembers what it was told, and whether a transaction was open then."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.open: list[bool] = []

    def __call__(
        self, sender: type, session_id: str, step: int, using: str, signal: Any, **more: Any
    ) -> None:
        assert not more
        assert signal is checkpoint_saved
        self.told.append((sender, session_id, step, using))
        self.open.append(connection.in_atomic_block)


@pytest.fixture
def receiver(committed: None) -> Iterator[Receiver]:
    receiver = Receiver()
    checkpoint_saved.connect(receiver, weak=False)
    yield receiver
    checkpoint_saved.disconnect(receiver)


def told(step: int, session_id: str = "session", using: str = "default") -> tuple[Any, ...]:
    return (DjangoCheckpointer, session_id, step, using)


def test_each_save_is_told_once(receiver: Receiver) -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.save(a_checkpoint(step=1))
    checkpointer.save(a_checkpoint(step=1))
    checkpointer.save_with_concurrency_check(a_checkpoint(step=2), 1)
    DjangoCheckpointer("other", owner="ann").save(a_checkpoint("a/b", 0))
    assert receiver.told == [told(1), told(1), told(2), told(0, "a/b", "other")]
    assert receiver.open == [False] * 4


def test_it_is_told_after_the_commit_of_the_caller(receiver: Receiver) -> None:
    with transaction.atomic():
        DjangoCheckpointer().save(a_checkpoint(step=1))
        with transaction.atomic():
            DjangoCheckpointer().save(a_checkpoint(step=2))
        assert receiver.told == []
    assert receiver.told == [told(1), told(2)]
    assert receiver.open == [False, False]


def test_a_commit_elsewhere_is_not_the_commit(receiver: Receiver) -> None:
    with transaction.atomic("default"):
        with transaction.atomic("other"):
            DjangoCheckpointer("other").save(a_checkpoint(step=1))
            DjangoCheckpointer("default").save(a_checkpoint(step=2))
        assert receiver.told == [told(1, using="other")]
    assert receiver.told == [told(1, using="other"), told(2)]


def test_what_is_rolled_back_is_not_told(receiver: Receiver) -> None:
    with transaction.atomic():
        DjangoCheckpointer().save(a_checkpoint(step=1))
        transaction.set_rollback(True)
    with transaction.atomic():
        with transaction.atomic():
            DjangoCheckpointer().save(a_checkpoint(step=2))
            transaction.set_rollback(True)
        DjangoCheckpointer().save(a_checkpoint(step=3))
    assert receiver.told == [told(3)]


def test_what_is_refused_is_not_told(receiver: Receiver) -> None:
    checkpointer = DjangoCheckpointer()
    with pytest.raises(ConcurrencyConflict):
        checkpointer.save_with_concurrency_check(a_checkpoint(step=5), 4)
    with pytest.raises(SerializationError):
        checkpointer.save(a_checkpoint(state=VersionedState.new(extra={"a": {1}})))
    assert receiver.told == []


def test_only_saves_are_told(receiver: Receiver) -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.save(a_checkpoint())
    receiver.told.clear()
    checkpointer.fork_session("session", "fork")
    checkpointer.load_latest("fork")
    checkpointer.delete_session("fork")
    assert receiver.told == []


def test_a_receiver_of_a_class_hears_its_saves_alone(committed: None) -> None:
    class Special(DjangoCheckpointer):
        pass

    special = Receiver()
    checkpoint_saved.connect(special, sender=Special, weak=False)
    try:
        DjangoCheckpointer().save(a_checkpoint(step=1))
        Special().save(a_checkpoint(step=2))
    finally:
        checkpoint_saved.disconnect(special, sender=Special)
    assert special.told == [(Special, "session", 2, "default")]


@pytest.mark.parametrize("within", [True, False], ids=["in atomic()", "by itself"])
def test_an_error_of_a_receiver_is_logged_and_others_are_told(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, within: bool
) -> None:
    def broken(**told: Any) -> None:
        raise LookupError("the receiver is broken")

    later = Receiver()
    checkpoint_saved.connect(broken, weak=False)
    checkpoint_saved.connect(later, weak=False)
    try:
        with caplog.at_level(logging.ERROR):
            if within:
                with transaction.atomic():
                    DjangoCheckpointer().save(a_checkpoint())
            else:
                DjangoCheckpointer().save(a_checkpoint())
    finally:
        checkpoint_saved.disconnect(broken)
        checkpoint_saved.disconnect(later)
    assert receiver.told == later.told == [told(1)]
    assert "the receiver is broken" in caplog.text
    assert Session.objects.count() == 1


def test_a_receiver_reads_what_was_saved(committed: None) -> None:
    seen = []

    def read(session_id: str, using: str, **more: Any) -> None:
        latest = DjangoCheckpointer(using).load_latest(session_id)
        seen.append(latest and latest.step)

    checkpoint_saved.connect(read, weak=False)
    try:
        with transaction.atomic():
            DjangoCheckpointer().save(a_checkpoint(step=4))
    finally:
        checkpoint_saved.disconnect(read)
    assert seen == [4]


def test_without_receivers_nothing_waits_for_the_commit(committed: None) -> None:
    with transaction.atomic():
        DjangoCheckpointer().save(a_checkpoint())
        assert connection.run_on_commit == []


def test_with_autocommit_off_there_is_no_commit_to_tell_of(receiver: Receiver) -> None:
    connection.set_autocommit(False)
    DjangoCheckpointer().save(a_checkpoint())
    transaction.commit()
    assert connection.run_on_commit == []
    connection.set_autocommit(True)
    assert receiver.told == []
    assert Session.objects.count() == 1


def test_a_test_case_hears_of_it_through_its_callbacks(
    db: Any, django_capture_on_commit_callbacks: Any
) -> None:
    receiver = Receiver()
    checkpoint_saved.connect(receiver, weak=False)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            DjangoCheckpointer().save(a_checkpoint())
    finally:
        checkpoint_saved.disconnect(receiver)
    assert receiver.told == [told(1)]
