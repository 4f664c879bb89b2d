"""Read a SQLite file of the crate, even while the crate writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import SQLITE_COLUMNS, SQLITE_TABLE, check_schema
from weavegraph_checkpoints.interchange.files import hide_credentials, stat_file
from weavegraph_checkpoints.interchange.sources.base import Row, Source

TIMEOUT_SECONDS = 30.0
"""How long to wait for a writer that holds an exclusive lock."""

OPERATIONS_BETWEEN_SIGNALS = 100_000
"""How many operations of SQLite's virtual machine run before Ctrl-C can end a statement."""

# sqlite3 decodes column names and messages itself, and these may be damaged too.
_READ_ERRORS = (sqlite3.Error, OverflowError, UnicodeDecodeError)
_READ_ONLY_CODES = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@contextmanager
def open_sqlite(location: str) -> Iterator[Source]:
    """Open an existing file read-only. Raises ``InterchangeError``."""
    path = Path(location)
    if stat_file(path, repr(location)) is None:
        raise InterchangeError(f"there is no file {hide_credentials(location)}")
    with closing(_connect(path, repr(location))) as connection:
        source = SQLiteSource(connection, repr(location))
        source.check()
        yield source


def _connect(path: Path, name: str) -> sqlite3.Connection:
    """Connect to an existing file.

    SQLite needs a ``-shm`` file for a database in WAL mode. If it can create none and no
    ``-wal`` or ``-journal`` exists, nobody writes: open the file as immutable.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _connect_uri(uri)
    except _READ_ERRORS as error:
        logs = [path.with_name(f"{path.name}-{suffix}") for suffix in ("wal", "journal")]
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _READ_ONLY_CODES and not any(log.exists() for log in logs):
            return _connect_uri(f"{uri}&immutable=1")
        raise InterchangeError(f"{name} cannot be opened: {error}") from error


def _connect_uri(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS, isolation_level=None)
    connection.text_factory = bytes
    # SQLite calls a function of Python, in which Python handles signals.
    connection.set_progress_handler(lambda: None, OPERATIONS_BETWEEN_SIGNALS)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except _READ_ERRORS:
        connection.close()
        raise
    return connection


class SQLiteSource(Source):
    """Reads text as bytes, so that invalid UTF-8 affects its row alone."""

    session_key = "rowid"
    id_is_text = "typeof(id) = 'text'"
    step_is_invalid = "typeof(step) <> 'integer' OR step < 0"

    def check(self) -> None:
        """Raise ``InterchangeError`` for another schema, or a damaged file."""
        check_schema(self.name, self.fetch_all, SQLITE_TABLE, SQLITE_COLUMNS)
        ((verdict,),) = self.fetch_all("PRAGMA integrity_check(1)")
        if verdict != b"ok":
            raise InterchangeError(
                f"{self.name} is damaged: {verdict.decode(errors='replace')}; recover what you "
                "can with the .recover command of the sqlite3 program"
            )

    def fetch_all(self, sql: str, *parameters: object) -> list[Row]:
        """See ``Source.fetch_all``."""
        return list(self.iter_rows(sql, *parameters))

    def iter_rows(self, sql: str, *parameters: object) -> Generator[Row, None, None]:
        """See ``Source.iter_rows``."""
        try:
            with closing(self.connection.execute(sql, parameters)) as cursor:
                yield from cursor
        except _READ_ERRORS as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise KeyboardInterrupt from error
            raise InterchangeError(f"{self.name} cannot be read: {error}") from error
