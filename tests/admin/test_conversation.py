from __future__ import annotations

import pytest

from weavegraph_checkpoints import Message
from weavegraph_checkpoints.admin.presenters.conversation import Conversation, build_conversation

MESSAGES = [Message.user(str(number)) for number in range(1, 131)]


def get_numbers(conversation: Conversation) -> list[int]:
    return [item.number for group in conversation.groups for item in group.messages]


def get_groups(conversation: Conversation) -> list[tuple[bool, int, int]]:
    """Return of each group whether it is folded, its count and its number of messages."""
    return [(group.is_folded, group.count, len(group.messages)) for group in conversation.groups]


def test_the_last_fifty_messages_are_shown() -> None:
    conversation = build_conversation(MESSAGES, kinds={129: "added", 130: "added"})
    assert get_numbers(conversation) == list(range(81, 131))
    assert (conversation.earlier, conversation.later) == (80, 0)


@pytest.mark.parametrize(
    ("up_to", "first", "last", "end_of_next_page"),
    [(80, 31, 80, 130), (30, 1, 30, 80), (1, 1, 1, 51), (999, 81, 130, 130)],
)
def test_fifty_messages_up_to_a_number_are_shown(
    up_to: int, first: int, last: int, end_of_next_page: int
) -> None:
    conversation = build_conversation(MESSAGES, kinds={}, up_to=up_to)
    assert get_numbers(conversation) == list(range(first, last + 1))
    assert conversation.end_of_next_page == end_of_next_page
    assert not any(group.is_folded for group in conversation.groups)


@pytest.mark.parametrize("up_to", [0, -5])
def test_a_number_before_the_first_shows_no_messages(up_to: int) -> None:
    conversation = build_conversation(MESSAGES, kinds=None, up_to=up_to)
    assert (conversation.groups, conversation.later) == ([], 130)


@pytest.mark.parametrize(
    ("new", "groups"),
    [
        ([129, 130], [(True, 128, 48), (False, 2, 2)]),
        ([], [(True, 130, 50)]),
        (range(1, 131), [(False, 130, 50)]),
        (range(71, 131), [(False, 130, 50)]),
        ([1], [(True, 130, 50)]),
        ([100, 130], [(True, 99, 19), (False, 1, 1), (True, 29, 29), (False, 1, 1)]),
        (None, [(False, 130, 50)]),
    ],
)
def test_messages_before_the_step_are_folded(
    new: list[int] | None, groups: list[tuple[bool, int, int]]
) -> None:
    kinds = None if new is None else dict.fromkeys(new, "added")
    assert get_groups(build_conversation(MESSAGES, kinds=kinds)) == groups


def test_messages_are_marked_with_what_the_step_did_to_them() -> None:
    conversation = build_conversation(MESSAGES[:4], kinds={2: "changed", 4: "added"})
    kinds = [item.kind for group in conversation.groups for item in group.messages]
    assert kinds == ["", "changed", "", "added"]


def test_the_newest_messages_are_the_first_to_be_shown_in_full() -> None:
    texts = [Message.user("x" * 3_000_000), Message.user("y" * 3_000_000)]
    conversation = build_conversation(texts, kinds=None)
    old, new = (item.text for item in conversation.groups[0].messages)
    assert old.rest is not None
    assert new.rest is not None
    assert (old.rest.omitted > 1_900_000, new.rest.omitted) == (True, 0)


def test_of_a_long_message_that_is_shown_above_only_the_beginning_is_shown_again() -> None:
    text, long_json = "line\n" * 40, f"[{', '.join('0' * 40)}]"
    messages = [Message.user(content) for content in (text, text, long_json, "short", "[0, 1]")]
    conversation = build_conversation(
        messages, kinds=dict.fromkeys(range(2, 6), "added"), above={2, 3, 4, 5}
    )
    items = [item for group in conversation.groups for item in group.messages]
    assert [item.text.rest is not None for item in items] == [True, False, False, False, False]
    assert [item.text.rest_lines for item in items] == [28, 28, 30, 0, 0]
    assert [item.exact is not None for item in items] == [False, False, False, False, True]
