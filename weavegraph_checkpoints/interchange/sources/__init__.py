"""Databases of the crate, opened read-only for an import."""

from __future__ import annotations

from contextlib import AbstractContextManager

from weavegraph_checkpoints.interchange.sources.base import Source
from weavegraph_checkpoints.interchange.sources.postgresql import open_postgresql
from weavegraph_checkpoints.interchange.sources.sqlite import open_sqlite

__all__ = ["Source", "open_source"]


def open_source(location: str) -> AbstractContextManager[Source]:
    """Open a database of the crate read-only, as a context manager.

    ``location`` is the path of a SQLite file or a ``postgresql://`` URL. Raises
    ``InterchangeError`` if it cannot be opened, is damaged, or lacks the crate's tables.
    """
    is_url = location.startswith(("postgres://", "postgresql://"))
    return open_postgresql(location) if is_url else open_sqlite(location)
