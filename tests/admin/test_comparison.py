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
    MAX_TEXT,
    compare,
    message_changes,
    text_diff,
)


def with_state(**parts: Any) -> Checkpoint:
    return a_checkpoint(state=VersionedState.new(**parts))


def users(*contents: str) -> list[Message]:
    return [Message.user(content) for content in contents]


@given(checkpoint=checkpoints())
def test_a_checkpoint_beside_itself_is_the_same(checkpoint: Checkpoint) -> None:
    assert compare(checkpoint, replace(checkpoint)).is_empty


@given(before=checkpoints(), after=checkpoints())
def test_any_two_can_be_compared(before: Checkpoint, after: Checkpoint) -> None:
    comparison = compare(before, after)
    assert comparison.messages.more == 0
    assert comparison.kept_at_start + comparison.kept_at_end <= len(before.state.messages.items)


def test_messages_that_came_are_new_after_a_common_beginning() -> None:
    comparison = compare(
        with_state(messages=users("a", "b")), with_state(messages=users("a", "b", "c", "d"))
    )
    assert [(row.kind, row.number) for row in comparison.messages.rows] == [("new", 3), ("new", 4)]
    assert (comparison.kept_at_start, comparison.kept_at_end) == (2, 0)
    assert comparison.count("messages", "new") == 2


def test_dropping_five_hundred_messages_is_quick_and_tells_which() -> None:
    messages = users(*[str(number) for number in range(1_000)])
    found = list(message_changes(messages, messages[500:]))
    assert len(found) == 500
    assert {change.kind for change in found} == {"gone"}
    assert found[0].number == 1


def test_a_replaced_message_shows_its_words() -> None:
    (change,) = message_changes(users("the quick fox"), users("the slow fox"))
    assert change.kind == "other"
    assert [(piece.kind, piece.text) for piece in change.pieces] == [
        ("same", "the "),
        ("gone", "quick"),
        ("new", "slow"),
        ("same", " fox"),
    ]


def test_a_change_of_role_alone_is_a_change() -> None:
    (change,) = message_changes([Message.user("hi")], [Message.tool("hi")])
    assert (change.role, change.old_role) == ("tool", "user")
    assert [piece.kind for piece in change.pieces] == ["same"]


def test_beyond_four_hundred_words_lines_are_compared() -> None:
    line = "word " * 100 + "\n"
    pieces = list(text_diff(line * 5, line * 4 + "other " * 100 + "\n"))
    assert [piece.kind for piece in pieces] == ["same", "gone", "new"]
    assert pieces[1].text == line


@pytest.mark.parametrize(
    ("before", "after"),
    [("word " * 2_000, "word " * 2_000 + "x"), ("a\n" * 50_000, "b\n" + "a\n" * 49_000)],
)
def test_repeated_text_is_compared_quickly(before: str, after: str) -> None:
    began = time.monotonic()
    pieces = list(text_diff(before, after))
    assert time.monotonic() - began < 2
    assert all(len(piece.text) <= MAX_TEXT for piece in pieces)
    assert any(piece.cut for piece in pieces)


def test_repeated_messages_are_compared_quickly() -> None:
    began = time.monotonic()
    before, after = users(*["ok"] * 5_000, "a"), users("b", *["ok"] * 4_000, "c")
    assert list(message_changes(before, after))
    assert time.monotonic() - began < 2


@given(before=st.text("ab \n", max_size=80), after=st.text("ab \n", max_size=80))
def test_the_pieces_of_a_text_make_up_both_texts(before: str, after: str) -> None:
    pieces = list(text_diff(before, after))
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == after


def test_extras_have_a_path_and_both_values() -> None:
    comparison = compare(
        with_state(extra={"a": {"b c": 1}, "gone": None, "same": [1]}),
        with_state(extra={"a": {"b c": 1.0}, "new": "x", "same": [1]}),
    )
    rows = [
        (row.kind, row.path, row.before and row.before.text, row.after and row.after.text)
        for row in comparison.extras.rows
    ]
    assert rows == [
        ("other", 'a["b c"]', "1", "1.0"),
        ("gone", "gone", "null", None),
        ("new", "new", None, '"x"'),
    ]


def test_items_of_a_list_come_and_go() -> None:
    short, long = with_state(extra={"a": [1, 4]}), with_state(extra={"a": [1, 2, 3, 4]})
    (came,), (went,) = compare(short, long).extras.rows, compare(long, short).extras.rows
    assert (came.kind, came.path, came.before, came.after.text) == ("new", "a[1…]", None, "[2, 3]")
    assert (went.kind, went.path, went.before.text, went.after) == ("gone", "a[1…]", "[2, 3]", None)


def test_beyond_two_hundred_rows_the_rest_is_counted() -> None:
    comparison = compare(
        with_state(extra={}), with_state(extra={str(number): number for number in range(250)})
    )
    assert (len(comparison.extras.rows), comparison.extras.more) == (MAX_ROWS, 50)


def test_a_long_value_is_cut() -> None:
    comparison = compare(with_state(extra={"a": ""}), with_state(extra={"a": "x" * 5_000}))
    (row,) = comparison.extras.rows
    assert (len(row.after.text), row.after.cut) == (MAX_TEXT, 5_002 - MAX_TEXT)


def test_errors_that_came_are_told() -> None:
    known, new = an_error_event(), an_error_event(error=WeaveError(message="new"))
    comparison = compare(with_state(errors=[known]), with_state(errors=[known, new]))
    assert [(row.kind, row.event) for row in comparison.errors.rows] == [("new", new)]
    comparison = compare(with_state(errors=[known, new]), with_state(errors=[known]))
    assert [(row.kind, row.event) for row in comparison.errors.rows] == [("gone", new)]


def test_frontier_and_versions_are_told() -> None:
    before = a_full_checkpoint()
    after = replace(
        before,
        frontier=("plan", "act"),
        versions_seen={"p q": {"z": 1}},
        state=VersionedState.new(),
    )
    comparison = compare(before, after)
    (frontier,) = comparison.nodes
    assert (frontier.name, frontier.gone, frontier.new, frontier.kept) == (
        "frontier",
        ("Start", "End"),
        ("Custom:act",),
        ("Custom:plan",),
    )
    paths = {row.path for row in comparison.control.rows}
    assert {"version.messages", 'versions_seen["p q"].z', 'versions_seen["p q"].extra'} <= paths
