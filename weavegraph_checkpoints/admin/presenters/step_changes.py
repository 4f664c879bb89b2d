"""What one step changed: messages, extras and errors, compared with the previous step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.comparison import (
    Section,
    build_section,
    build_value_row,
    diff_messages,
    diff_values,
)
from weavegraph_checkpoints.admin.presenters.messages import FULL, MessageItem, build_message
from weavegraph_checkpoints.admin.presenters.text_diff import get_opcodes
from weavegraph_checkpoints.domain import ErrorEvent, Message, VersionedState
from weavegraph_checkpoints.domain.diff import count_common_ends

MAX_MESSAGES = 50
"""Messages that are shown, the newest."""
MAX_EXTRAS = 20
"""Changed extras that are shown."""
MAX_VALUE_LENGTH = 500
"""Characters of a changed value that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChanges:
    """What a step added, changed and removed."""

    messages: list[MessageItem]
    """The newest messages that were added or changed."""
    kinds: dict[int, str]
    """The number of each message that was added or changed: ``added`` or ``changed``."""
    added_messages: int
    changed_messages: int
    removed_messages: int
    extras: Section
    new_errors: frozenset[int]
    """The indexes of the new errors."""
    removed_errors: int

    @property
    def hidden_messages(self) -> int:
        """Number of messages that were added or changed, but are not shown."""
        return len(self.kinds) - len(self.messages)

    @property
    def is_empty(self) -> bool:
        """Whether messages, extras and errors are those of the previous step."""
        counts = (len(self.kinds), self.removed_messages, self.extras.counts["total"])
        return not (any(counts) or self.new_errors or self.removed_errors)


def build_step_changes(
    before: VersionedState, after: VersionedState, budget: PageBudget
) -> StepChanges:
    """Return what changed from the state of the previous step, as text to display."""
    kinds, removed = _find_changed_messages(before.messages.items, after.messages.items, budget)
    new_errors, removed_errors = _find_new_errors(before.errors.items, after.errors.items, budget)
    messages = [
        build_message(
            after.messages.items[number - 1], number, kind=kind, limits=FULL, budget=budget
        )
        for number, kind in list(kinds.items())[-MAX_MESSAGES:]
    ]
    extras = build_section(
        diff_values(before.extra.map, after.extra.map, budget),
        partial(build_value_row, max_length=MAX_VALUE_LENGTH),
        budget,
        MAX_EXTRAS,
    )
    found = list(kinds.values())
    return StepChanges(
        messages=messages,
        kinds=kinds,
        added_messages=found.count("added"),
        changed_messages=found.count("changed"),
        removed_messages=removed,
        extras=extras,
        new_errors=new_errors,
        removed_errors=removed_errors,
    )


def _find_changed_messages(
    before: Sequence[Message], after: Sequence[Message], budget: PageBudget
) -> tuple[dict[int, str], int]:
    """Return the kind of each message that was added or changed, and how many were removed."""
    kinds: dict[int, str] = {}
    removed = 0
    start, end = count_common_ends(before, after)
    for kind, number, _old, _new in diff_messages(before, after, start, end, budget):
        if kind == "removed":
            removed += 1
        else:
            kinds[number] = kind
    return kinds, removed


def _find_new_errors(
    before: Sequence[ErrorEvent], after: Sequence[ErrorEvent], budget: PageBudget
) -> tuple[frozenset[int], int]:
    """Return the indexes of the new errors, and how many errors were removed.

    Errors with the same timestamp and message are the same.
    """
    old, new = ([(event.when, event.error.message) for event in each] for each in (before, after))
    start, end = count_common_ends(old, new)
    found: set[int] = set()
    removed = 0
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    for tag, old_start, old_end, new_start, new_end in get_opcodes(old, new, budget):
        if tag != "equal":
            removed += old_end - old_start
            found.update(range(start + new_start, start + new_end))
    return frozenset(found), removed
