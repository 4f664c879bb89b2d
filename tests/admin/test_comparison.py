from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import a_checkpoint, a_full_checkpoint, an_error_event, checkpoints
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, WeaveError
from weavegraph_checkpoints.admin.presenters.comparison import (
    MAX_ROWS,
    MAX_TEXT_LENGTH,
    compare_checkpoints,
    diff_text,
)


def with_state(**parts: Any) -> Checkpoint:
    return a_checkpoint(state=VersionedState.new(**parts))


def message_changes(before: list[Message], after: list[Message]) -> Any:
    return compare_checkpoints(
        with_state(messages=before), with_state(messages=after)
    ).messages.rows


def users(*contents: str) -> list[Message]:
    return [Message.user(content) for content in contents]


@given(checkpoint=checkpoints())
def test_a_checkpoint_beside_itself_is_the_same(checkpoint: Checkpoint) -> None:
    assert compare_checkpoints(checkpoint, replace(checkpoint)).is_empty


@given(before=checkpoints(), after=checkpoints())
def test_any_two_can_be_compared(before: Checkpoint, after: Checkpoint) -> None:
    comparison = compare_checkpoints(before, after)
    assert comparison.messages.hidden == 0
    assert comparison.equal_at_start + comparison.equal_at_end <= len(before.state.messages.items)


def test_messages_that_came_are_new_after_a_common_beginning() -> None:
    comparison = compare_checkpoints(
        with_state(messages=users("a", "b")), with_state(messages=users("a", "b", "c", "d"))
    )
    assert [(row.kind, row.number) for row in comparison.messages.rows] == [
        ("added", 3),
        ("added", 4),
    ]
    assert (comparison.equal_at_start, comparison.equal_at_end) == (2, 0)
    assert comparison.messages.counts["added"] == 2


def test_dropping_five_hundred_messages_is_quick_and_tells_which() -> None:
    messages = users(*[str(number) for number in range(1_000)])
    found = compare_checkpoints(
        with_state(messages=messages), with_state(messages=messages[500:])
    ).messages
    assert found.counts == {"removed": 500, "total": 500}
    assert (found.rows[0].number, found.hidden) == (1, 500 - MAX_ROWS)


def test_a_replaced_message_shows_its_words() -> None:
    (change,) = message_changes(users("the quick fox"), users("the slow fox"))
    assert change.kind == "changed"
    assert [(run.kind, run.text) for run in change.runs] == [
        ("equal", "the "),
        ("removed", "quick"),
        ("added", "slow"),
        ("equal", " fox"),
    ]


def test_a_change_of_role_alone_is_a_change() -> None:
    (change,) = message_changes([Message.user("hi")], [Message.tool("hi")])
    assert (change.role, change.old_role) == ("tool", "user")
    assert [run.kind for run in change.runs] == ["equal"]


def test_beyond_four_hundred_words_lines_are_compared() -> None:
    line = "word " * 100 + "\n"
    runs = list(diff_text(line * 5, line * 4 + "other " * 100 + "\n"))
    assert [run.kind for run in runs] == ["equal", "removed", "added"]
    assert runs[1].text == line


@pytest.mark.parametrize(
    ("before", "after"),
    [("word " * 2_000, "word " * 2_000 + "x"), ("a\n" * 50_000, "b\n" + "a\n" * 49_000)],
)
def test_repeated_text_is_compared_quickly(before: str, after: str) -> None:
    began = time.monotonic()
    runs = list(diff_text(before, after))
    assert time.monotonic() - began < 2
    assert all(len(run.text) <= MAX_TEXT_LENGTH for run in runs)
    assert any(run.omitted for run in runs)


def test_repeated_messages_are_compared_quickly() -> None:
    began = time.monotonic()
    before, after = users(*["ok"] * 5_000, "a"), users("b", *["ok"] * 4_000, "c")
    assert message_changes(before, after)
    assert time.monotonic() - began < 2


@given(before=st.text("ab \n", max_size=80), after=st.text("ab \n", max_size=80))
def test_the_runs_of_a_text_make_up_both_texts(before: str, after: str) -> None:
    runs = list(diff_text(before, after))
    assert "".join(run.text for run in runs if run.kind != "added") == before
    assert "".join(run.text for run in runs if run.kind != "removed") == after


def test_extras_have_a_path_and_both_values() -> None:
    comparison = compare_checkpoints(
        with_state(extra={"a": {"b c": 1}, "gone": None, "same": [1]}),
        with_state(extra={"a": {"b c": 1.0}, "new": "x", "same": [1]}),
    )
    rows = [
        (row.kind, row.path, row.before and row.before.text, row.after and row.after.text)
        for row in comparison.extras.rows
    ]
    assert rows == [
        ("changed", 'a["b c"]', "1", "1.0"),
        ("removed", "gone", "null", None),
        ("added", "new", None, '"x"'),
    ]


def test_items_of_a_list_come_and_go() -> None:
    short, long = with_state(extra={"a": [1, 4]}), with_state(extra={"a": [1, 2, 3, 4]})
    (came,), (went,) = (
        compare_checkpoints(short, long).extras.rows,
        compare_checkpoints(long, short).extras.rows,
    )
    assert (came.kind, came.path, came.before, came.after.text) == (
        "added",
        "a[1…]",
        None,
        "[2, 3]",
    )
    assert (went.kind, went.path, went.before.text, went.after) == (
        "removed",
        "a[1…]",
        "[2, 3]",
        None,
    )


def test_beyond_two_hundred_rows_the_rest_is_counted() -> None:
    comparison = compare_checkpoints(
        with_state(extra={}), with_state(extra={str(number): number for number in range(250)})
    )
    assert (len(comparison.extras.rows), comparison.extras.hidden) == (MAX_ROWS, 50)


def test_a_long_value_is_cut() -> None:
    comparison = compare_checkpoints(
        with_state(extra={"a": ""}), with_state(extra={"a": "x" * 5_000})
    )
    (row,) = comparison.extras.rows
    assert (len(row.after.text), row.after.omitted) == (MAX_TEXT_LENGTH, 5_002 - MAX_TEXT_LENGTH)


def test_errors_that_came_are_told() -> None:
    known, new = an_error_event(), an_error_event(error=WeaveError(message="new"))
    comparison = compare_checkpoints(with_state(errors=[known]), with_state(errors=[known, new]))
    assert [(row.kind, row.message) for row in comparison.errors.rows] == [("added", "new")]
    comparison = compare_checkpoints(with_state(errors=[known, new]), with_state(errors=[known]))
    assert [(row.kind, row.message) for row in comparison.errors.rows] == [("removed", "new")]


def test_frontier_and_versions_are_told() -> None:
    before = a_full_checkpoint()
    after = replace(
        before,
        frontier=("plan", "act"),
        versions_seen={"p q": {"z": 1}},
        state=VersionedState.new(),
    )
    comparison = compare_checkpoints(before, after)
    (frontier,) = comparison.lists
    assert (frontier.label, frontier.removed, frontier.added, frontier.kept) == (
        "Next nodes",
        ("Start", "End"),
        ("act",),
        ("plan",),
    )
    paths = {row.path for row in comparison.versions.rows}
    assert {"version.messages", 'versions_seen["p q"].z', 'versions_seen["p q"].extra'} <= paths
