"""Escape characters that a terminal or a page does not show, or that reorder the text around them.

Each is replaced by its JSON escape, such as ``\\u202e``.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import lru_cache

_ISOLATES = "\u2066\u2067\u2068\u2069"
_ISOLATE = re.compile(f"[{_ISOLATES}]")
_DIRECTION_CHARS = re.compile("[\0\x1c-\x1e\x85\u2029\u202a-\u202e\u2066-\u2069]")
_ALWAYS_ESCAPED = "\0\x1c\x1d\x1e\x85\u2029\u202d\u202e"
_CONTROL_CHARS = re.compile(f"[{_ALWAYS_ESCAPED}\u2066-\u2069]")
MAX_ISOLATES = 1_000
"""Isolates in a text among which the closed ones are found."""


def escape_unprintable(text: str) -> str:
    """Escape everything that is not printable, line breaks included."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def quote_shell_word(text: str) -> str:
    """Quote ``text`` for a POSIX shell, and escape everything that is not printable for bash."""
    if text.isprintable():
        return shlex.quote(text)
    text = text.replace("\\", r"\\").replace("'", r"\'")
    chars = (char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
    return f"$'{''.join(chars)}'"


def escape_direction_chars(text: str) -> str:
    """Escape what a browser drops, and all characters that set a direction or end a paragraph.

    For text that a page shows within a sentence, such as the id of a session.
    """
    return _DIRECTION_CHARS.sub(lambda match: _escape(match[0]), text)


def escape_control_chars(text: str) -> str:
    """Escape what a browser drops, and what reorders the page around the text.

    These are U+0000, paragraph separators, direction overrides, and isolates that are not
    closed within the text. Line breaks, tabs, embeddings and closed isolates are kept, but of
    more than ``MAX_ISOLATES`` isolates none is.
    """
    if not _CONTROL_CHARS.search(text):
        return text
    isolates = [char for char in _ISOLATES if char in text]
    keeps_closed = sum(map(text.count, isolates)) <= MAX_ISOLATES
    for char in _ALWAYS_ESCAPED if keeps_closed else (*_ALWAYS_ESCAPED, *isolates):
        text = text.replace(char, _escape(char))
    if not (isolates and keeps_closed):
        return text
    closed = _find_closed_isolates(text)
    return _ISOLATE.sub(
        lambda match: match[0] if match.start() in closed else _escape(match[0]), text
    )


def _find_closed_isolates(text: str) -> set[int]:
    """Return the positions of the isolates that are closed, and of what closes them."""
    opened: list[int] = []
    closed: set[int] = set()
    for match in _ISOLATE.finditer(text):
        if match[0] != "\u2069":
            opened.append(match.start())
        elif opened:
            closed |= {opened.pop(), match.start()}
    return closed


@lru_cache(maxsize=256)
def _escape(char: str) -> str:
    return json.dumps(char)[1:-1]
