from __future__ import annotations

import pytest

from weavegraph_checkpoints import Message
from weavegraph_checkpoints.admin.presenters.conversation import (
    MAX_EXPANDED_BYTES,
    build_conversation,
)

MESSAGES = [Message.user(str(number)) for number in range(1, 131)]


def test_the_last_fifty_are_shown() -> None:
    conversation = build_conversation(MESSAGES, known_before=128)
    assert [item.number for item in conversation.messages] == list(range(81, 131))
    assert (conversation.earlier, conversation.later, conversation.total) == (80, 0, 130)
    assert (conversation.first, conversation.messages[-1].number) == (81, 130)


@pytest.mark.parametrize(
    ("up_to", "first", "last", "end_of_next_page"),
    [(80, 31, 80, 130), (30, 1, 30, 80), (1, 1, 1, 51), (999, 81, 130, 130)],
)
def test_the_fifty_up_to_a_number_are_shown(
    up_to: int, first: int, last: int, end_of_next_page: int
) -> None:
    conversation = build_conversation(MESSAGES, known_before=None, up_to=up_to)
    assert (conversation.first, conversation.messages[-1].number) == (first, last)
    assert conversation.end_of_next_page == end_of_next_page


@pytest.mark.parametrize("up_to", [0, -5])
def test_a_number_before_the_first_shows_none(up_to: int) -> None:
    conversation = build_conversation(MESSAGES, known_before=None, up_to=up_to)
    assert (conversation.messages, conversation.later) == ((), 130)


@pytest.mark.parametrize(("known", "new"), [(128, 2), (130, 0), (200, 0), (0, 50), (None, 0)])
def test_messages_that_came_with_the_step_are_new(known: int | None, new: int) -> None:
    conversation = build_conversation(MESSAGES, known_before=known)
    assert sum(item.is_new for item in conversation.messages) == new


def test_a_message_beyond_eight_kilobytes_is_folded() -> None:
    short, long = build_conversation(
        [
            Message.user("é" * (MAX_EXPANDED_BYTES // 2)),
            Message.user("é" * (MAX_EXPANDED_BYTES // 2 + 1)),
        ],
        known_before=None,
    ).messages
    assert (short.is_long, long.is_long) == (False, True)
    assert long.bytes == MAX_EXPANDED_BYTES + 2
    assert long.preview == "é" * 200
