"""What a database of the crate can be asked, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import TABLES
from weavegraph_checkpoints.interchange.rows import SourceHead, SourceStep

ROWS_A_PAGE = 500
FIRST_PAGE = 16
BYTES_A_PAGE = 8 * 1024 * 1024


class Source(Protocol):
    """A database of the crate. Each method may raise ``InterchangeError``."""

    name: str
    """How messages call it; never with a password."""

    def extent(self) -> tuple[int, int]:
        """Return how many sessions and steps there are."""

    def session_ids(self) -> Iterator[object]:
        """Yield the id of each session, as it stands there."""

    def orphan_ids(self) -> Iterator[object]:
        """Yield the ids that steps have and no session has."""

    def head(self, session_id: str) -> SourceHead | None:
        """Return the row of a session, if it is there."""

    def odd_steps(self, session_id: str) -> list[object]:
        """Return the numbers of steps that no step can have."""

    def steps(self, session_id: str) -> Iterator[list[SourceStep]]:
        """Yield the steps of a session, newest first, in pages of bounded size."""

    def snapshot(self, session_id: str) -> SourceStep | None:
        """Return the step that the row of a session holds, if it holds one."""


def check_schema(name: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Raise ``InterchangeError`` unless the crate's tables and columns are there."""
    for table, wanted in TABLES.items():
        found = columns.get(table, ())
        if not found:
            raise InterchangeError(f"{name} is no database of weavegraph: no table {table!r}")
        missing = [column for column in wanted if column not in found]
        if missing:
            raise InterchangeError(
                f"{name} is no database of weavegraph 0.7: the table {table!r} has no column "
                f"{', '.join(map(repr, missing))}"
            )


def next_page_size(largest: int) -> int:
    """Return how many rows to read at a time where the largest was of that size."""
    return max(1, min(ROWS_A_PAGE, BYTES_A_PAGE // max(1, largest)))


def ascending(previous: object, following: object, name: str) -> None:
    """Raise ``InterchangeError`` where rows do not come in order: an index is damaged."""
    if not following > previous:  # type: ignore[operator]
        raise InterchangeError(f"{name} is damaged: its rows are out of order")
