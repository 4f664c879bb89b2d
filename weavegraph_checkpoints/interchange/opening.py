"""Opens a database that the crate wrote, to be read and nothing else."""

from __future__ import annotations

from contextlib import AbstractContextManager

from weavegraph_checkpoints.interchange.postgres_source import open_postgres
from weavegraph_checkpoints.interchange.sources import Source
from weavegraph_checkpoints.interchange.sqlite_source import open_sqlite


def open_source(location: str) -> AbstractContextManager[Source]:
    """Open a SQLite file, or a PostgreSQL database by its URL, for reading alone.

    Raises ``InterchangeError`` for what is not a database of the crate.
    """
    is_url = location.startswith(("postgres://", "postgresql://"))
    return open_postgres(location) if is_url else open_sqlite(location)
