"""A page of steps is limited in bytes, and reads only the columns that are asked for."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from tests.service.statements import captured
from tests.strategies import a_checkpoint
from tests.worst_states import worst_columns
from weavegraph_checkpoints import (
    Checkpoint,
    InvalidQuery,
    PageInfo,
    StepQuery,
    VersionedState,
)
from weavegraph_checkpoints.backends import history
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.limits import MAX_PAGE_BYTES
from weavegraph_checkpoints.models import Step

pytestmark = pytest.mark.django_db

COLUMNS = ("state", "frontier", "versions_seen", "ran_nodes", "skipped_nodes", "updated_channels")


@pytest.fixture
def checkpointer() -> DjangoCheckpointer:
    return DjangoCheckpointer()


def save(checkpointer: DjangoCheckpointer, *sizes: int, **fields: Any) -> None:
    """Save a step for each size of the text in its state."""
    for step, size in enumerate(sizes):
        state = VersionedState.new_with_user_message("é" * (size // 2))
        checkpointer.save(a_checkpoint("s", step, state=state, **fields))


def read_all(
    checkpointer: DjangoCheckpointer, *, max_bytes: int | None = None, **query: Any
) -> list[list[int]]:
    """Return the step numbers on each page, by ``max_step``."""
    pages, highest = [], None
    while True:
        limits = {} if max_bytes is None else {"max_bytes": max_bytes}
        page = checkpointer.query_steps("s", StepQuery(max_step=highest, **query), **limits)
        pages.append([each.step for each in page.checkpoints])
        if not page.page_info.has_next_page:
            return pages
        highest = pages[-1][-1] - 1


def test_twelve_large_steps_take_three_pages(checkpointer: DjangoCheckpointer) -> None:
    save(checkpointer, *[6_900_000] * 12)
    first = checkpointer.query_steps("s")
    assert [each.step for each in first.checkpoints] == [11, 10, 9, 8]
    assert first.page_info == PageInfo(total_count=12, page_size=4, offset=0, has_next_page=True)
    second = checkpointer.query_steps("s", StepQuery(offset=4))
    assert [each.step for each in second.checkpoints] == [7, 6, 5, 4]
    assert second.page_info.has_next_page
    last = checkpointer.query_steps("s", StepQuery(offset=8))
    assert last.page_info == PageInfo(total_count=12, page_size=4, offset=8, has_next_page=False)
    assert read_all(checkpointer) == [[11, 10, 9, 8], [7, 6, 5, 4], [3, 2, 1, 0]]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    query_steps = inspect.unwrap(DjangoCheckpointer.query_steps)
    monkeypatch.setitem(query_steps.__kwdefaults__, "max_bytes", 10_000)
    monkeypatch.setattr(history, "MAX_PAGE_COLUMN_BYTES", 10_000)


@pytest.mark.usefixtures("small_pages")
class TestPages:
    @pytest.mark.parametrize(
        ("sizes", "pages"),
        [
            ([100], [[0]]),
            ([20_000], [[0]]),
            ([20_000] * 3, [[2], [1], [0]]),
            ([100, 20_000, 100], [[2], [1], [0]]),
            ([100, 100, 20_000], [[2], [1, 0]]),
            ([20_000, 100, 100], [[2, 1], [0]]),
            ([4_000] * 5, [[4, 3], [2, 1], [0]]),
            ([100] * 5, [[4, 3, 2, 1, 0]]),
        ],
    )
    def test_a_page_ends_before_the_step_that_is_too_much(
        self, checkpointer: DjangoCheckpointer, sizes: list[int], pages: list[list[int]]
    ) -> None:
        save(checkpointer, *sizes)
        assert read_all(checkpointer) == pages

    def test_the_limit_is_reached_exactly(self, checkpointer: DjangoCheckpointer) -> None:
        save(checkpointer, 3_000, 3_000, 3_000, 3_000)
        size = Step.objects.get(step=0).state_bytes
        for spare, pages in ((0, [[3, 2], [1, 0]]), (1, [[3], [2], [1], [0]])):
            assert read_all(checkpointer, max_bytes=2 * size - spare) == pages

    @pytest.mark.parametrize(
        ("query", "pages"),
        [
            ({"limit": 1}, [[4], [3], [2], [1], [0]]),
            ({"limit": 3}, [[4, 3], [2, 1], [0]]),
            ({"min_step": 2}, [[4, 3], [2]]),
            ({"ran_node": "plan"}, [[4, 3], [2, 1], [0]]),
            ({"skipped_node": "plan"}, [[]]),
        ],
    )
    def test_with_other_parameters(
        self, checkpointer: DjangoCheckpointer, query: dict[str, Any], pages: list[list[int]]
    ) -> None:
        save(checkpointer, *[4_000] * 5, ran_nodes=["plan"])
        assert read_all(checkpointer, **query) == pages

    def test_of_an_owner(self) -> None:
        checkpointer = DjangoCheckpointer(owner="ann")
        save(checkpointer, *[4_000] * 5)
        assert read_all(checkpointer) == [[4, 3], [2, 1], [0]]

    def test_with_an_offset(self, checkpointer: DjangoCheckpointer) -> None:
        save(checkpointer, *[4_000] * 5)
        for offset, steps in enumerate(([4, 3], [3, 2], [2, 1], [1, 0], [0], [], [])):
            page = checkpointer.query_steps("s", StepQuery(offset=offset))
            assert [each.step for each in page.checkpoints] == steps
            assert page.page_info.page_size == len(steps)
            assert page.page_info.has_next_page == (offset + len(steps) < 5)

    @pytest.mark.usefixtures("whole_states")
    def test_rows_without_a_stored_size_are_measured(
        self, checkpointer: DjangoCheckpointer
    ) -> None:
        save(checkpointer, *[4_000] * 5)
        Step.objects.update(state_bytes=None)
        assert read_all(checkpointer) == [[4, 3], [2, 1], [0]]

    def test_the_other_columns_count_too(self, checkpointer: DjangoCheckpointer) -> None:
        save(checkpointer, 100, 100, 100, frontier=[f"n{number}" * 60 for number in range(75)])
        Step.objects.update(updated_channels=None)
        assert read_all(checkpointer) == [[2], [1], [0]]

    def test_what_is_not_read_does_not_count(self, checkpointer: DjangoCheckpointer) -> None:
        nodes = [f"n{number}" * 60 for number in range(75)]
        save(checkpointer, *[20_000] * 5, frontier=nodes)
        page = checkpointer.query_steps("s", fields=["step", "ran_nodes"])
        assert page.page_info.page_size == 5

    def test_a_corrupt_row_after_the_page_is_not_decoded(
        self, checkpointer: DjangoCheckpointer
    ) -> None:
        save(checkpointer, *[4_000] * 3)
        Step.objects.filter(step=0).update(frontier={"not": "a list"})
        assert checkpointer.query_steps("s").page_info.page_size == 2


def test_a_page_of_the_largest_columns(checkpointer: DjangoCheckpointer) -> None:
    checkpoints = [a_checkpoint("s", step, **worst_columns(step)) for step in range(3)]
    for checkpoint in checkpoints:
        checkpointer.save(checkpoint)
    assert checkpointer.query_steps("s").checkpoints == tuple(checkpoints[::-1])


@pytest.mark.parametrize("name", COLUMNS)
def test_each_field_alone(checkpointer: DjangoCheckpointer, name: str) -> None:
    """Every other column is unreadable, so reading it would fail."""
    whole = a_checkpoint("s", 1, **{"ran_nodes": ["a"], "skipped_nodes": ["b"]})
    whole_channels = a_checkpoint("s", 1, updated_channels=["messages"])
    checkpoint = whole_channels if name == "updated_channels" else whole
    checkpointer.save(checkpoint)
    others = {other: 5 for other in COLUMNS if other != name}
    Step.objects.update(**others)
    (found,) = checkpointer.query_steps("s", fields=["step", name]).checkpoints
    assert getattr(found, name) == getattr(checkpoint, name)
    for other in others:
        empty = VersionedState() if other == "state" else type(getattr(checkpoint, other))()
        assert getattr(found, other) == empty
    assert found.created_at == checkpoint.created_at


def test_without_columns_none_is_named(checkpointer: DjangoCheckpointer) -> None:
    save(checkpointer, 100)
    with captured() as found:
        page = checkpointer.query_steps("s", fields=["step"])
    assert page.page_info.page_size == 1
    for sql in found.statements:
        assert not any(re.search(rf"\b{name}\b", sql) for name in COLUMNS)


@pytest.mark.parametrize("name", ["stat", "url", "id", "", 1])
def test_an_unknown_field_is_refused(checkpointer: DjangoCheckpointer, name: Any) -> None:
    with pytest.raises(InvalidQuery) as refused:
        checkpointer.query_steps("s", fields=["step", name])
    assert refused.value.path == "fields"


@pytest.mark.parametrize("max_bytes", [-1, 2**63, 1.5, "1000", None, True])
def test_an_invalid_size_is_refused(checkpointer: DjangoCheckpointer, max_bytes: Any) -> None:
    with pytest.raises(InvalidQuery) as refused:
        checkpointer.query_steps("s", max_bytes=max_bytes)
    assert refused.value.path == "max_bytes"


def test_a_page_of_no_bytes_has_one_step(checkpointer: DjangoCheckpointer) -> None:
    save(checkpointer, 100, 100)
    assert read_all(checkpointer, max_bytes=0) == [[1], [0]]


@pytest.mark.parametrize("name", list(Checkpoint.__dataclass_fields__))
def test_every_field_of_a_checkpoint_is_known(checkpointer: DjangoCheckpointer, name: str) -> None:
    assert checkpointer.query_steps("s", fields=[name]).checkpoints == ()


def test_the_budget_is_32_mebibytes() -> None:
    assert MAX_PAGE_BYTES == 33_554_432
