"""The messages of a step, as a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weavegraph_checkpoints.domain import Message

MAX_MESSAGES = 50
LONG_BYTES = 8_000
BEGINNING = 200
"""Characters of a folded message that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationMessage:
    """One message as it is shown."""

    number: int
    """Its place in the conversation, from 1."""
    role: str
    content: str
    bytes: int
    is_new: bool
    """Whether it came with this step."""

    @property
    def is_long(self) -> bool:
        """Whether it is folded."""
        return self.bytes > LONG_BYTES

    @property
    def beginning(self) -> str:
        """What is shown of it while it is folded."""
        return self.content[:BEGINNING]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A part of the messages, oldest first."""

    utterances: tuple[ConversationMessage, ...]
    earlier: int
    """How many come before."""
    later: int
    """How many come after."""

    @property
    def total(self) -> int:
        """How many there are."""
        return self.earlier + len(self.utterances) + self.later

    @property
    def first_new(self) -> int | None:
        """The number of the first shown that came with this step, if an older one is shown."""
        new = [item.number for item in self.utterances if item.is_new]
        return new[0] if new and new[0] > self.first else None

    @property
    def new_count(self) -> int:
        """How many of those shown came with this step."""
        return sum(item.is_new for item in self.utterances)

    @property
    def first(self) -> int:
        """The number of the first that is shown."""
        return self.earlier + 1

    @property
    def last(self) -> int:
        """The number of the last that is shown."""
        return self.earlier + len(self.utterances)

    @property
    def end_of_later(self) -> int:
        """The number of the last message of the part that comes after."""
        return min(self.last + MAX_MESSAGES, self.total)


def build_conversation(
    messages: Sequence[Message], *, known_before: int | None, up_to: int | None = None
) -> Conversation:
    """Return the last 50 messages, or the 50 up to the one with the number ``up_to``.

    ``known_before`` is how many messages the step before had, ``None`` for the first step.
    """
    end = len(messages) if up_to is None else max(0, min(up_to, len(messages)))
    start = max(0, end - MAX_MESSAGES)
    new_from = len(messages) if known_before is None else known_before
    return Conversation(
        utterances=tuple(
            ConversationMessage(
                number=index + 1,
                role=message.role,
                content=message.content,
                bytes=len(message.content.encode()),
                is_new=index >= new_from,
            )
            for index, message in enumerate(messages[start:end], start)
        ),
        earlier=start,
        later=len(messages) - end,
    )
