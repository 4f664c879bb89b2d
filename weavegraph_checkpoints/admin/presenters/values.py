"""A JSON value as a collapsible tree, and the JSON Pointers of its parts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.domain.diff import Path
from weavegraph_checkpoints.domain.escaping import escape_direction_chars

EXPANDED_LEVELS = 3
MAX_DEPTH = 12
"""Deeper values are a link to their own page."""
MAX_ENTRIES = 200
"""Entries of one object or array."""
MAX_LINES = 2_000
"""Lines after which no further values are expanded."""
MAX_TEXT_LENGTH = 8_000
"""Longer texts are a link to their own page."""
PREVIEW_LENGTH = 200
"""Characters of a longer text, and of a key, that are shown."""
MAX_POINTER_LENGTH = 2_000
"""Values with a longer JSON Pointer have no page: servers refuse longer URLs."""
MAX_FORMATTED_BYTES = 100_000
"""Only the beginning of values with more JSON is formatted."""

SAMPLED_ENTRIES = 100
"""Entries from which the size of a longer value is estimated."""

_ENCODER = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueLine:
    """One line of a tree.

    ``kind`` is ``open`` and ``close`` around the entries of a value, ``leaf`` for a value that
    fits on the line, ``link`` for a value with its own page, or ``more`` for omitted entries.
    """

    kind: str
    label: str = ""
    """The key as JSON, or the index."""
    text: str = ""
    """The value as JSON, truncated if long; the offset of the next entries for ``more``."""
    count: int = 0
    """Number of entries, omitted entries, or characters of a long text."""
    is_list: bool = False
    is_open: bool = False
    pointer: str | None = ""
    """The JSON Pointer of the value, ``None`` if the value has no page."""


def build_value_tree(
    value: Any, path: Path, *, offset: int = 0, budget: PageBudget | None = None
) -> list[ValueLine]:
    """Return the lines of the entries of an object or array at ``path``, from ``offset`` on."""
    builder = _TreeBuilder(budget or PageBudget())
    if _has_entries(value):
        builder.add_entries(value, path, 1, offset)
    return builder.lines


def build_value_lines(value: Any, path: Path, budget: PageBudget) -> list[ValueLine]:
    """Return the lines of any value, none for ``null``."""
    if value is None:
        return []
    if _has_entries(value):
        return build_value_tree(value, path, budget=budget)
    builder = _TreeBuilder(budget)
    builder.add_leaf("", value, path)
    return builder.lines


def format_json(value: Any) -> str:
    """Return a value as JSON with direction characters escaped."""
    return escape_direction_chars(json.dumps(value, ensure_ascii=False))


def format_json_prefix(value: Any, length: int) -> tuple[str, int]:
    """Return the first characters of a value as JSON, and about how many others there are."""
    if not _has_entries(value):
        text = format_json(value)
        return text[:length], max(0, len(text) - length)
    size = _estimate_size(value)
    if size <= MAX_FORMATTED_BYTES:
        text = format_json(value)
        return text[:length], max(0, len(text) - length)
    text = ""
    for chunk in _ENCODER.iterencode(value):
        text += chunk[:length]
        if len(text) >= length:
            break
    return escape_direction_chars(text)[:length], max(1, size - length)


def _estimate_size(value: Any) -> int:
    """Return the size of an object or array as JSON, of long ones from their first entries."""
    for _ in range(EXPANDED_LEVELS):
        only = next(iter(value.values() if isinstance(value, dict) else value))
        if len(value) > 1 or not _has_entries(only):
            break
        value = only
    first: Any = list(islice(value, SAMPLED_ENTRIES))
    if isinstance(value, dict):
        first = {key: value[key] for key in first}
    return len(msgspec.json.encode(first)) * len(value) // len(first)


def build_json_pointer(path: Path) -> str:
    """Return the JSON Pointer (RFC 6901) of a path."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)


def resolve_json_pointer(document: Any, pointer: str) -> tuple[Path, Any] | None:
    """Return the path and the value of a JSON Pointer, or ``None`` if there is no such value."""
    path: list[str | int] = []
    value = document
    if pointer and not pointer.startswith("/"):
        return None
    for part in pointer.split("/")[1:]:
        key: str | int = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and re.fullmatch("[0-9]{1,19}", part):
            key = int(part)
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
        path.append(key)
    return tuple(path), value


class _TreeBuilder:
    """Adds lines to a tree until it is too long, or the budget of the page is exhausted."""

    def __init__(self, budget: PageBudget) -> None:
        self.budget = budget
        self.lines: list[ValueLine] = []

    def add_entries(self, value: Any, path: Path, depth: int, offset: int) -> None:
        """Add the entries of an object or array, or how many of them are left out."""
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for index, (key, item) in enumerate(islice(entries, offset, None), offset):
            is_full = index - offset == MAX_ENTRIES or len(self.lines) >= MAX_LINES
            if is_full or not self.budget.take_lines():
                pointer, count = self.build_pointer(path), len(value) - index
                self.lines.append(
                    ValueLine(kind="more", count=count, text=str(index), pointer=pointer)
                )
                return
            label = str(key) if isinstance(key, int) else format_label(key)
            if _has_entries(item):
                self.add_branch(label, item, (*path, key), depth)
            else:
                self.add_leaf(label, item, (*path, key))

    def add_branch(self, label: str, value: Any, path: Path, depth: int) -> None:
        """Add an object or array with entries, or a link to it."""
        is_expanded = (
            depth < MAX_DEPTH and len(self.lines) < MAX_LINES - 1 and self.budget.lines > 0
        )
        self.budget.take_text(label)
        self.lines.append(
            ValueLine(
                kind="open" if is_expanded else "link",
                label=label,
                count=len(value),
                is_list=isinstance(value, list),
                is_open=depth < EXPANDED_LEVELS,
                pointer=self.build_pointer(path),
            )
        )
        if is_expanded:
            self.add_entries(value, path, depth + 1, 0)
            self.lines.append(ValueLine(kind="close"))

    def add_leaf(self, label: str, value: Any, path: Path) -> None:
        """Add a value without entries, or its beginning and a link to it."""
        text = format_json(value)
        if len(text) <= MAX_TEXT_LENGTH and self.budget.take_text(label + text):
            self.lines.append(ValueLine(kind="leaf", label=label, text=text))
            return
        pointer, shown = self.build_pointer(path), text[:PREVIEW_LENGTH]
        self.budget.take_text(label + shown)
        self.lines.append(
            ValueLine(kind="link", label=label, text=shown, count=len(text), pointer=pointer)
        )

    def build_pointer(self, path: Path) -> str | None:
        """Return the JSON Pointer of a value, ``None`` if it is too long for a URL."""
        if sum(len(str(key)) for key in path) > MAX_POINTER_LENGTH:
            return None
        return build_json_pointer(path)


def format_label(key: str) -> str:
    """Return a key as JSON, truncated if it is long."""
    if len(key) <= PREVIEW_LENGTH:
        return format_json(key)
    return f"{format_json(key[:PREVIEW_LENGTH])}…"


def _has_entries(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)
