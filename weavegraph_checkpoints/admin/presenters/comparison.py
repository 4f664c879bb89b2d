"""What changed between two checkpoints: messages, errors, extras, nodes and versions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, NamedTuple

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from weavegraph_checkpoints.admin.formatting import format_node, format_scope, format_signed
from weavegraph_checkpoints.admin.presenters.values import format_json
from weavegraph_checkpoints.domain import Checkpoint, ErrorEvent, Message, NodeKind
from weavegraph_checkpoints.domain.diff import ABSENT, Change, count_common_ends, diff_json
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.paths import join_json_path

MAX_ROWS = 200
"""Changes that are shown in one section."""
MAX_DIFF_WORDS = 400
"""Two texts with more words than this on average are compared by lines."""
MAX_TEXT_LENGTH = 2_000
MAX_EQUAL_LENGTH = 200
"""Characters that are shown of unchanged text."""
MAX_MATCHES = 1_000_000
"""Pairs of equal items beyond which ``difflib`` takes seconds."""

OpCode = tuple[str, int, int, int, int]
RoleAndContent = tuple[str, str]
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


class TextRun(NamedTuple):
    """A run of text whose ``kind`` is ``equal``, ``removed`` or ``added``."""

    kind: str
    text: str
    omitted: int
    """Number of characters at its end that are not shown."""


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


def compare_checkpoints(before: Checkpoint, after: Checkpoint) -> Comparison:
    """Return what changed from ``before`` to ``after``, as text to display."""
    old, new = before.state, after.state
    start, end = count_common_ends(old.messages.items, new.messages.items)
    return Comparison(
        messages=_build_section(
            _diff_messages(old.messages.items, new.messages.items, start, end),
            _build_message_row,
        ),
        errors=_build_section(_diff_errors(old.errors.items, new.errors.items), _build_error_row),
        extras=_build_section(_diff_values(old.extra.map, new.extra.map), _build_value_row),
        lists=list(_diff_lists(before, after)),
        versions=_build_section(
            _diff_values(_get_versions(before), _get_versions(after)), _build_value_row
        ),
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


def diff_text(before: str, after: str) -> Iterator[TextRun]:
    """Yield the runs that are equal, removed and added, by words or, in long texts, by lines."""
    old, new = [before], [after]
    if before and after:
        old, new = (re.findall(r"\s+|\S+", text) for text in (before, after))
        if len(old) + len(new) > 2 * MAX_DIFF_WORDS:
            old, new = (text.splitlines(keepends=True) for text in (before, after))
    for tag, old_start, old_end, new_start, new_end in get_opcodes(old, new):
        removed, added = "".join(old[old_start:old_end]), "".join(new[new_start:new_end])
        if tag == "equal":
            yield _build_run("equal", removed)
            continue
        if removed:
            yield _build_run("removed", removed)
        if added:
            yield _build_run("added", added)


def get_opcodes(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[OpCode]:
    """Return the opcodes of ``difflib``, or a single replacement if it would take too long."""
    counts = Counter(before)
    if sum(counts[item] for item in after) > MAX_MATCHES:
        return [("replace", 0, len(before), 0, len(after))]
    return list(SequenceMatcher(None, before, after, autojunk=False).get_opcodes())


def _build_section(found: Iterable[tuple[Any, ...]], build_row: Callable[..., Row]) -> Section:
    """Return the section of changes, which are tuples that begin with their kind."""
    changed = list(found)
    counts = Counter(kind for kind, *_details in changed)
    counts["total"] = len(changed)
    rows = [{"kind": kind, **build_row(*details)} for kind, *details in changed[:MAX_ROWS]]
    return Section(rows, counts, hidden=len(changed) - len(rows))


def _build_run(kind: str, text: str) -> TextRun:
    limit = MAX_EQUAL_LENGTH if kind == "equal" else MAX_TEXT_LENGTH
    shown = escape_control_chars(text[:limit])
    return TextRun(kind, shown, max(0, len(text) - limit))


def _diff_messages(
    before: Sequence[Message], after: Sequence[Message], start: int, end: int
) -> Iterator[tuple[str, int, RoleAndContent | None, RoleAndContent | None]]:
    old = [(item.role, item.content) for item in before[start : len(before) - end]]
    new = [(item.role, item.content) for item in after[start : len(after) - end]]
    for tag, old_start, old_end, new_start, new_end in get_opcodes(old, new):
        if tag == "equal":
            continue
        pairs = zip_longest(old[old_start:old_end], new[new_start:new_end])
        for offset, (removed, added) in enumerate(pairs, start + 1):
            number = offset + (old_start if added is None else new_start)
            kind = "added" if removed is None else "removed" if added is None else "changed"
            yield kind, number, removed, added


def _build_message_row(
    number: int, removed: RoleAndContent | None, added: RoleAndContent | None
) -> Row:
    old_role, old_content = removed or ("", "")
    role, content = added or (old_role, "")
    return {
        "number": number,
        "role": escape_control_chars(role),
        "old_role": "" if old_role == role else escape_control_chars(old_role),
        "runs": list(diff_text(old_content, content)),
    }


def _diff_errors(
    before: Sequence[ErrorEvent], after: Sequence[ErrorEvent]
) -> Iterator[tuple[str, ErrorEvent]]:
    start, end = count_common_ends(before, after)
    for kind, events in (("removed", before), ("added", after)):
        for event in events[start : len(events) - end]:
            yield kind, event


def _build_error_row(event: ErrorEvent) -> Row:
    return {
        "scope": escape_control_chars(format_scope(event.scope)),
        "message": escape_control_chars(event.error.message),
    }


def _diff_lists(before: Checkpoint, after: Checkpoint) -> Iterator[Row]:
    for name, label in LIST_LABELS.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield {
                "label": label,
                "removed": [_format_name(item) for item in old if item not in new],
                "added": [_format_name(item) for item in new if item not in old],
                "kept": [_format_name(item) for item in new if item in old],
            }


def _format_name(node_or_channel: NodeKind | str) -> str:
    if isinstance(node_or_channel, NodeKind):
        return format_node(node_or_channel.encoded)
    return escape_control_chars(node_or_channel)


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


def _diff_values(before: Any, after: Any) -> Iterator[tuple[str, Change]]:
    for change in diff_json(before, after):
        for part in change.parts():
            is_added, is_removed = _is_absent(part, part.before), _is_absent(part, part.after)
            yield "added" if is_added else "removed" if is_removed else "changed", part


def _build_value_row(change: Change) -> Row:
    path = ""
    for key in change.path:
        path = join_json_path(path, key)
    index = "" if change.at is None else f"[{change.at}…]"
    is_added, is_removed = _is_absent(change, change.before), _is_absent(change, change.after)
    return {
        "path": escape_control_chars(path.removeprefix(".") + index),
        "before": None if is_added else _build_run("removed", format_json(change.before)),
        "after": None if is_removed else _build_run("added", format_json(change.after)),
    }


def _is_absent(change: Change, value: Any) -> bool:
    """Return whether there is no value on one side, or no items of a list."""
    return value is ABSENT or (change.at is not None and not value)
