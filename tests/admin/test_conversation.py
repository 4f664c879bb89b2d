from __future__ import annotations

import pytest

from weavegraph_checkpoints import Message
from weavegraph_checkpoints.admin.presenters.conversation import (
    MAX_EXPANDED_BYTES,
    build_conversation,
)

MESSAGES = [Message.user(str(number)) for number in range(1, 131)]


def test_the_last_fifty_messages_are_shown() -> None:
    conversation = build_conversation(MESSAGES, known_before=128)
    assert [message["number"] for message in conversation.messages] == list(range(81, 131))
    assert (conversation.earlier, conversation.later) == (80, 0)
    assert (conversation.first, conversation.messages[-1]["number"]) == (81, 130)


@pytest.mark.parametrize(
    ("up_to", "first", "last", "end_of_next_page"),
    [(80, 31, 80, 130), (30, 1, 30, 80), (1, 1, 1, 51), (999, 81, 130, 130)],
)
def test_fifty_messages_up_to_a_number_are_shown(
    up_to: int, first: int, last: int, end_of_next_page: int
) -> None:
    conversation = build_conversation(MESSAGES, known_before=None, up_to=up_to)
    assert (conversation.first, conversation.messages[-1]["number"]) == (first, last)
    assert conversation.end_of_next_page == end_of_next_page


@pytest.mark.parametrize("up_to", [0, -5])
def test_a_number_before_the_first_shows_no_messages(up_to: int) -> None:
    conversation = build_conversation(MESSAGES, known_before=None, up_to=up_to)
    assert (conversation.messages, conversation.later) == ([], 130)


@pytest.mark.parametrize(
    ("known", "new", "first_new"),
    [(128, 2, 129), (130, 0, None), (200, 0, None), (80, 50, None), (0, 50, None), (None, 0, None)],
)
def test_messages_added_by_the_step_are_new(
    known: int | None, new: int, first_new: int | None
) -> None:
    conversation = build_conversation(MESSAGES, known_before=known)
    assert sum(message["is_new"] for message in conversation.messages) == new
    assert (conversation.new_count, conversation.first_new) == (new, first_new)


def test_a_message_beyond_eight_kilobytes_is_collapsed() -> None:
    short, long = build_conversation(
        [
            Message.user("é" * (MAX_EXPANDED_BYTES // 2)),
            Message.user("é" * (MAX_EXPANDED_BYTES // 2 + 1)),
        ],
        known_before=None,
    ).messages
    assert (short["is_long"], long["is_long"]) == (False, True)
    assert long["bytes"] == MAX_EXPANDED_BYTES + 2
    assert long["preview"] == "é" * 200
