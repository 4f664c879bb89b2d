from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.costs import check_cost
from tests.strategies import a_checkpoint, a_full_checkpoint, an_error_event, checkpoints
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, WeaveError
from weavegraph_checkpoints.admin.presenters.comparison import (
    MAX_ROWS,
    MAX_TEXT_LENGTH,
    compare_checkpoints,
    diff_text,
)


def checkpoint_with(**parts: Any) -> Checkpoint:
    return a_checkpoint(state=VersionedState.new(**parts))


def get_kind_path_and_texts(row: dict[str, Any]) -> tuple[Any, ...]:
    before, after = row["before"], row["after"]
    return row["kind"], row["path"], before and before.text, after and after.text


def compare_messages(before: list[Message], after: list[Message]) -> Any:
    return compare_checkpoints(
        checkpoint_with(messages=before), checkpoint_with(messages=after)
    ).messages.rows


def user_messages(*contents: str) -> list[Message]:
    return [Message.user(content) for content in contents]


@given(checkpoint=checkpoints())
def test_a_checkpoint_equals_itself(checkpoint: Checkpoint) -> None:
    assert compare_checkpoints(checkpoint, replace(checkpoint)).is_empty


@given(before=checkpoints(), after=checkpoints())
def test_any_two_checkpoints_can_be_compared(before: Checkpoint, after: Checkpoint) -> None:
    comparison = compare_checkpoints(before, after)
    assert comparison.messages.hidden == 0
    assert comparison.equal_at_start + comparison.equal_at_end <= len(before.state.messages.items)


def test_appended_messages_are_added() -> None:
    comparison = compare_checkpoints(
        checkpoint_with(messages=user_messages("a", "b")),
        checkpoint_with(messages=user_messages("a", "b", "c", "d")),
    )
    assert [(row["kind"], row["number"]) for row in comparison.messages.rows] == [
        ("added", 3),
        ("added", 4),
    ]
    assert (comparison.equal_at_start, comparison.equal_at_end) == (2, 0)
    assert comparison.messages.counts["added"] == 2


def test_removing_five_hundred_messages_counts_all() -> None:
    messages = user_messages(*[str(number) for number in range(1_000)])
    found = compare_checkpoints(
        checkpoint_with(messages=messages), checkpoint_with(messages=messages[500:])
    ).messages
    assert found.counts == {"removed": 500, "total": 500}
    assert (found.rows[0]["number"], found.hidden) == (1, 500 - MAX_ROWS)


def test_a_changed_message_is_compared_by_words() -> None:
    (change,) = compare_messages(user_messages("the quick fox"), user_messages("the slow fox"))
    assert change["kind"] == "changed"
    assert [(run.kind, run.text) for run in change["runs"]] == [
        ("equal", "the "),
        ("removed", "quick"),
        ("added", "slow"),
        ("equal", " fox"),
    ]


def test_a_changed_role_is_a_change() -> None:
    (change,) = compare_messages([Message.user("hi")], [Message.tool("hi")])
    assert (change["role"], change["old_role"]) == ("tool", "user")
    assert [run.kind for run in change["runs"]] == ["equal"]


def test_long_texts_are_compared_by_lines() -> None:
    line = "word " * 100 + "\n"
    runs = list(diff_text(line * 5, line * 4 + "other " * 100 + "\n"))
    assert [run.kind for run in runs] == ["equal", "removed", "added"]
    assert runs[1].text == line


@pytest.mark.parametrize(
    ("before", "after"),
    [("word " * 2_000, "word " * 2_000 + "x"), ("a\n" * 50_000, "b\n" + "a\n" * 49_000)],
)
def test_repeated_text_is_compared_quickly(before: str, after: str) -> None:
    runs = check_cost(lambda: list(diff_text(before, after)), max_seconds=1)
    assert all(len(run.text) <= MAX_TEXT_LENGTH for run in runs)
    assert any(run.omitted for run in runs)


def test_repeated_messages_are_compared_quickly() -> None:
    before, after = (
        user_messages(*["ok"] * 5_000, "a"),
        user_messages("b", *["ok"] * 4_000, "c"),
    )
    assert check_cost(lambda: compare_messages(before, after), max_seconds=1)


@given(before=st.text("ab \n", max_size=80), after=st.text("ab \n", max_size=80))
def test_runs_contain_both_texts(before: str, after: str) -> None:
    runs = list(diff_text(before, after))
    assert "".join(run.text for run in runs if run.kind != "added") == before
    assert "".join(run.text for run in runs if run.kind != "removed") == after


def test_extras_have_a_path_and_both_values() -> None:
    comparison = compare_checkpoints(
        checkpoint_with(extra={"a": {"b c": 1}, "gone": None, "same": [1]}),
        checkpoint_with(extra={"a": {"b c": 1.0}, "new": "x", "same": [1]}),
    )
    assert [get_kind_path_and_texts(row) for row in comparison.extras.rows] == [
        ("changed", 'a["b c"]', "1", "1.0"),
        ("removed", "gone", "null", None),
        ("added", "new", None, '"x"'),
    ]


def test_items_added_to_a_list_are_one_change() -> None:
    short, long = checkpoint_with(extra={"a": [1, 4]}), checkpoint_with(extra={"a": [1, 2, 3, 4]})
    (row,) = compare_checkpoints(short, long).extras.rows
    assert get_kind_path_and_texts(row) == ("added", "a[1…]", None, "[2, 3]")
    (row,) = compare_checkpoints(long, short).extras.rows
    assert get_kind_path_and_texts(row) == ("removed", "a[1…]", "[2, 3]", None)


def test_rows_after_the_first_200_are_counted() -> None:
    comparison = compare_checkpoints(
        checkpoint_with(extra={}),
        checkpoint_with(extra={str(number): number for number in range(250)}),
    )
    assert (len(comparison.extras.rows), comparison.extras.hidden) == (MAX_ROWS, 50)


def test_a_long_value_is_truncated() -> None:
    comparison = compare_checkpoints(
        checkpoint_with(extra={"a": ""}), checkpoint_with(extra={"a": "x" * 5_000})
    )
    (row,) = comparison.extras.rows
    after = row["after"]
    assert (len(after.text), after.omitted) == (MAX_TEXT_LENGTH, 5_002 - MAX_TEXT_LENGTH)


def test_errors_are_added_and_removed() -> None:
    known, new = an_error_event(), an_error_event(error=WeaveError(message="new"))
    comparison = compare_checkpoints(
        checkpoint_with(errors=[known]), checkpoint_with(errors=[known, new])
    )
    assert [(row["kind"], row["message"]) for row in comparison.errors.rows] == [("added", "new")]
    comparison = compare_checkpoints(
        checkpoint_with(errors=[known, new]), checkpoint_with(errors=[known])
    )
    assert [(row["kind"], row["message"]) for row in comparison.errors.rows] == [("removed", "new")]


def test_frontier_and_versions_are_compared() -> None:
    before = a_full_checkpoint()
    after = replace(
        before,
        frontier=("plan", "act"),
        versions_seen={"p q": {"z": 1}},
        state=VersionedState.new(),
    )
    comparison = compare_checkpoints(before, after)
    (frontier,) = comparison.lists
    assert frontier == {
        "label": "Next nodes",
        "removed": ["Start", "End"],
        "added": ["act"],
        "kept": ["plan"],
        "hidden": 0,
    }
    paths = {row["path"] for row in comparison.versions.rows}
    assert {"version.messages", 'versions_seen["p q"].z', 'versions_seen["p q"].extra'} <= paths
