from __future__ import annotations

import json
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.costs import check_cost
from tests.strategies import json_values, states
from weavegraph_checkpoints import Message, VersionedState
from weavegraph_checkpoints.domain.diff import (
    ABSENT,
    Change,
    DiffBudget,
    count_common_ends,
    diff_json,
)


def pointer(path: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(str(key) for key in path)


def pointers_of_patch(before: Any, after: Any) -> set[tuple[str, ...]]:
    patch = jsonpatch.make_patch(before, after).patch
    paths = [
        operation[name] for operation in patch for name in ("path", "from") if name in operation
    ]
    return {
        tuple(part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
        for path in paths
    }


def is_under(one: tuple[str, ...], others: set[tuple[str, ...]]) -> bool:
    """Say whether one path leads to, or through, another."""
    return any(one[: len(other)] == other[: len(one)] for other in others)


def assert_agreement(before: Any, after: Any) -> None:
    ours = {pointer(change.path) for change in diff_json(before, after)}
    theirs = pointers_of_patch(before, after)
    assert bool(ours) == bool(theirs)
    assert all(is_under(path, theirs) for path in ours), (ours, theirs)
    assert all(is_under(path, ours) for path in theirs), (ours, theirs)


def small_values() -> st.SearchStrategy[Any]:
    """Return documents of few values, so that two of them have much in common."""
    leaves = st.sampled_from([0, 1, 1.0, True, None, "", "1", "a"])
    keys = st.sampled_from(["a", "b", "", "/", "~"])
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


@given(before=small_values(), after=small_values())
def test_it_agrees_with_a_json_patch_of_documents_that_have_much_in_common(
    before: Any, after: Any
) -> None:
    assert_agreement({"root": before}, {"root": after})


@given(before=states(), after=states())
def test_it_agrees_with_a_json_patch_of_states(
    before: VersionedState, after: VersionedState
) -> None:
    old, new = (json.loads(json.dumps(msgspec.to_builtins(state))) for state in (before, after))
    assert_agreement(old, new)


@given(value=json_values(tuples=False))
def test_a_value_and_its_copy_are_the_same(value: Any) -> None:
    assert diff_json(value, json.loads(json.dumps(value))) == []


@pytest.mark.parametrize(
    ("before", "after"), [(1, 1.0), (1, True), (1, "1"), (0.0, -0.0), (None, False), ([], {})]
)
def test_another_type_is_a_change(before: Any, after: Any) -> None:
    assert diff_json({"a": before}, {"a": after}) == [
        Change(path=("a",), before=before, after=after)
    ]


def test_the_order_of_keys_is_no_change() -> None:
    assert diff_json({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}) == []
    assert diff_json([{"x": 1, "y": 2}], [{"y": 2, "x": 1}]) == []


def test_keys_that_come_and_go_are_told_from_null() -> None:
    assert diff_json({"a": None}, {"b": None}) == [
        Change(path=("a",), before=None, after=ABSENT),
        Change(path=("b",), before=ABSENT, after=None),
    ]


def test_dropping_messages_from_the_beginning_is_one_change() -> None:
    messages = [Message.user(str(number)) for number in range(1000)]
    states = (VersionedState.new(messages), VersionedState.new(messages[500:]))
    found = diff_json(*map(msgspec.to_builtins, states))
    assert [
        (change.path, change.at, len(change.before), len(change.after)) for change in found
    ] == [(("messages", "items"), 0, 500, 0)]


def test_items_that_hold_others_and_stay_in_place_tell_what_changed_within() -> None:
    before, after = [{"n": 1}, {"n": 2}], [{"n": 3}, {"n": 2, "m": 0}]
    (change,) = diff_json(before, after)
    assert [part.path for part in change.parts()] == [(0, "n"), (1, "m")]


def test_one_item_replaced_is_a_change_of_its_list() -> None:
    assert diff_json([1, 2, 3], [1, 5, 3]) == [Change(path=(), before=[2], after=[5], at=1)]


def test_items_that_moved_are_one_change_with_what_is_between_the_count_common_ends() -> None:
    assert diff_json([0, 1, 2, 3], [0, 2, 1, 3]) == [
        Change(path=(), before=[1, 2], after=[2, 1], at=1)
    ]


def test_common_ends_never_overlap() -> None:
    assert count_common_ends([1, 1, 1], [1, 1]) == (2, 0)
    assert count_common_ends("abcd", "abxcd") == (2, 2)
    assert count_common_ends([], [1]) == (0, 0)


def test_what_it_read_is_not_changed() -> None:
    before, after = {"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}, 4]}
    diff_json(before, after)
    assert (before, after) == ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}, 4]})


def nest(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            nest({str(n): n for n in range(90_000)}, 80),
            nest({str(n): -n for n in range(90_000)}, 80),
        ),
        ([{"a": n} for n in range(300_000)], [{"a": -n} for n in range(300_000)]),
        ({str(n): {} for n in range(300_000)}, {str(n): [] for n in range(300_000)}),
    ],
    ids=["nested", "items", "keys"],
)
def test_the_budget_bounds_the_work(before: Any, after: Any) -> None:
    def compare() -> tuple[DiffBudget, list[Change]]:
        budget = DiffBudget()
        found = diff_json({"value": before, "z": 1}, {"value": after, "z": 2}, budget=budget)
        return budget, found

    budget, found = check_cost(compare, max_seconds=1.5)
    assert budget.is_exhausted
    assert found[-1] == Change(path=("z",), before=1, after=2)


def test_an_exhausted_budget_reports_changed_values_whole_and_equal_ones_never() -> None:
    before = {"same": {"a": [1.0]}, "list": [1, {"b": 1}], "map": {"c": 1, "d": 2}}
    after = {"same": {"a": [1.0]}, "list": [1, {"b": 2}], "map": {"c": 1, "d": 3}}
    assert [change.path for change in diff_json(before, after, budget=DiffBudget(1))] == [
        ("list",),
        ("map",),
    ]
    assert diff_json(before, before | {}, budget=DiffBudget(0)) == []
