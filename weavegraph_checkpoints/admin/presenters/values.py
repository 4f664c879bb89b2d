"""JSON as a tree that unfolds: a flat run of lines, whatever the depth of the value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weavegraph_checkpoints.domain.diff import Path

OPEN_LEVELS = 3
SHOWN_LEVELS = 12
"""Deeper values have a page of their own."""
MOST_ENTRIES = 200
MOST_LINES = 2_000
LONG_TEXT = 8_000
TURNING = re.compile("[\x85\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a tree.

    ``kind`` is ``open`` and ``close`` around the entries of a value that unfolds, ``leaf``
    for a value that fits the line, ``far`` for one that has a page of its own, and
    ``more`` where entries are left out.
    """

    kind: str
    label: str = ""
    """Its key as JSON, or its index."""
    text: str = ""
    """The value as JSON; of a long text the beginning."""
    count: int = 0
    """Of the entries of a value, of those left out, or of the characters of a long text."""
    is_list: bool = False
    is_open: bool = False
    pointer: str = ""
    """The JSON Pointer of the value."""


@dataclass(slots=True)
class _Budget:
    lines: int = MOST_LINES


def tree_of(value: Any, path: Path, *, offset: int = 0) -> list[Line]:
    """Return the lines of the entries of a value that has some, from ``offset`` on."""
    return list(_entries(value, path, 1, offset, _Budget()))


def value_lines(value: Any, path: Path) -> list[Line]:
    """Return the lines of a free value, none for ``null``."""
    if value is None:
        return []
    if isinstance(value, dict | list) and value:
        return tree_of(value, path)
    return [_leaf("", value, path)]


def json_text(value: Any) -> str:
    """Return a value as JSON; ``1``, ``1.0`` and ``"1"`` look different.

    What turns the direction of writing, or ends a paragraph, is escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    return TURNING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def pointer_of(path: Path) -> str:
    """Return the JSON Pointer (RFC 6901) of a path."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)


def resolve(document: Any, pointer: str) -> tuple[Path, Any] | None:
    """Return the path and the value that a JSON Pointer names, or ``None``."""
    path: list[str | int] = []
    value = document
    if pointer and not pointer.startswith("/"):
        return None
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            path.append(key)
            value = value[key]
        elif isinstance(value, list) and (index := _index(key, len(value))) is not None:
            path.append(index)
            value = value[index]
        else:
            return None
    return tuple(path), value


def _index(key: str, length: int) -> int | None:
    if not (key.isascii() and key.isdecimal()) or len(key) > len(str(length)):
        return None
    return int(key) if int(key) < length else None


def _pairs(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _entries(value: Any, path: Path, level: int, offset: int, budget: _Budget) -> Iterator[Line]:
    for index, (key, item) in enumerate(_pairs(value)):
        if index < offset:
            continue
        if index - offset == MOST_ENTRIES or budget.lines <= 0:
            left = len(value) - index
            yield Line(kind="more", count=left, text=str(index), pointer=pointer_of(path))
            return
        budget.lines -= 1
        yield from _entry(key, item, (*path, key), level, budget)


def _entry(key: str | int, item: Any, path: Path, level: int, budget: _Budget) -> Iterator[Line]:
    label = str(key) if isinstance(key, int) else json_text(key)
    if not (isinstance(item, dict | list) and item):
        yield _leaf(label, item, path)
        return
    is_list = isinstance(item, list)
    pointer = pointer_of(path)
    if level >= SHOWN_LEVELS or budget.lines <= 0:
        yield Line(kind="far", label=label, count=len(item), is_list=is_list, pointer=pointer)
        return
    yield Line(
        kind="open",
        label=label,
        count=len(item),
        is_list=is_list,
        is_open=level < OPEN_LEVELS,
        pointer=pointer,
    )
    yield from _entries(item, path, level + 1, 0, budget)
    yield Line(kind="close")


def _leaf(label: str, value: Any, path: Path) -> Line:
    text = json_text(value)
    if len(text) <= LONG_TEXT:
        return Line(kind="leaf", label=label, text=text)
    return Line(kind="far", label=label, text=text[:200], count=len(text), pointer=pointer_of(path))
