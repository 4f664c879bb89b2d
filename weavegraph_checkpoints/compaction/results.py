"""The result of a compaction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionResult:
    """What a compaction did, or what a dry run counted."""

    checked: int = 0
    """Steps that were checked."""
    rewritten: int = 0
    """Steps that were stored in the other form."""
    refused: int = 0
    """Steps that would not read back as they are stored, and so were left alone.

    They cannot be decoded, or have keys that a state does not have.
    """
    saved_bytes: int = 0
    """By how much the JSON of steps and keyframes shrank; negative if it grew."""

    def __add__(self, other: CompactionResult) -> CompactionResult:
        return CompactionResult(
            checked=self.checked + other.checked,
            rewritten=self.rewritten + other.rewritten,
            refused=self.refused + other.refused,
            saved_bytes=self.saved_bytes + other.saved_bytes,
        )
