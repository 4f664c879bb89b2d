from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.strategies import MAX_STEP, a_checkpoint, node_kinds, within
from weavegraph_checkpoints import (
    InvalidCheckpoint,
    InvalidQuery,
    NodeKind,
    PageInfo,
    StepQuery,
    StepQueryResult,
)

HUGE = pytest.param(10**5000, id="huge")
INTEGERS = ["limit", "offset", "min_step", "max_step"]
NODES = ["ran_node", "skipped_node"]


def test_a_query_asks_for_nothing_by_default() -> None:
    query = StepQuery()
    assert {name: getattr(query, name) for name in [*INTEGERS, *NODES]} == {
        "limit": None,
        "offset": None,
        "min_step": None,
        "max_step": None,
        "ran_node": None,
        "skipped_node": None,
    }


@pytest.mark.parametrize("name", INTEGERS)
@given(value=within(MAX_STEP))
def test_its_integers_reach_from_0_to_2_63(name: str, value: int) -> None:
    assert getattr(StepQuery(**{name: value}), name) == value


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [-1, MAX_STEP + 1, HUGE, True, False, 1.0, "1", []])
def test_integers_outside_their_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidQuery) as refusal:
        StepQuery(**{name: value})
    assert refusal.value.path == name
    assert not isinstance(refusal.value, InvalidCheckpoint)


@pytest.mark.parametrize("name", NODES)
@given(node=node_kinds())
def test_a_node_is_given_as_a_node_or_as_text(name: str, node: NodeKind) -> None:
    assert getattr(StepQuery(**{name: node}), name) == node
    assert getattr(StepQuery(**{name: node.encode()}), name) == node


@pytest.mark.parametrize("name", NODES)
def test_text_is_decoded_as_everywhere(name: str) -> None:
    assert getattr(StepQuery(**{name: "Start"}), name) == NodeKind.START
    assert getattr(StepQuery(**{name: "plan"}), name) == NodeKind.custom("plan")
    assert getattr(StepQuery(**{name: ""}), name) == NodeKind.custom("")


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("node", [1, b"plan", ["plan"], "\0", "\ud800", NodeKind.custom("a\0")])
def test_what_no_node_can_be_is_refused(name: str, node: Any) -> None:
    with pytest.raises(InvalidQuery) as refusal:
        StepQuery(**{name: node})
    assert refusal.value.path == name


@pytest.mark.parametrize(
    ("limit", "page_limit"), [(None, 100), (0, 0), (1, 1), (1000, 1000), (1001, 1000)]
)
def test_a_page_holds_100_by_default_and_at_most_1000(limit: int | None, page_limit: int) -> None:
    assert StepQuery(limit=limit).page_limit == page_limit


def test_queries_and_pages_are_constructed_by_keywords() -> None:
    with pytest.raises(TypeError):
        StepQuery(1)  # type: ignore[misc]
    with pytest.raises(TypeError):
        PageInfo(1, 1, 0, False)  # type: ignore[misc]
    with pytest.raises(TypeError):
        StepQueryResult((), None)  # type: ignore[misc]


def test_a_page_holds_its_records_and_where_it_stands() -> None:
    page_info = PageInfo(total_count=3, page_size=1, offset=1, has_next_page=True)
    page = StepQueryResult(checkpoints=(a_checkpoint(),), page_info=page_info)
    assert page.checkpoints == (a_checkpoint(),)
    assert page.page_info.total_count == 3
    assert page.page_info.page_size == 1
    assert page.page_info.offset == 1
    assert page.page_info.has_next_page


def test_a_page_copies_its_records_into_a_tuple() -> None:
    page_info = PageInfo(total_count=1, page_size=1, offset=0, has_next_page=False)
    checkpoints = [a_checkpoint()]
    page = StepQueryResult(checkpoints=checkpoints, page_info=page_info)
    checkpoints.clear()
    assert page.checkpoints == (a_checkpoint(),)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (StepQuery(), "limit"),
        (PageInfo(total_count=0, page_size=0, offset=0, has_next_page=False), "offset"),
        (
            StepQueryResult(
                checkpoints=(),
                page_info=PageInfo(total_count=0, page_size=0, offset=0, has_next_page=False),
            ),
            "checkpoints",
        ),
    ],
)
def test_queries_and_pages_are_frozen(value: Any, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, None)


def test_queries_compare_by_value() -> None:
    assert StepQuery(limit=1, ran_node="plan") == StepQuery(limit=1, ran_node="Custom:plan")
    assert StepQuery(limit=1) != StepQuery(limit=2)
    assert StepQuery(ran_node="plan") != StepQuery(skipped_node="plan")
