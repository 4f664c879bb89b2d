"""The messages of a step as a conversation, 50 at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weavegraph_checkpoints.domain import Message
from weavegraph_checkpoints.domain.escaping import escape_control_chars

PAGE_SIZE = 50
MAX_EXPANDED_BYTES = 8_000
"""Longer messages are collapsed to a preview."""
PREVIEW_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationMessage:
    """One message, escaped for display."""

    number: int
    """The number of the message in the conversation, from 1."""
    role: str
    content: str
    bytes: int
    is_new: bool
    """Whether this step added it."""

    @property
    def is_long(self) -> bool:
        """Whether it is collapsed."""
        return self.bytes > MAX_EXPANDED_BYTES

    @property
    def preview(self) -> str:
        """The beginning of the content."""
        return self.content[:PREVIEW_LENGTH]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A page of the messages, oldest first."""

    messages: tuple[ConversationMessage, ...]
    first: int
    """The number of the first message of the page."""
    total: int

    @property
    def earlier(self) -> int:
        """Number of messages before the page."""
        return self.first - 1

    @property
    def later(self) -> int:
        """Number of messages after the page."""
        return self.total - self.earlier - len(self.messages)

    @property
    def end_of_next_page(self) -> int:
        """The number of the last message of the next page."""
        return min(self.earlier + len(self.messages) + PAGE_SIZE, self.total)

    @property
    def new_count(self) -> int:
        """Number of new messages on the page."""
        return sum(message.is_new for message in self.messages)

    @property
    def first_new(self) -> int | None:
        """The number of the first new message, unless the page begins with it."""
        numbers = [message.number for message in self.messages if message.is_new]
        return numbers[0] if numbers and numbers[0] > self.first else None


def build_conversation(
    messages: Sequence[Message], *, known_before: int | None, up_to: int | None = None
) -> Conversation:
    """Return the last 50 messages, or the 50 messages that end with number ``up_to``.

    ``known_before`` is the number of messages of the previous step. Pass ``None`` for the first
    step, whose messages are not marked as new.
    """
    end = len(messages) if up_to is None else max(0, min(up_to, len(messages)))
    start = max(0, end - PAGE_SIZE)
    return Conversation(
        messages=tuple(
            ConversationMessage(
                number=number,
                role=escape_control_chars(message.role),
                content=escape_control_chars(message.content),
                bytes=len(message.content.encode()),
                is_new=known_before is not None and number > known_before,
            )
            for number, message in enumerate(messages[start:end], start + 1)
        ),
        first=start + 1,
        total=len(messages),
    )
