"""The messages of a state while deltas are applied to it."""

from __future__ import annotations

from typing import Any

from weavegraph_checkpoints.domain.state import Message
from weavegraph_checkpoints.serde.deltas.sequences import find_appended, find_edits, rebuild
from weavegraph_checkpoints.serde.deltas.sizes import count_items_bytes


class FoldedMessages:
    """Messages to which deltas are applied; those of the base are copied for the first edit."""

    __slots__ = ("_base", "_items", "_size", "json_bytes")

    def __init__(self, base: tuple[Message, ...], json_bytes: int | None) -> None:
        self._base: tuple[Message, ...] | None = base
        self._items: list[Message] = []
        self._size = len(base)
        self.json_bytes = json_bytes
        """The length of the JSON of each message, together, if it is known."""

    def apply(self, items: tuple[Any, ...], path: str) -> None:
        """Apply the items of a delta. Raise ``SerializationError`` if they do not fit."""
        appended = find_appended(items, self._size)
        if appended is None:
            self._edit(items, path)
            self._size = len(self._items)
            return
        self._items += appended
        self._size += len(appended)
        if self.json_bytes is not None:
            self.json_bytes += count_items_bytes(appended)

    def _edit(self, items: tuple[Any, ...], path: str) -> None:
        edits = find_edits(items, self._size, path)
        messages = [*self._base, *self._items] if self._base else self._items
        self._base, self._items = None, messages
        if edits is None:
            self._items = rebuild(messages, items)
            self.json_bytes = None
            return
        # From the end, so that the positions of the edits before it stay right.
        for start, stop, new in reversed(edits):
            if self.json_bytes is not None:
                self.json_bytes += count_items_bytes(new) - count_items_bytes(messages[start:stop])
            messages[start:stop] = new

    def get_appended(self) -> tuple[Message, ...] | None:
        """Return what was appended to the base, or ``None`` if anything else was changed."""
        return None if self._base is None else tuple(self._items)

    def build(self) -> tuple[Message, ...]:
        """Return all messages."""
        return (self._base or ()) + tuple(self._items)
