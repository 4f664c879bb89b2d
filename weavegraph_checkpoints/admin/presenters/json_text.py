"""Format texts that are JSON, such as tool calls and their results, without changing a value."""

from __future__ import annotations

import json
import re
from itertools import accumulate

import msgspec

from weavegraph_checkpoints.admin.presenters.budget import PageBudget

MAX_JSON_BYTES = 64_000
"""Longer texts are not formatted."""
MAX_JSON_DEPTH = 24
"""Texts with more levels are not formatted: their lines would consist of indentation."""
INDENT = 2

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_LEVELS = {"[": 1, "{": 1, "]": -1, "}": -1}


def format_json_text(text: str, budget: PageBudget) -> str | None:
    """Return an object or array in JSON with one value per line, ``None`` for any other text.

    Numbers, duplicate keys and the order of keys are kept as written. Escapes such as
    ``\\u00e9`` are replaced by their characters.
    """
    if not _is_candidate(text) or not budget.take_json(len(text)):
        return None
    try:
        formatted = msgspec.json.format(text, indent=INDENT)
    except (msgspec.DecodeError, RecursionError):
        return None
    return _STRING.sub(_unescape, formatted) if "\\u" in formatted else formatted


def _is_candidate(text: str) -> bool:
    if len(text) > MAX_JSON_BYTES or text.lstrip()[:1] not in ("{", "["):
        return False
    if not text.isascii() and len(text.encode()) > MAX_JSON_BYTES:
        return False
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(map(_LEVELS.__getitem__, brackets)), default=0) <= MAX_JSON_DEPTH


def _unescape(match: re.Match[str]) -> str:
    """Return a string of JSON with the fewest escapes, unchanged if it has lone surrogates."""
    literal = match[0]
    if "\\u" not in literal:
        return literal
    text = json.dumps(json.loads(literal), ensure_ascii=False)
    return literal if any("\ud800" <= char <= "\udfff" for char in text) else text
