"""``load`` and ``query_steps``: the whole record of each step, newest first."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from tests.assertions import assert_same
from tests.builders import save_history
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import PageInfo, StepQuery, StepQueryResult, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

EMPTY_PAGE = StepQueryResult(
    checkpoints=(),
    page_info=PageInfo(total_count=0, page_size=0, offset=0, has_next_page=False),
)


def steps_of(result: StepQueryResult) -> list[int]:
    return [checkpoint.step for checkpoint in result.checkpoints]


def test_a_step_is_loaded_whole(django: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint()
    django.save(saved)
    assert_same(django.load("session", saved.step), saved)


def test_a_page_holds_whole_records(django: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint()
    django.save(saved)
    assert_same(django.query_steps("session").checkpoints, (saved,))


def test_a_step_that_is_not_there_is_none(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1, 3])
    assert django.load("session", 2) is None
    assert django.load("session", 0) is None
    assert django.load("other", 1) is None


def test_every_step_has_the_limit_of_the_session(django: DjangoCheckpointer) -> None:
    django.save(a_checkpoint(step=1, concurrency_limit=7))
    django.save(a_checkpoint(step=2, concurrency_limit=9))
    loaded = django.load("session", 2)
    assert loaded is not None
    assert loaded.concurrency_limit == 7
    page = django.query_steps("session").checkpoints
    assert [checkpoint.concurrency_limit for checkpoint in page] == [7, 7]


def test_a_step_saved_twice_is_there_once(django: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint()
    django.save(saved)
    django.save(saved)
    assert_same(django.query_steps("session").checkpoints, (saved,))
    assert Step.objects.count() == 1


def test_a_step_is_replaced_whole(django: DjangoCheckpointer) -> None:
    first = a_full_checkpoint()
    django.save(first)
    second = a_checkpoint(
        state=VersionedState.new(extra={"new": True}),
        frontier=[],
        versions_seen={},
        created_at=first.created_at + timedelta(days=1),
        concurrency_limit=first.concurrency_limit,
    )
    django.save(second)
    assert_same(django.load("session", first.step), second)
    row = Step.objects.get()
    assert (row.message_count, row.error_count) == (0, 0)
    session = Session.objects.get()
    assert (session.status, session.last_message_count) == ("finished", 0)


def test_the_counts_and_the_size_are_stored_with_the_step(django: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint()
    django.save(saved)
    row = Step.objects.get()
    assert (row.message_count, row.error_count) == (
        len(saved.state.messages.items),
        len(saved.state.errors.items),
    )
    session = Session.objects.get()
    assert row.state_bytes == session.last_state_bytes
    assert row.state_bytes is not None
    assert row.state_bytes > 100


@pytest.mark.parametrize(
    "created_at",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    ids=str,
)
def test_the_time_of_a_step_is_kept_to_the_microsecond(
    django: DjangoCheckpointer, created_at: datetime
) -> None:
    saved = a_checkpoint(created_at=created_at)
    django.save(saved)
    assert_same(django.load("session", 1), saved)


def test_an_unknown_session_is_an_empty_page(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    assert django.query_steps("other") == EMPTY_PAGE
    assert django.query_steps("other", StepQuery(ran_node="odd", limit=5)) == EMPTY_PAGE
    Session.objects.create(id="empty")
    assert django.query_steps("empty") == EMPTY_PAGE


def test_an_unknown_session_tells_the_offset_that_was_asked_for(
    django: DjangoCheckpointer,
) -> None:
    info = django.query_steps("other", StepQuery(offset=7)).page_info
    assert info == dataclasses.replace(EMPTY_PAGE.page_info, offset=7)


def test_steps_come_newest_first_in_whatever_order_they_were_saved(
    django: DjangoCheckpointer,
) -> None:
    save_history(django, "session", [5, 1, 9, 0, 2**63 - 1, 10])
    assert steps_of(django.query_steps("session")) == [2**63 - 1, 10, 9, 5, 1, 0]


def test_a_page_holds_the_steps_of_its_session_alone(django: DjangoCheckpointer) -> None:
    for session_id in ("a", "A", "a ", "á"):
        save_history(django, session_id, [1, 2])
    assert {kept.session_id for kept in django.query_steps("a").checkpoints} == {"a"}
    assert django.query_steps("a").page_info.total_count == 2


@pytest.mark.usefixtures("whole_states")
def test_a_page_has_100_steps_by_default_and_1000_at_most(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    row = Step.objects.get()
    Step.objects.bulk_create(
        Step(session_id="session", step=step, frontier=row.frontier, state=row.state)
        for step in range(2, 1102)
    )
    expected = {None: 100, 0: 0, 1: 1, 999: 999, 1000: 1000, 1001: 1000, 2**63 - 1: 1000}
    for limit, size in expected.items():
        page = django.query_steps("session", StepQuery(limit=limit))
        assert page.page_info == PageInfo(
            total_count=1101, page_size=size, offset=0, has_next_page=True
        )
        assert steps_of(page) == list(range(1101, 1101 - size, -1))


def test_pages_follow_one_another_by_offset(django: DjangoCheckpointer) -> None:
    save_history(django, "session", range(7))
    seen: list[int] = []
    more = True
    while more:
        page = django.query_steps("session", StepQuery(limit=3, offset=len(seen)))
        assert page.page_info.total_count == 7
        seen += steps_of(page)
        more = page.page_info.has_next_page
    assert seen == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("offset", [7, 8, 2**31, 2**63 - 1])
def test_beyond_the_last_step_a_page_is_empty(django: DjangoCheckpointer, offset: int) -> None:
    save_history(django, "session", range(7))
    for limit in (None, 0, 1000):
        assert django.query_steps(
            "session", StepQuery(offset=offset, limit=limit)
        ) == StepQueryResult(
            checkpoints=(),
            page_info=PageInfo(total_count=7, page_size=0, offset=offset, has_next_page=False),
        )


def test_the_bounds_of_the_steps_belong_to_the_range(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [0, 1, 2, 3, 2**63 - 1])
    ask = django.query_steps
    assert steps_of(ask("session", StepQuery(min_step=2))) == [2**63 - 1, 3, 2]
    assert steps_of(ask("session", StepQuery(max_step=2))) == [2, 1, 0]
    assert steps_of(ask("session", StepQuery(max_step=0))) == [0]
    assert steps_of(ask("session", StepQuery(min_step=1, max_step=1))) == [1]
    assert steps_of(ask("session", StepQuery(min_step=3, max_step=1))) == []
    assert steps_of(ask("session", StepQuery(min_step=2**63 - 1))) == [2**63 - 1]


def test_a_deep_history_is_read_with_max_step_as_the_cursor(django: DjangoCheckpointer) -> None:
    save_history(django, "session", range(1, 11))
    seen: list[int] = []
    query = StepQuery(limit=4)
    while page := steps_of(django.query_steps("session", query)):
        seen += page
        query = StepQuery(limit=4, max_step=page[-1] - 1)
    assert seen == list(range(10, 0, -1))


def test_a_row_that_someone_else_wrote_needs_no_counts_nor_channels(
    django: DjangoCheckpointer,
) -> None:
    (saved,) = save_history(django, "session", [1])
    Step.objects.update(
        message_count=None, error_count=None, state_bytes=None, updated_channels=None
    )
    expected = dataclasses.replace(saved, updated_channels=())
    assert_same(django.load("session", 1), expected)
