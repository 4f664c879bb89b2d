"""The limits of one page: lines, bytes of text and comparisons, shared by all its parts."""

from __future__ import annotations

from django.utils.html import escape

from weavegraph_checkpoints.domain.diff import DiffBudget
from weavegraph_checkpoints.domain.escaping import escape_control_chars

MAX_LINES = 4_000
"""Lines of values, runs of text, errors and causes: about 0.3 s of work."""
MAX_BYTES = 4_000_000
"""Bytes of text, as HTML."""
MAX_PAIRS = 2_000_000
"""Pairs of equal words, lines or messages that ``difflib`` visits: about 0.3 s of work."""
MAX_JSON_BYTES = 1_000_000
"""Bytes of texts that are parsed to format them as JSON: about 0.1 s of work."""
MAX_CHAR_BYTES = 6
"""Bytes of a character as HTML, such as ``&quot;`` or an escaped control character."""


class PageBudget:
    """What one page may still show and compute.

    Create one per request, and give it to every presenter. Once it is exhausted, values are
    truncated, left out or compared as a whole, and ``is_exceeded`` is true.
    """

    def __init__(
        self, *, lines: int = MAX_LINES, size: int = MAX_BYTES, pairs: int = MAX_PAIRS
    ) -> None:
        self.lines = lines
        """Lines that are left."""
        self.bytes = size
        """Bytes of text that are left."""
        self.pairs = pairs
        """Pairs of equal words, lines or messages that are left."""
        self.json_bytes = MAX_JSON_BYTES
        """Bytes of texts that may still be formatted as JSON."""
        self.diff = DiffBudget()
        """Comparisons of values that are left."""
        self._is_exceeded = False

    @property
    def is_exceeded(self) -> bool:
        """Whether the page shows less than it would without limits."""
        return self._is_exceeded or self.diff.is_exceeded or self.diff.is_exhausted

    def take_lines(self, count: int = 1) -> bool:
        """Spend lines if that many are left; return whether they were."""
        return self._take("lines", count)

    def take_pairs(self, count: int) -> bool:
        """Spend pairs if that many are left; return whether they were."""
        return self._take("pairs", count)

    def take_json(self, size: int) -> bool:
        """Spend bytes to format if that many are left; nothing is left out otherwise."""
        if size > self.json_bytes:
            return False
        self.json_bytes -= size
        return True

    def take_text(self, text: str) -> bool:
        """Spend the bytes of a text if that many are left; return whether they were."""
        return self._take("bytes", get_html_size(text))

    def truncate(self, text: str, length: int | None = None) -> tuple[str, int]:
        """Return the beginning of a text, escaped, and the number of omitted characters.

        Return up to ``length`` characters, or fewer if not as many bytes are left.
        """
        limit = min(len(text) if length is None else length, self.bytes)
        shown = escape_control_chars(text[:limit])
        if not self.take_text(shown):
            limit = self.bytes // MAX_CHAR_BYTES
            shown = escape_control_chars(text[:limit])
            self.take_text(shown)
        return shown, max(0, len(text) - limit)

    def _take(self, name: str, count: int) -> bool:
        left = getattr(self, name) - count
        if left < 0:
            self._is_exceeded = True
            return False
        setattr(self, name, left)
        return True


def get_html_size(text: str) -> int:
    """Return the number of bytes of a text as HTML."""
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return size + sum(text.count(char) * (len(escape(char)) - 1) for char in "<>&'\"")
