"""A SQLite file of the crate, also while the crate writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import TABLES
from weavegraph_checkpoints.interchange.rows import SourceHead, SourceStep
from weavegraph_checkpoints.interchange.sources import (
    BYTES_A_PAGE,
    ROWS_A_PAGE,
    ascending,
    check_schema,
)

TIMEOUT_SECONDS = 30.0
"""How long to wait for a writer that has the file to itself."""

IDS_A_PAGE = 1000
# The module decodes names and messages itself, which may be damaged too.
_UNREADABLE = (sqlite3.Error, OverflowError, UnicodeDecodeError)
_NOT_MADE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_STEP = (
    "step, created_at, state_json, frontier_json, versions_seen_json, ran_nodes_json,"
    " skipped_nodes_json, updated_channels_json"
)


@contextmanager
def open_sqlite(location: str) -> Iterator[SQLiteSource]:
    """Open a file read-only; a file that is not there is not made."""
    path = Path(location)
    if not path.is_file():
        raise InterchangeError(f"there is no file {location!r}")
    with closing(_connect(path, repr(location))) as connection:
        source = SQLiteSource(connection, repr(location))
        source.check()
        yield source


def _connect(path: Path, name: str) -> sqlite3.Connection:
    """Connect to a file that is there.

    A file in WAL mode needs others beside it. Where they are not there and cannot be
    made, nobody writes, and the file is read as it is.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _opened(uri)
    except _UNREADABLE as error:
        beside = [path.with_name(f"{path.name}-{each}") for each in ("wal", "journal")]
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NOT_MADE and not any(e.exists() for e in beside):
            return _opened(f"{uri}&immutable=1")
        raise InterchangeError(f"{name} cannot be opened: {error}") from error


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS, isolation_level=None)
    connection.text_factory = bytes
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except _UNREADABLE:
        connection.close()
        raise
    return connection


class SQLiteSource:
    """See ``Source``. Each read is short, so that a writer does not wait for it.

    Text is read as bytes: what is not UTF-8 concerns its row alone.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    def check(self) -> None:
        """Raise ``InterchangeError`` for another schema, or a damaged file."""
        columns = {
            table: [
                name.decode(errors="replace")
                for (name,) in self._all("SELECT name FROM pragma_table_info(?)", table)
            ]
            for table in TABLES
        }
        check_schema(self.name, columns)
        ((verdict,),) = self._all("PRAGMA integrity_check(1)")
        if verdict != b"ok":
            raise InterchangeError(
                f"{self.name} is damaged: {verdict.decode(errors='replace')}; save what can be "
                "saved with the command .recover of the program sqlite3"
            )

    def extent(self) -> tuple[int, int]:
        """See ``Source.extent``."""
        ((sessions, steps),) = self._all(
            "SELECT (SELECT COUNT(*) FROM sessions), (SELECT COUNT(*) FROM steps)"
        )
        return sessions, steps

    def session_ids(self) -> Iterator[object]:
        """See ``Source.session_ids``."""
        row_id = -(2**63)
        sql = (
            "SELECT rowid, typeof(id) = 'text', id FROM sessions WHERE rowid > ?"
            f" ORDER BY rowid LIMIT {IDS_A_PAGE}"
        )
        while page := self._all(sql, row_id):
            for following, is_text, session_id in page:
                ascending(row_id, following, self.name)
                row_id = following
                yield session_id if is_text else (session_id,)

    def orphan_ids(self) -> Iterator[object]:
        """See ``Source.orphan_ids``."""
        rows = self._all(
            "SELECT DISTINCT session_id FROM steps WHERE NOT EXISTS"
            " (SELECT 1 FROM sessions WHERE id = session_id)"
        )
        return (session_id for (session_id,) in rows)

    def head(self, session_id: str) -> SourceHead | None:
        """See ``Source.head``."""
        rows = self._all(
            "SELECT created_at, updated_at, concurrency_limit FROM sessions WHERE id = ?",
            session_id,
        )
        return SourceHead(*rows[0]) if rows else None

    def odd_steps(self, session_id: str) -> list[object]:
        """See ``Source.odd_steps``."""
        rows = self._all(
            "SELECT step FROM steps WHERE session_id = ?"
            " AND (typeof(step) <> 'integer' OR step < 0)",
            session_id,
        )
        return [step for (step,) in rows]

    def steps(self, session_id: str) -> Iterator[list[SourceStep]]:
        """See ``Source.steps``."""
        newest = 2**63 - 1
        while newest >= 0 and (page := self._page(session_id, newest)):
            yield page
            newest = page[-1].step - 1

    def _page(self, session_id: str, newest: int) -> list[SourceStep]:
        page: list[SourceStep] = []
        size = 0
        rows = self._rows(
            f"SELECT {_STEP} FROM steps WHERE session_id = ? AND step BETWEEN 0 AND ?"
            " AND typeof(step) = 'integer' ORDER BY step DESC",
            session_id,
            newest,
        )
        for row in rows:
            step = SourceStep(*row)
            ascending(step.step, page[-1].step if page else newest + 1, self.name)
            page.append(step)
            size += step.size
            if len(page) == ROWS_A_PAGE or size >= BYTES_A_PAGE:
                rows.close()
                break
        return page

    def snapshot(self, session_id: str) -> SourceStep | None:
        """See ``Source.snapshot``."""
        rows = self._all(
            "SELECT last_step, updated_at, last_state_json, last_frontier_json,"
            " last_versions_seen_json, '[]', '[]', NULL FROM sessions"
            " WHERE id = ? AND last_state_json IS NOT NULL",
            session_id,
        )
        return SourceStep(*rows[0]) if rows else None

    def _all(self, sql: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        return list(self._rows(sql, *parameters))

    def _rows(self, sql: str, *parameters: object) -> Generator[tuple[Any, ...], None, None]:
        """Yield rows; closing it ends the read."""
        try:
            cursor = self.connection.execute(sql, parameters)
            try:
                yield from cursor
            finally:
                cursor.close()
        except _UNREADABLE as error:
            raise InterchangeError(f"{self.name} cannot be read: {error}") from error
