"""Labels that several writers set at the same moment."""

from __future__ import annotations

import logging
from contextlib import suppress

from django.db import OperationalError, transaction

from tests.builders import save_history
from tests.service.racing import race
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import InvalidLabel, SessionNotFound
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session

RACERS = 6


def test_no_label_is_lost(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord]
) -> None:
    save_history(checkpointer, "session", [1])
    save_history(checkpointer, "neighbour", [1])

    def set_own(racer: int) -> None:
        for number in range(5):
            session_id = "session" if number % 2 else "neighbour"
            checkpointer.set_labels(session_id, {f"key-{racer}-{number}": str(racer)})

    assert race(RACERS, set_own) == [None] * RACERS
    for session_id, numbers in (("session", (1, 3)), ("neighbour", (0, 2, 4))):
        assert checkpointer.get_labels(session_id) == {
            f"key-{racer}-{number}": str(racer) for racer in range(RACERS) for number in numbers
        }
    assert warnings == []


def test_together_they_set_no_more_than_64(checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "session", [1])
    checkpointer.set_labels("session", {f"key{number}": "" for number in range(62)})
    results = race(RACERS, lambda racer: checkpointer.set_labels("session", {f"own{racer}": ""}))
    assert len([each for each in results if isinstance(each, InvalidLabel)]) == RACERS - 2
    assert len(checkpointer.get_labels("session")) == 64


def test_labels_saves_forks_and_deletes_at_once(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord]
) -> None:
    save_history(checkpointer, "session", [1])

    def act(racer: int) -> None:
        for number in range(8):
            with suppress(SessionNotFound):
                if racer % 3 == 0:
                    checkpointer.set_labels("session", {"key": str(number)}, replace=True)
                elif racer % 3 == 1:
                    checkpointer.save(a_checkpoint(step=number))
                    checkpointer.fork_session("session", f"fork-{racer}-{number}")
                else:
                    checkpointer.delete_session("session")

    assert race(RACERS, act) == [None] * RACERS
    known = Session.objects.values("id")
    assert not Label.objects.exclude(session__in=known).exists()
    assert warnings == []


def test_inside_the_transaction_of_a_caller(checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "session", [1])

    def act(racer: int) -> bool:
        with suppress(OperationalError), transaction.atomic():
            checkpointer.set_labels("session", {f"key{racer}": ""})
            checkpointer.save(a_checkpoint(step=racer + 2))
            return True
        return False

    results = race(RACERS, act)
    assert results == [True] * RACERS
    assert len(checkpointer.get_labels("session")) == RACERS
