"""What changed between two checkpoints: messages, errors, extras and control."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from weavegraph_checkpoints.admin.presenters.values import format_json
from weavegraph_checkpoints.domain import Checkpoint, ErrorEvent, Message, NodeKind
from weavegraph_checkpoints.domain.diff import ABSENT, Change, Path, changes, common_ends
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.paths import join_json_path

MAX_ROWS = 200
MAX_WORDS = 400
MAX_TEXT = 2_000
"""Characters of a value, or of a run of unchanged or new text, that are shown."""
MAX_MATCHES = 1_000_000
"""Beyond so many pairs of equal items ``difflib`` takes seconds."""

OpCode = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of text; ``kind`` is ``same``, ``gone`` or ``new``."""

    kind: str
    text: str
    cut: int = 0
    """Characters that are left out of its middle or end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageChange:
    """One message that came, went or was replaced; ``kind`` is ``new``, ``gone``, ``other``."""

    kind: str
    number: int
    """Its place in the conversation it is in, the newer one if both, from 1."""
    role: str
    old_role: str
    """Of a replaced message, where the role changed too."""
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorChange:
    """One error that came (``new``) or went (``gone``)."""

    kind: str
    event: ErrorEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """One value that came (``new``), went (``gone``) or changed (``other``)."""

    kind: str
    path: str
    before: Piece | None
    after: Piece | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesChange:
    """Nodes, or channels, that left and joined a list such as the frontier."""

    name: str
    gone: tuple[str, ...]
    new: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The first changes of a kind, and how many more there are."""

    rows: tuple[Any, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that changed from one checkpoint to another."""

    messages: Section
    errors: Section
    extras: Section
    nodes: tuple[NodesChange, ...]
    control: Section
    """Channel versions and ``versions_seen``."""
    kept_at_start: int
    """Messages of the common beginning."""
    kept_at_end: int
    """Messages of the common end."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        sections = (self.messages, self.errors, self.extras, self.control)
        return not self.nodes and not any(section.total for section in sections)

    def count(self, section: str, kind: str) -> int:
        """Return how many shown rows of a section are of a kind."""
        return sum(row.kind == kind for row in getattr(self, section).rows)


def compare(before: Checkpoint, after: Checkpoint) -> Comparison:
    """Return what changed from ``before`` to ``after``, for people."""
    old, new = before.state, after.state
    start, end = common_ends(old.messages.items, new.messages.items)
    return Comparison(
        messages=_section(list(message_changes(old.messages.items, new.messages.items))),
        errors=_section(list(_error_changes(old.errors.items, new.errors.items))),
        extras=_value_section(changes(old.extra.map, new.extra.map)),
        nodes=tuple(_nodes_changes(before, after)),
        control=_value_section(changes(_control(before), _control(after))),
        kept_at_start=start,
        kept_at_end=end,
    )


def message_changes(before: Sequence[Message], after: Sequence[Message]) -> Iterator[MessageChange]:
    """Yield the messages that came, went or were replaced, in the order of the newer."""
    start, end = common_ends(before, after)
    old = [(item.role, item.content) for item in before[start : len(before) - end]]
    new = [(item.role, item.content) for item in after[start : len(after) - end]]
    for tag, old_from, old_to, new_from, new_to in opcodes(old, new):
        if tag == "equal":
            continue
        pairs = zip_longest(old[old_from:old_to], new[new_from:new_to])
        for offset, (gone, come) in enumerate(pairs):
            number = start + 1 + (old_from if come is None else new_from) + offset
            yield _message_change(number, gone, come)


def _message_change(
    number: int, gone: tuple[str, str] | None, come: tuple[str, str] | None
) -> MessageChange:
    if gone is not None and come is not None:
        return MessageChange(
            kind="other",
            number=number,
            role=escape_control_chars(come[0]),
            old_role=escape_control_chars(gone[0]) if gone[0] != come[0] else "",
            pieces=tuple(text_diff(gone[1], come[1])),
        )
    kind = "new" if gone is None else "gone"
    role, content = come or gone or ("", "")
    pieces = (_cut(kind, content),)
    role = escape_control_chars(role)
    return MessageChange(kind=kind, number=number, role=role, old_role="", pieces=pieces)


def text_diff(before: str, after: str) -> Iterator[Piece]:
    """Yield the runs of text that stayed, went and came.

    By words where both texts together have up to 400, by lines beyond that.
    """
    old, new = _words(before), _words(after)
    if len(old) + len(new) > 2 * MAX_WORDS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for tag, old_from, old_to, new_from, new_to in opcodes(old, new):
        if tag == "equal":
            yield _shortened("".join(old[old_from:old_to]))
            continue
        if old_to > old_from:
            yield _cut("gone", "".join(old[old_from:old_to]))
        if new_to > new_from:
            yield _cut("new", "".join(new[new_from:new_to]))


def opcodes(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[OpCode]:
    """Return the operations of ``difflib``; one replacement where they would take long."""
    counts = Counter(before)
    if sum(counts[item] for item in after) > MAX_MATCHES:
        return [("replace", 0, len(before), 0, len(after))]
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return list(matcher.get_opcodes())


def _words(text: str) -> list[str]:
    """Return the words of a text and the white space between them."""
    return re.findall(r"\s+|\S+", text)


def _cut(kind: str, text: str) -> Piece:
    shown = escape_control_chars(text[:MAX_TEXT])
    return Piece(kind=kind, text=shown, cut=max(0, len(text) - MAX_TEXT))


def _shortened(text: str) -> Piece:
    """Return unchanged text, of a long one the beginning alone."""
    limit = MAX_TEXT // 10
    return Piece(
        kind="same", text=escape_control_chars(text[:limit]), cut=max(0, len(text) - limit)
    )


def _error_changes(
    before: Sequence[ErrorEvent], after: Sequence[ErrorEvent]
) -> Iterator[ErrorChange]:
    start, end = common_ends(before, after)
    for event in before[start : len(before) - end]:
        yield ErrorChange(kind="gone", event=event)
    for event in after[start : len(after) - end]:
        yield ErrorChange(kind="new", event=event)


def _nodes_changes(before: Checkpoint, after: Checkpoint) -> Iterator[NodesChange]:
    for name in ("frontier", "ran_nodes", "skipped_nodes", "updated_channels"):
        old, new = _names(getattr(before, name)), _names(getattr(after, name))
        if old != new:
            yield NodesChange(
                name=name,
                gone=tuple(item for item in old if item not in new),
                new=tuple(item for item in new if item not in old),
                kept=tuple(item for item in new if item in old),
            )


def _names(values: Sequence[NodeKind | str]) -> list[str]:
    return [value.encoded if isinstance(value, NodeKind) else value for value in values]


def _control(checkpoint: Checkpoint) -> dict[str, Any]:
    state = checkpoint.state
    return {
        "version": {
            "messages": state.messages.version,
            "extra": state.extra.version,
            "errors": state.errors.version,
        },
        "versions_seen": checkpoint.versions_seen,
    }


def _section(rows: list[Any]) -> Section:
    return Section(rows=tuple(rows[:MAX_ROWS]), total=len(rows))


def _value_section(found: Sequence[Change]) -> Section:
    parts = [part for change in found for part in change.parts()]
    shown = tuple(_value_change(part) for part in parts[:MAX_ROWS])
    return Section(rows=shown, total=len(parts))


def _value_change(change: Change) -> ValueChange:
    came = change.before is ABSENT or (change.at is not None and not change.before)
    went = change.after is ABSENT or (change.at is not None and not change.after)
    kind = "new" if came else "gone" if went else "other"
    return ValueChange(
        kind=kind,
        path=_path_text(change.path) + ("" if change.at is None else f"[{change.at}…]"),
        before=None if came else _cut("gone", format_json(change.before)),
        after=None if went else _cut("new", format_json(change.after)),
    )


def _path_text(path: Path) -> str:
    text = ""
    for key in path:
        text = join_json_path(text, key)
    return escape_control_chars(text.removeprefix("."))
