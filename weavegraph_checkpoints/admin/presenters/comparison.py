"""What changed between two checkpoints: messages, errors, extras, nodes and versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from weavegraph_checkpoints.admin.formatting import format_node, format_scope, format_signed
from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.text_diff import (
    MAX_TEXT_LENGTH,
    TextRun,
    build_run,
    diff_text,
    get_opcodes,
)
from weavegraph_checkpoints.admin.presenters.values import format_json_prefix
from weavegraph_checkpoints.domain import Checkpoint, ErrorEvent, Message, NodeKind
from weavegraph_checkpoints.domain.diff import ABSENT, Change, count_common_ends, diff_json
from weavegraph_checkpoints.domain.limits import MAX_NODES
from weavegraph_checkpoints.domain.paths import join_json_path

MAX_ROWS = 200
"""Changes that are shown in one section."""
MAX_LABEL_LENGTH = 300
"""Characters of a role, a scope, a path or a name that are shown."""
MAX_LISTED = MAX_NODES
"""Names of one kind that are shown of a list."""

Row = dict[str, Any]

LIST_LABELS = {
    "frontier": gettext_lazy("Next nodes"),
    "ran_nodes": gettext_lazy("Ran"),
    "skipped_nodes": gettext_lazy("Skipped"),
    "updated_channels": gettext_lazy("Changed channels"),
}
SUMMARY_PARTS = (
    ("messages", "added", ngettext_lazy("+%(count)s message", "+%(count)s messages", "count")),
    ("messages", "removed", ngettext_lazy("−%(count)s message", "−%(count)s messages", "count")),
    (
        "messages",
        "changed",
        ngettext_lazy("%(count)s message replaced", "%(count)s messages replaced", "count"),
    ),
    (
        "extras",
        "total",
        ngettext_lazy("%(count)s extra changed", "%(count)s extras changed", "count"),
    ),
    ("errors", "added", ngettext_lazy("%(count)s error added", "%(count)s errors added", "count")),
    (
        "errors",
        "removed",
        ngettext_lazy("%(count)s error removed", "%(count)s errors removed", "count"),
    ),
)


class Section(NamedTuple):
    """The first changes of a section, as text to display, and the number of all changes."""

    rows: list[Row]
    """Each has a ``kind``: ``added``, ``removed`` or ``changed``."""
    counts: Mapping[str, int]
    """Number of changes of each kind, and their ``total``."""
    hidden: int
    """Number of changes that are not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that changed from one checkpoint to another."""

    messages: Section
    errors: Section
    extras: Section
    lists: list[Row]
    """Nodes and channels that were removed from a list, added to it, or kept."""
    versions: Section
    """Changes of channel versions and of ``versions_seen``."""
    equal_at_start: int
    """Number of equal messages at the beginning."""
    equal_at_end: int
    """Number of equal messages at the end."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        sections = (self.messages, self.errors, self.extras, self.versions)
        return not self.lists and not any(section.counts["total"] for section in sections)


def compare_checkpoints(
    before: Checkpoint, after: Checkpoint, budget: PageBudget | None = None
) -> Comparison:
    """Return what changed from ``before`` to ``after``, as text to display."""
    budget = budget or PageBudget()
    old, new = before.state, after.state
    lists = list(_diff_lists(before, after, budget))
    versions = build_section(
        diff_values(_get_versions(before), _get_versions(after), budget), build_value_row, budget
    )
    errors = build_section(
        _diff_errors(old.errors.items, new.errors.items), _build_error_row, budget
    )
    start, end = count_common_ends(old.messages.items, new.messages.items)
    messages = build_section(
        diff_messages(old.messages.items, new.messages.items, start, end, budget),
        _build_message_row,
        budget,
    )
    extras = build_section(
        diff_values(old.extra.map, new.extra.map, budget), build_value_row, budget
    )
    return Comparison(
        messages=messages,
        errors=errors,
        extras=extras,
        lists=lists,
        versions=versions,
        equal_at_start=start,
        equal_at_end=end,
    )


def format_summary(
    comparison: Comparison, bytes_before: int | None, bytes_after: int | None
) -> str:
    """Return what changed, in one line."""
    if comparison.is_empty:
        return _("The two steps are identical except for the time they were saved.")
    parts = [
        text % {"count": count}
        for section, kind, text in SUMMARY_PARTS
        if (count := getattr(comparison, section).counts[kind])
    ]
    if bytes_before is not None and bytes_after is not None and bytes_before != bytes_after:
        parts.append(format_signed(bytes_after - bytes_before, filesizeformat))
    return ", ".join(parts) or _("Only nodes, channels or versions changed.")


def build_section(
    changes: Iterable[tuple[Any, ...]],
    build_row: Callable[..., Row],
    budget: PageBudget,
    max_rows: int = MAX_ROWS,
) -> Section:
    """Return the section of changes, which are tuples that begin with their kind."""
    counts: Counter[str] = Counter()
    rows: list[Row] = []
    is_full = False
    for kind, *details in changes:
        counts[kind] += 1
        is_full = is_full or len(rows) == max_rows or not budget.take_lines(2)
        if not is_full:
            rows.append({"kind": kind, **build_row(*details, budget)})
    counts["total"] = counts.total()
    return Section(rows, counts, hidden=counts["total"] - len(rows))


def _build_label(text: str, budget: PageBudget) -> str:
    shown, omitted = budget.truncate(text, MAX_LABEL_LENGTH)
    return f"{shown}…" if omitted else shown


def diff_messages(
    before: Sequence[Message],
    after: Sequence[Message],
    start: int,
    end: int,
    budget: PageBudget,
) -> Iterator[tuple[str, int, Message | None, Message | None]]:
    """Yield the kind, the number and both messages of each change.

    ``start`` and ``end`` are the numbers of equal messages at the beginning and at the end. The
    number of a removed message is that of ``before``.
    """
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    for tag, old_start, old_end, new_start, new_end in get_opcodes(old, new, budget):
        if tag == "equal":
            continue
        pairs = zip_longest(old[old_start:old_end], new[new_start:new_end])
        for offset, (removed, added) in enumerate(pairs, start + 1):
            number = offset + (old_start if added is None else new_start)
            kind = "added" if removed is None else "removed" if added is None else "changed"
            yield kind, number, removed, added


def _build_message_row(
    number: int, removed: Message | None, added: Message | None, budget: PageBudget
) -> Row:
    old_role, old_content = (removed.role, removed.content) if removed else ("", "")
    role, content = (added.role, added.content) if added else (old_role, "")
    return {
        "number": number,
        "role": _build_label(role, budget),
        "old_role": "" if old_role == role else _build_label(old_role, budget),
        "runs": list(diff_text(old_content, content, budget)),
    }


def _diff_errors(
    before: Sequence[ErrorEvent], after: Sequence[ErrorEvent]
) -> Iterator[tuple[str, ErrorEvent]]:
    start, end = count_common_ends(before, after)
    for kind, events in (("removed", before), ("added", after)):
        for event in events[start : len(events) - end]:
            yield kind, event


def _build_error_row(event: ErrorEvent, budget: PageBudget) -> Row:
    message, omitted = budget.truncate(event.error.message, MAX_TEXT_LENGTH)
    return {
        "scope": _build_label(format_scope(event.scope), budget),
        "message": message,
        "omitted": omitted,
    }


def _diff_lists(before: Checkpoint, after: Checkpoint, budget: PageBudget) -> Iterator[Row]:
    for name, label in LIST_LABELS.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            old_names, new_names = set(old), set(new)
            names = {
                "removed": [name for name in old if name not in new_names],
                "added": [name for name in new if name not in old_names],
                "kept": [name for name in new if name in old_names],
            }
            yield {
                "label": label,
                **{
                    kind: [_format_name(name, budget) for name in found[:MAX_LISTED]]
                    for kind, found in names.items()
                },
                "hidden": sum(max(0, len(found) - MAX_LISTED) for found in names.values()),
            }


def _format_name(node_or_channel: NodeKind | str, budget: PageBudget) -> str:
    if isinstance(node_or_channel, NodeKind):
        return _build_label(format_node(node_or_channel.encoded), budget)
    return _build_label(node_or_channel, budget)


def _get_versions(checkpoint: Checkpoint) -> dict[str, Any]:
    state = checkpoint.state
    return {
        "version": {
            "messages": state.messages.version,
            "extra": state.extra.version,
            "errors": state.errors.version,
        },
        "versions_seen": checkpoint.versions_seen,
    }


def diff_values(before: Any, after: Any, budget: PageBudget) -> Iterator[tuple[str, Change]]:
    """Yield the kind of each change between two JSON values, and the change."""
    for change in diff_json(before, after, budget=budget.diff):
        for part in change.parts():
            is_added, is_removed = _is_absent(part, part.before), _is_absent(part, part.after)
            yield "added" if is_added else "removed" if is_removed else "changed", part


def build_value_row(change: Change, budget: PageBudget, max_length: int = MAX_TEXT_LENGTH) -> Row:
    """Return the path of a change, and both values as JSON up to ``max_length``."""
    path = ""
    for key in change.path:
        path = join_json_path(path, key)
    index = "" if change.at is None else f"[{change.at}…]"
    is_added, is_removed = _is_absent(change, change.before), _is_absent(change, change.after)
    return {
        "path": _build_label(path.removeprefix(".") + index, budget),
        "before": None
        if is_added
        else _build_value_run("removed", change.before, max_length, budget),
        "after": None
        if is_removed
        else _build_value_run("added", change.after, max_length, budget),
    }


def _build_value_run(kind: str, value: Any, max_length: int, budget: PageBudget) -> TextRun:
    text, omitted = format_json_prefix(value, max_length)
    return build_run(kind, text, budget, omitted)


def _is_absent(change: Change, value: Any) -> bool:
    """Return whether there is no value on one side, or no items of a list."""
    return value is ABSENT or (change.at is not None and not value)
