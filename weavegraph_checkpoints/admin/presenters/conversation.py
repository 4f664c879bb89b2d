"""The messages of a step as a conversation, 50 per page, grouped by whether they are new."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.messages import SHORT, MessageItem, build_message
from weavegraph_checkpoints.domain import Message

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageGroup:
    """Consecutive messages of the page that are all new, or all older than the step."""

    messages: list[MessageItem]
    count: int
    """Number of messages; for the first group, with those before the page."""
    is_first: bool
    is_folded: bool
    """Whether the messages are shown only on request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A page of the messages, oldest first. Messages are numbered from 1."""

    groups: list[MessageGroup]
    earlier: int
    """Number of messages before the page."""
    later: int
    """Number of messages after the page."""
    end_of_next_page: int
    """The number of the last message of the next page."""


def build_conversation(
    messages: Sequence[Message],
    *,
    kinds: Mapping[int, str] | None,
    above: Container[int] = (),
    up_to: int | None = None,
    budget: PageBudget | None = None,
) -> Conversation:
    """Return the last 50 messages, or the 50 messages that end with number ``up_to``.

    ``kinds`` has the number of each message that the step added or changed, as ``added`` or
    ``changed``; the others are folded, unless ``up_to`` asks for them. Pass ``None`` if it is
    not known what the step changed: then no message is folded. ``above`` has the numbers of the
    messages that the page shows above the conversation.
    """
    budget = budget or PageBudget()
    total = len(messages)
    end = total if up_to is None else max(0, min(up_to, total))
    start = max(0, end - PAGE_SIZE)
    # The last messages are those of the step: what is left of the budget is for them first.
    items = [
        build_message(
            messages[number - 1],
            number,
            kind=(kinds or {}).get(number, ""),
            limits=SHORT,
            is_above=number in above,
            budget=budget,
        )
        for number in range(end, start, -1)
    ][::-1]
    folds = kinds is not None and up_to is None
    return Conversation(
        groups=_group(items, start, folds=folds),
        earlier=start,
        later=total - end,
        end_of_next_page=min(end + PAGE_SIZE, total),
    )


def _group(items: Sequence[MessageItem], earlier: int, *, folds: bool) -> list[MessageGroup]:
    groups: list[MessageGroup] = []
    for is_new, found in groupby(items, key=lambda item: bool(item.kind)):
        messages = list(found)
        groups.append(
            MessageGroup(
                messages=messages,
                count=len(messages) + (0 if groups else earlier),
                is_first=not groups,
                is_folded=folds and not is_new,
            )
        )
    return groups
