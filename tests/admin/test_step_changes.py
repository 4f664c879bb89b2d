from __future__ import annotations

from typing import Any

import pytest

from tests.strategies import an_error_event
from weavegraph_checkpoints import ErrorEvent, Message, VersionedState, WeaveError
from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.step_changes import StepChanges, build_step_changes


def compare(before: dict[str, Any], after: dict[str, Any]) -> StepChanges:
    states = [VersionedState.new(**fields) for fields in (before, after)]
    return build_step_changes(*states, PageBudget())


def messages(*texts: str) -> dict[str, Any]:
    return {"messages": [Message.user(text) for text in texts]}


def error(message: str, second: int = 0) -> ErrorEvent:
    when = f"2026-01-01T00:00:{second:02}Z"
    return an_error_event(error=WeaveError(message=message), when=when)


@pytest.mark.parametrize(
    ("before", "after", "kinds", "removed"),
    [
        ("", "a", {1: "added"}, 0),
        ("a", "ab", {2: "added"}, 0),
        ("ab", "ab", {}, 0),
        ("abc", "axc", {2: "changed"}, 0),
        ("abc", "abcabc", {4: "added", 5: "added", 6: "added"}, 0),
        ("abc", "bcd", {3: "added"}, 1),
        ("abcdef", "sf", {1: "changed"}, 4),
        ("abc", "", {}, 3),
        ("ab", "ba", {1: "added"}, 1),
    ],
)
def test_changed_messages_have_their_number(
    before: str, after: str, kinds: dict[int, str], removed: int
) -> None:
    changes = compare(messages(*before), messages(*after))
    assert (changes.kinds, changes.removed_messages) == (kinds, removed)
    assert [(item.number, item.kind) for item in changes.messages] == list(kinds.items())
    assert [item.text.beginning.text for item in changes.messages] == [
        after[number - 1] for number in kinds
    ]
    assert changes.is_empty == (before == after)


def test_the_newest_fifty_messages_are_shown() -> None:
    changes = compare({}, messages(*map(str, range(120))))
    assert (changes.added_messages, changes.hidden_messages) == (120, 70)
    assert [item.number for item in changes.messages] == list(range(71, 121))


def test_messages_of_the_step_are_shown_in_full_up_to_eight_kilobytes() -> None:
    prompt = "\n".join(f"{number:78}" for number in range(100))
    short, long = compare({}, messages(prompt, prompt * 2)).messages
    assert (short.text.rest, short.bytes) == (None, 7_899)
    assert long.text.rest is not None


def test_twenty_changed_extras_are_shown() -> None:
    before = {"extra": {"same": 1, "type": 1, "gone": [1], "deep": {"list": [1, 2]}}}
    after = {"extra": {"same": 1, "type": 1.0, "deep": {"list": [1, 3]}, "added": "x" * 900}}
    rows = {row["path"]: row for row in compare(before, after).extras.rows}
    assert {path: row["kind"] for path, row in rows.items()} == {
        "type": "changed",
        "gone": "removed",
        "deep.list[1…]": "changed",
        "added": "added",
    }
    assert (rows["type"]["before"].text, rows["type"]["after"].text) == ("1", "1.0")
    assert (rows["added"]["before"], rows["added"]["after"].omitted) == (None, 402)
    many = compare({}, {"extra": {f"key {number}": number for number in range(75)}}).extras
    assert (len(many.rows), many.counts["total"], many.hidden) == (20, 75, 55)


@pytest.mark.parametrize(
    ("before", "after", "new", "removed"),
    [
        ([], [], set(), 0),
        ([], ["a"], {0}, 0),
        (["a"], ["a", "a", "b"], {1, 2}, 0),
        (["a", "b", "c"], ["b", "c", "d"], {2}, 1),
        (["a"], [], set(), 1),
    ],
)
def test_new_errors_are_found_also_if_old_ones_are_dropped(
    before: list[str], after: list[str], new: set[int], removed: int
) -> None:
    changes = compare(
        {"errors": [error(text) for text in before]}, {"errors": [error(text) for text in after]}
    )
    assert (set(changes.new_errors), changes.removed_errors) == (new, removed)
    assert changes.is_empty == (before == after)
