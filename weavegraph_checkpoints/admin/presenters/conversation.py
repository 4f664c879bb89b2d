"""The messages of a step as a conversation, 50 per page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.domain import Message

PAGE_SIZE = 50
MAX_EXPANDED_BYTES = 8_000
"""Longer messages are collapsed to a preview."""
PREVIEW_LENGTH = 200
MAX_ROLE_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A page of the messages, oldest first. Messages are numbered from 1."""

    messages: list[dict[str, Any]]
    first: int
    """The number of the first message of the page."""
    earlier: int
    """Number of messages before the page."""
    later: int
    """Number of messages after the page."""
    end_of_next_page: int
    """The number of the last message of the next page."""
    new_count: int
    """Number of messages of the page that the step added."""
    first_new: int | None
    """The number of the first new message, ``None`` if it is the first of the page."""


def build_conversation(
    messages: Sequence[Message],
    *,
    known_before: int | None,
    up_to: int | None = None,
    budget: PageBudget | None = None,
) -> Conversation:
    """Return the last 50 messages, or the 50 messages that end with number ``up_to``.

    ``known_before`` is the number of messages of the previous step. Pass ``None`` for the first
    step, whose messages are not marked as new.
    """
    budget = budget or PageBudget()
    total = len(messages)
    end = total if up_to is None else max(0, min(up_to, total))
    start = max(0, end - PAGE_SIZE)
    old = total if known_before is None else known_before
    return Conversation(
        messages=[
            _build_message(message, number, is_new=number > old, budget=budget)
            for number, message in enumerate(messages[start:end], start + 1)
        ],
        first=start + 1,
        earlier=start,
        later=total - end,
        end_of_next_page=min(end + PAGE_SIZE, total),
        new_count=max(0, end - max(old, start)),
        first_new=old + 1 if start < old < end else None,
    )


def _build_message(
    message: Message, number: int, *, is_new: bool, budget: PageBudget
) -> dict[str, Any]:
    size = len(message.content.encode())
    content, omitted = budget.truncate(message.content)
    return {
        "number": number,
        "role": budget.truncate(message.role, MAX_ROLE_LENGTH)[0],
        "content": content,
        "omitted": omitted,
        "preview": content[:PREVIEW_LENGTH],
        "bytes": size,
        "is_long": size > MAX_EXPANDED_BYTES,
        "is_new": is_new,
    }
