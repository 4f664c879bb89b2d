"""A message of a state, with JSON formatted and long text folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.folding import FoldedText, TextPart, fold_text
from weavegraph_checkpoints.admin.presenters.json_text import format_json_text
from weavegraph_checkpoints.domain import Message

MAX_ROLE_LENGTH = 200


class FoldLimits(NamedTuple):
    """The length of a message beyond which the rest is folded."""

    lines: int
    bytes: int


SHORT = FoldLimits(lines=12, bytes=2_000)
"""For messages among others."""
FULL = FoldLimits(lines=200, bytes=8_000)
"""For the messages of the step itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageItem:
    """What a page shows of a message, escaped."""

    number: int
    """Messages are numbered from 1."""
    role: str
    bytes: int
    kind: str
    """``added`` or ``changed`` by the step, or else empty."""
    text: FoldedText
    """The text, formatted if it is JSON."""
    is_json: bool
    exact: TextPart | None
    """The text as it is stored, if ``text`` is formatted."""


def build_message(
    message: Message,
    number: int,
    *,
    kind: str,
    limits: FoldLimits,
    is_above: bool = False,
    budget: PageBudget,
) -> MessageItem:
    """Return what a page shows of a message.

    Of a long message that the page shows ``is_above``, only the beginning is shown again.
    """
    content = message.content
    formatted = format_json_text(content, budget)
    shown = fold_text(
        content if formatted is None else formatted,
        max_lines=limits.lines,
        max_bytes=limits.bytes,
        has_rest=not is_above,
        budget=budget,
    )
    has_exact = formatted not in (None, content) and not (is_above and shown.rest_length)
    return MessageItem(
        number=number,
        role=budget.truncate(message.role, MAX_ROLE_LENGTH)[0],
        bytes=len(content.encode()),
        kind=kind,
        is_json=formatted is not None,
        text=shown,
        exact=TextPart(*budget.truncate(content)) if has_exact else None,
    )
