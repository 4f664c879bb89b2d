"""Splices: what is kept at both ends of a JSON text, and the text between."""

from __future__ import annotations

from weavegraph_checkpoints.serde.deltas.sequences import (
    common_prefix_length,
    common_suffix_length,
)

_BACKSLASH = ord("\\")


def find_splice(base: bytes, new: bytes) -> tuple[int, int, str]:
    """Return how many bytes are kept at the start and at the end, and the text between.

    The texts are cut between characters, and never inside an escape sequence.
    """
    start = common_prefix_length(base, new)
    while _is_inside_character(base, start) or _is_inside_character(new, start):
        start -= 1
    start = min(_escape_start(base, start), _escape_start(new, start))
    end = common_suffix_length(base[start:], new[start:])
    while end and (_is_cut(base, len(base) - end) or _is_cut(new, len(new) - end)):
        end -= 1
    return start, end, new[start : len(new) - end].decode()


def _is_cut(text: bytes, position: int) -> bool:
    return _is_inside_character(text, position) or _escape_start(text, position) != position


def _is_inside_character(text: bytes, position: int) -> bool:
    return position < len(text) and text[position] & 0xC0 == 0x80


def _escape_start(text: bytes, position: int) -> int:
    """Return the start of the escape sequence around a position, or the position itself."""
    backslash = text.rfind(b"\\", max(0, position - 5), position)
    if backslash < 0:
        return position
    first = backslash
    while first and text[first - 1] == _BACKSLASH:
        first -= 1
    if (backslash - first) % 2:
        return position
    length = 6 if text[backslash + 1 : backslash + 2] == b"u" else 2
    return backslash if backslash + length > position else position


class SplicedText:
    """A text under a chain of splices, as pieces; a splice costs its distance to the last one.

    The pieces before the last splice are a stack, so are those after it.
    """

    __slots__ = ("_after", "_before", "_bytes_after", "_bytes_before")

    def __init__(self, text: bytes) -> None:
        self._before: list[memoryview] = []
        self._after = [memoryview(text)]
        self._bytes_before = 0
        self._bytes_after = len(text)

    def copy(self) -> SplicedText:
        """Return a text that can be changed without changing this one."""
        other = SplicedText(b"")
        other._before, other._after = [*self._before], [*self._after]
        other._bytes_before, other._bytes_after = self._bytes_before, self._bytes_after
        return other

    def __len__(self) -> int:
        return self._bytes_before + self._bytes_after

    @property
    def first_byte(self) -> int | None:
        """Its first byte, or ``None`` if it is empty."""
        if not self:
            return None
        first: int = (self._before or self._after[-1:])[0][0]
        return first

    def pieces(self) -> list[memoryview]:
        """Return the pieces that make up the text."""
        return [*self._before, *reversed(self._after)]

    def splice(self, start: int, end: int, text: bytes) -> None:
        """Keep ``start`` and ``end`` bytes, and put ``text`` between them."""
        if start != self._bytes_before:
            self._move_to(start)
        while self._bytes_after > end:
            piece = self._after.pop()
            self._bytes_after -= len(piece)
            if self._bytes_after < end:
                kept = end - self._bytes_after
                self._after.append(piece[len(piece) - kept :])
                self._bytes_after = end
        if text:
            self._before.append(memoryview(text))
            self._bytes_before += len(text)

    def _move_to(self, start: int) -> None:
        while self._bytes_before > start:
            piece = self._before.pop()
            self._bytes_before -= len(piece)
            kept = max(0, start - self._bytes_before)
            self._push_before(piece[:kept])
            self._push_after(piece[kept:])
        while self._bytes_before < start:
            piece = self._after.pop()
            self._bytes_after -= len(piece)
            kept = start - self._bytes_before
            self._push_before(piece[:kept])
            self._push_after(piece[kept:])

    def _push_before(self, piece: memoryview) -> None:
        if piece:
            self._before.append(piece)
            self._bytes_before += len(piece)

    def _push_after(self, piece: memoryview) -> None:
        if piece:
            self._after.append(piece)
            self._bytes_after += len(piece)
