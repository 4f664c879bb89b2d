"""Put states that are stored as changes together, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from weavegraph_checkpoints.backends.base import Backend
from weavegraph_checkpoints.backends.chains import ChainMemory, memory, read_bases
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde.deltas import FoldedState, is_delta

MAX_READS = 10
"""How often a row is read that others replace in the meantime."""

Row = TypeVar("Row")
Result = TypeVar("Result")


class StateReader:
    """Puts states together on one connection, with what is ``remembered`` of their chains."""

    def __init__(self, backend: Backend, remembered: ChainMemory = memory) -> None:
        self._backend = backend
        self._remembered = remembered

    def fold(self, session_id: str, base_id: int | None, document: bytes | str) -> FoldedState:
        """Return the state of a document that contains only changes.

        One query if its keyframes are not known. Raise ``SerializationError`` with the path if
        one is missing or damaged, or the document is.
        """
        base_ids = [] if base_id is None else [base_id]
        bases = read_bases(self._backend, session_id, base_ids, self._remembered)
        return bases.get(base_id).folded.apply(document)

    def build_json(self, session_id: str, base_id: int | None, document: bytes) -> bytes:
        """Return the JSON of the whole state of a document, which may be whole already."""
        if not is_delta(document):
            return document
        return self.fold(session_id, base_id, document).to_json()


def retry_changed(
    row: Row, build: Callable[[Row], Result], read_again: Callable[[Row], Row | None]
) -> Result | None:
    """Return what ``build`` makes of a row; ``None`` if the row was deleted meanwhile.

    Others may replace or delete a row and its keyframes after it was read: an error of a row
    that has changed since is not raised, and the new one is tried.
    """
    for _ in range(MAX_READS):
        try:
            return build(row)
        except SerializationError:
            found = read_again(row)
            if found is None:
                return None
            if found == row:
                raise
            row = found
    return build(row)
