"""Databases of the crate, opened read-only for an import."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.files import stat_file
from weavegraph_checkpoints.interchange.sources.base import Source
from weavegraph_checkpoints.interchange.sources.postgresql import open_postgresql
from weavegraph_checkpoints.interchange.sources.sqlite import open_sqlite

__all__ = ["Source", "open_source"]

_URL = re.compile(r"\s*([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)


def open_source(location: str) -> AbstractContextManager[Source]:
    """Open a database of the crate read-only, as a context manager.

    ``location`` is the path of a SQLite file or a ``postgresql://`` URL. Raises
    ``InterchangeError`` if it cannot be opened, is damaged, or lacks the crate's tables.
    Messages do not show the credentials of a URL.
    """
    url = _URL.match(location)
    if url is None or stat_file(Path(location), repr(location)) is not None:
        return open_sqlite(location)
    scheme = url[1].lower()
    if scheme not in ("postgres", "postgresql"):
        raise InterchangeError(
            f"a URL {scheme}:// is not supported: give the path of a SQLite file, or a URL "
            "postgresql://user@host/name"
        )
    return open_postgresql(f"postgresql://{url[2]}")
