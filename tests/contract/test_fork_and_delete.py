"""``fork_session`` and ``delete_session``."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from tests.assertions import assert_same
from tests.builders import everything_stored, save_history, wrong_snapshots
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import SessionExists, SessionNotFound
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Session, Step

CLOCK_STEP = timedelta(milliseconds=2)


def test_a_fork_has_every_step_of_its_source(django: DjangoCheckpointer) -> None:
    history = save_history(django, "source", [0, 1, 2, 5])
    django.fork_session("source", "fork")
    copied = django.query_steps("fork").checkpoints
    assert_same(
        copied,
        tuple(dataclasses.replace(kept, session_id="fork") for kept in reversed(history)),
    )
    source = django.query_steps("source").checkpoints
    assert_same(source, tuple(reversed(history)))


def test_a_fork_returns_its_latest_checkpoint(django: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint(session_id="source")
    django.save(saved)
    fork = django.fork_session("source", "fork")
    assert_same(
        fork,
        dataclasses.replace(
            saved,
            session_id="fork",
            created_at=fork.created_at,
            ran_nodes=(),
            skipped_nodes=(),
            updated_channels=(),
        ),
    )
    assert_same(fork, django.load_latest("fork"))


@pytest.mark.parametrize(
    ("at_step", "copied"),
    [
        (0, [0]),
        (1, [0]),
        (2, [2, 0]),
        (4, [2, 0]),
        (5, [5, 2, 0]),
        (2**63 - 1, [5, 2, 0]),
        (None, [5, 2, 0]),
    ],
)
def test_a_fork_stops_at_a_step(
    django: DjangoCheckpointer, at_step: int | None, copied: list[int]
) -> None:
    save_history(django, "source", [0, 2, 5])
    fork = django.fork_session("source", "fork", at_step=at_step)
    steps = [kept.step for kept in django.query_steps("fork").checkpoints]
    assert (steps, fork.step) == (copied, copied[0])
    row = Session.objects.get(id="fork")
    assert (row.forked_from, row.forked_at_step, row.last_step) == ("source", *copied[:1] * 2)
    assert wrong_snapshots() == []


def test_a_fork_copies_the_highest_step_too(django: DjangoCheckpointer) -> None:
    save_history(django, "source", [2**63 - 1])
    assert django.fork_session("source", "fork").step == 2**63 - 1


def test_a_fork_copies_counts_and_is_made_now(django: DjangoCheckpointer) -> None:
    django.save(a_full_checkpoint(session_id="source"))
    old = datetime(2001, 1, 1, tzinfo=UTC)
    Session.objects.update(created_at=old, updated_at=old)
    before = datetime.now(UTC)
    fork = django.fork_session("source", "fork")
    row, source = Session.objects.get(id="fork"), Session.objects.get(id="source")
    after = datetime.now(UTC) + CLOCK_STEP
    assert (
        before - CLOCK_STEP <= row.created_at <= row.updated_at + CLOCK_STEP <= after + CLOCK_STEP
    )
    assert fork.created_at == row.updated_at
    assert (source.created_at, source.updated_at) == (old, old)
    for column in ("concurrency_limit", "owner", "status", "last_message_count"):
        assert getattr(row, column) == getattr(source, column)
    assert row.concurrency_limit == 7
    original, copy = Step.objects.order_by("session_id").values()[::-1]
    for own in ("id", "session_id", "base_id"):
        del original[own], copy[own]
    assert copy == original


def test_a_fork_goes_on_by_itself(django: DjangoCheckpointer) -> None:
    save_history(django, "source", [1, 2, 3])
    django.fork_session("source", "fork", at_step=2)
    save_history(django, "fork", [3, 4])
    save_history(django, "source", [9])
    assert [kept.step for kept in django.query_steps("fork").checkpoints] == [4, 3, 2, 1]
    again = django.fork_session("fork", "fork of the fork")
    assert again.step == 4
    assert Session.objects.get(id="fork of the fork").forked_from == "fork"


def test_a_fork_outlives_its_source(django: DjangoCheckpointer) -> None:
    save_history(django, "source", [1, 2])
    django.fork_session("source", "fork")
    assert django.delete_session("source")
    assert [kept.step for kept in django.query_steps("fork").checkpoints] == [2, 1]
    assert Session.objects.get().forked_from == "source"


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_target_that_exists_is_left_alone(django: DjangoCheckpointer, steps: int) -> None:
    save_history(django, "source", [7, 8])
    Session.objects.create(id="target")
    save_history(django, "target", range(steps))
    before = everything_stored()
    with pytest.raises(SessionExists) as refused:
        django.fork_session("source", "target")
    assert refused.value.session_id == "target"
    assert everything_stored() == before


def test_a_session_is_not_forked_onto_itself(django: DjangoCheckpointer) -> None:
    save_history(django, "source", [1])
    before = everything_stored()
    with pytest.raises(SessionExists):
        django.fork_session("source", "source")
    assert everything_stored() == before


def test_a_source_without_such_a_step_is_not_found(django: DjangoCheckpointer) -> None:
    Session.objects.create(id="empty")
    save_history(django, "late", [5, 6])
    before = everything_stored()
    for source, at_step in (("unknown", None), ("empty", None), ("late", 4), ("late", 0)):
        with pytest.raises(SessionNotFound) as refused:
            django.fork_session(source, "fork", at_step=at_step)
        assert refused.value.session_id == source
    assert everything_stored() == before


def test_a_deleted_session_is_gone_with_its_history(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1, 2])
    save_history(django, "other", [1])
    assert django.delete_session("session") is True
    assert django.load_latest("session") is None
    assert django.load("session", 1) is None
    assert django.query_steps("session").page_info.total_count == 0
    assert django.list_sessions() == ["other"]
    assert list(Step.objects.values_list("session_id", "step")) == [("other", 1)]


def test_what_is_not_there_is_not_deleted(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    before = everything_stored()
    assert django.delete_session("other") is False
    assert everything_stored() == before


def test_an_empty_session_is_deleted(django: DjangoCheckpointer) -> None:
    Session.objects.create(id="empty")
    assert django.delete_session("empty") is True
    assert django.list_sessions() == []


def test_a_deleted_session_may_be_born_again(django: DjangoCheckpointer) -> None:
    django.save(a_checkpoint(step=9, concurrency_limit=7))
    django.delete_session("session")
    django.save_with_concurrency_check(a_checkpoint(step=1, concurrency_limit=3), 0)
    latest = django.load_latest("session")
    assert latest is not None
    assert (latest.step, latest.concurrency_limit) == (1, 3)


class Interloper:
    """Deletes a session right before a statement is executed."""

    def __init__(self, beginning: str, session_id: str) -> None:
        self.beginning = beginning
        self.session_id = session_id

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(self.beginning):
            for column, model in (("session_id", Step), ("session_id", Keyframe), ("id", Session)):
                table = model._meta.db_table
                statement = f"DELETE FROM {table} WHERE {column} = %s"
                execute(statement, [self.session_id], False, context)
        return execute(sql, params, many, context)


def test_a_fork_that_vanishes_before_it_is_read_is_not_found(django: DjangoCheckpointer) -> None:
    save_history(django, "source", [1, 2])
    vanish = Interloper("SELECT created_at, revision, updated_at, last_step", "fork")
    with connection.execute_wrapper(vanish), pytest.raises(SessionNotFound) as refused:
        django.fork_session("source", "fork")
    assert refused.value.session_id == "fork"
    assert "deleted while it was created" in str(refused.value)
    assert django.list_sessions() == ["source"]
