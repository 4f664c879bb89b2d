"""Labels as text that users read and write: ``customer=4711 note="two words"``."""

from __future__ import annotations

import json
import re

from weavegraph_checkpoints.domain.labels import (
    LABEL_KEY_PATTERN,
    MAX_LABELS,
    check_label,
)
from weavegraph_checkpoints.exceptions import InvalidLabel

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TERM = re.compile(rf"({LABEL_KEY_PATTERN})=({_QUOTED}|[^\s\"]\S*|)(?:\s+|$)")
_LINE = re.compile(rf"\s*({LABEL_KEY_PATTERN})\s*=\s*({_QUOTED}|[^\"].*|)\s*", re.DOTALL)


def format_label(key: str, value: str) -> str:
    """Return ``key=value``, with a value in quotes and JSON escapes unless it is one word."""
    is_word = value.isprintable() and not any(char in ' "' for char in value)
    return f"{key}={value if is_word else json.dumps(value)}"


def parse_terms(text: str) -> list[tuple[str, str]] | None:
    """Return the labels of terms separated by spaces; ``None`` if the text is anything else."""
    pairs: list[tuple[str, str]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TERM.match(text, position)
        label = None if match is None else _read(match)
        if match is None or label is None or len(pairs) == MAX_LABELS:
            return None
        pairs.append(label)
        position = match.end()
    return pairs or None


def parse_lines(text: str) -> list[tuple[str, str]]:
    """Return the labels of lines, empty ones aside. Raise ``InvalidLabel`` with the line."""
    pairs: list[tuple[str, str]] = []
    for line in re.split(r"\r\n|\r|\n", text):
        if line.strip():
            match = _LINE.fullmatch(line)
            label = None if match is None else _read(match)
            if label is None:
                raise InvalidLabel("not a label", line)
            pairs.append(label)
    return pairs


def _read(match: re.Match[str]) -> tuple[str, str] | None:
    """Return the label that a term or a line spells, ``None`` if its value is invalid."""
    key, value = match.groups()
    try:
        value = json.loads(value) if value.startswith('"') else value.rstrip()
        check_label(key, value)
    except ValueError:
        return None
    return key, value
