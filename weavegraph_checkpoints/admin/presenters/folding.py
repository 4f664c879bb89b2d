"""The beginning of a long text, and the rest of it to unfold."""

from __future__ import annotations

import re
from typing import NamedTuple

from weavegraph_checkpoints.admin.presenters.budget import PageBudget

_LINE_BREAK = re.compile(r"\r\n?|\n")


class TextPart(NamedTuple):
    """A text, escaped."""

    text: str
    omitted: int
    """Number of characters at its end that are not shown."""


class FoldedText(NamedTuple):
    """A text whose ``rest`` is folded if it is long."""

    beginning: TextPart
    rest: TextPart | None
    """``None`` if ``beginning`` is the whole text, or if the rest is only counted."""
    rest_lines: int
    """Number of lines of the rest, 0 if it is part of the last line of ``beginning``."""
    rest_length: int
    """Number of characters of the rest."""


def fold_text(
    text: str, *, max_lines: int, max_bytes: int, has_rest: bool = True, budget: PageBudget
) -> FoldedText:
    """Return a text, with what follows ``max_lines`` lines or ``max_bytes`` bytes folded.

    A line that is too long ends after a space, if there is one near. Without ``has_rest``, the
    rest is only counted.
    """
    end, start = _find_fold(text, max_lines, max_bytes)
    rest = text[start:]
    beginning = TextPart(*budget.truncate(text[:end]))
    if not rest:
        return FoldedText(beginning, None, 0, 0)
    breaks = rest.count("\n") + rest.count("\r") - rest.count("\r\n")
    has_lines = start > end or breaks > 0
    lines = breaks + (not rest.endswith(("\n", "\r"))) if has_lines else 0
    folded = TextPart(*budget.truncate(rest)) if has_rest else None
    return FoldedText(beginning, folded, lines, len(rest))


def _find_fold(text: str, max_lines: int, max_bytes: int) -> tuple[int, int]:
    """Return where the beginning of a text ends, and where the rest of it starts."""
    end = start = len(text)
    for number, found in enumerate(_LINE_BREAK.finditer(text), 1):
        if number == max_lines:
            end, start = found.span()
            break
    beginning = text[: min(end, max_bytes)]
    size = beginning.encode()
    if len(size) <= max_bytes and len(beginning) == end:
        return (end, start) if text[start:].strip() else (len(text), len(text))
    shown = size[:max_bytes].decode(errors="ignore")
    space = max(shown.rfind(mark, len(shown) // 2) for mark in " \t\n\r")
    cut = len(shown) if space < 0 else space + 1
    return cut, cut
