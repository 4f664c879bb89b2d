"""A JSON value as a collapsible tree, and the JSON Pointers of its parts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

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
    pointer: str = ""
    """The JSON Pointer of the value."""


def build_value_tree(value: Any, path: Path, *, offset: int = 0) -> list[ValueLine]:
    """Return the lines of the entries of an object or array at ``path``, from ``offset`` on."""
    lines: list[ValueLine] = []
    if _has_entries(value):
        _add_entries(lines, value, path, 1, offset)
    return lines


def build_value_lines(value: Any, path: Path) -> list[ValueLine]:
    """Return the lines of any value, none for ``null``."""
    if value is None:
        return []
    return build_value_tree(value, path) if _has_entries(value) else [_build_leaf("", value, path)]


def format_json(value: Any) -> str:
    """Return a value as JSON with direction characters escaped."""
    return escape_direction_chars(json.dumps(value, ensure_ascii=False))


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


def _has_entries(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _add_entries(lines: list[ValueLine], value: Any, path: Path, depth: int, offset: int) -> None:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for index, (key, item) in enumerate(islice(entries, offset, None), offset):
        if index - offset == MAX_ENTRIES or len(lines) >= MAX_LINES:
            pointer, count = build_json_pointer(path), len(value) - index
            lines.append(ValueLine(kind="more", count=count, text=str(index), pointer=pointer))
            return
        label = str(key) if isinstance(key, int) else format_json(key)
        if _has_entries(item):
            _add_branch(lines, label, item, (*path, key), depth)
        else:
            lines.append(_build_leaf(label, item, (*path, key)))


def _add_branch(lines: list[ValueLine], label: str, value: Any, path: Path, depth: int) -> None:
    is_expanded = depth < MAX_DEPTH and len(lines) < MAX_LINES - 1
    lines.append(
        ValueLine(
            kind="open" if is_expanded else "link",
            label=label,
            count=len(value),
            is_list=isinstance(value, list),
            is_open=depth < EXPANDED_LEVELS,
            pointer=build_json_pointer(path),
        )
    )
    if is_expanded:
        _add_entries(lines, value, path, depth + 1, 0)
        lines.append(ValueLine(kind="close"))


def _build_leaf(label: str, value: Any, path: Path) -> ValueLine:
    text = format_json(value)
    if len(text) <= MAX_TEXT_LENGTH:
        return ValueLine(kind="leaf", label=label, text=text)
    pointer = build_json_pointer(path)
    return ValueLine(kind="link", label=label, text=text[:200], count=len(text), pointer=pointer)
