"""Write SQLite files that the crate opens."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.backends.rows import SessionRow
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import (
    CRATE_TRIGGER,
    SCHEMA,
    SQLITE_COLUMNS,
    SQLITE_TABLE,
    STEP_COLUMNS,
    CrateStep,
    check_schema,
    format_timestamp,
)
from weavegraph_checkpoints.interchange.files import stat_file

APPLICATION_ID = 0x57474358
"""``WGCX``: marks a file as created by an export; the crate ignores it."""

TIMEOUT_SECONDS = 30.0
STEPS_BATCH_SIZE = 400

_MAGIC = b"SQLite format 3\0"
_STEP_COLUMNS = "step, " + ", ".join(STEP_COLUMNS[2:])


class TargetSession(NamedTuple):
    """A session in a file, with all its steps."""

    updated_at: str
    newest_step: int | None


@contextmanager
def open_target(location: str) -> Iterator[Target]:
    """Open a file that an export created, or create one.

    Raises ``InterchangeError`` for any other file, and leaves it unchanged.
    """
    path = Path(location)
    name = repr(location)
    if stat_file(path, name) is not None:
        _check_application_id(path, name)
    else:
        _create(path, name)
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise InterchangeError(f"{name} cannot be opened: {error}") from error
    with closing(connection):
        target = Target(connection, name)
        target.check()
        yield target


def _check_application_id(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise InterchangeError(f"{name} cannot be opened: {error.strerror}") from error
    application_id = int.from_bytes(header[68:72], "big")
    if not header.startswith(_MAGIC) or application_id != APPLICATION_ID:
        raise InterchangeError(f"{name} already exists and was not created by an export")


def _create(path: Path, name: str) -> None:
    """Create a file with empty tables under a temporary name, then rename it."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as directory:
            new = Path(directory) / "new.sqlite3"
            with closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for statement in SCHEMA:
                    connection.execute(statement)
            _rename(new, path)
    except FileExistsError:
        raise InterchangeError(f"{name} already exists and was not created by an export") from None
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InterchangeError(f"{name} cannot be created: {reason}") from error


def _rename(new: Path, path: Path) -> None:
    """Rename a file, but never replace another: raise ``FileExistsError``."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:
        # The file system has no hard links.
        if path.exists():
            raise FileExistsError from None
        new.rename(path)


class Target:
    """A SQLite file with the tables of the crate. Methods may raise ``InterchangeError``.

    A session gets its row in ``sessions`` after its last step: until then the crate does
    not see it.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    def check(self) -> None:
        """Raise ``InterchangeError`` for another schema, or a trigger that may alter steps."""
        check_schema(self.name, self._fetch_all, SQLITE_TABLE, SQLITE_COLUMNS)
        triggers = self._fetch_all(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name <> ?", CRATE_TRIGGER
        )
        if triggers:
            names = ", ".join(repr(name) for (name,) in triggers)
            raise InterchangeError(f"{self.name} has a trigger that is not the crate's: {names}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements of the block together, or none of them."""
        self._execute("BEGIN IMMEDIATE", [()])
        try:
            yield
            self._execute("COMMIT", [()])
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def get_session(self, session_id: str) -> TargetSession | None:
        """Return a session, or ``None`` if the file does not have it with all its steps."""
        rows = self._fetch_all(
            "SELECT updated_at, (SELECT MAX(step) FROM steps WHERE session_id = id)"
            " FROM sessions WHERE id = ?",
            session_id,
        )
        return TargetSession(*rows[0]) if rows else None

    def count_steps(self, session_id: str) -> int:
        """Return how many steps of a session the file has."""
        rows = self._fetch_all("SELECT COUNT(*) FROM steps WHERE session_id = ?", session_id)
        return int(rows[0][0])

    def get_steps(self, session_id: str, steps: Iterable[int]) -> dict[int, CrateStep]:
        """Return those of the given steps that the file has, by number."""
        found: dict[int, CrateStep] = {}
        for batch in batched(steps, STEPS_BATCH_SIZE):
            placeholders = ", ".join("?" * len(batch))
            rows = self._fetch_all(
                f"SELECT {_STEP_COLUMNS} FROM steps"
                f" WHERE session_id = ? AND step IN ({placeholders})",
                session_id,
                *batch,
            )
            found |= {row[0]: CrateStep(*row) for row in rows}
        return found

    def insert_steps(self, session_id: str, steps: Iterable[CrateStep]) -> None:
        """Insert steps that the file does not have."""
        placeholders = ", ".join("?" * len(STEP_COLUMNS))
        self._execute(
            f"INSERT INTO steps (session_id, {_STEP_COLUMNS}) VALUES ({placeholders})",
            [(session_id, *step) for step in steps],
        )

    def save_session(self, session: SessionRow, updated_at: str) -> None:
        """Insert a session, or set its ``updated_at``; its snapshot is that of its newest step.

        The crate's trigger takes the snapshot from the step that was inserted last.
        """
        key = session.session_id
        self._execute(
            "INSERT INTO sessions (id, created_at, updated_at, concurrency_limit)"
            " VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at",
            [(key, format_timestamp(session.created_at), updated_at, session.concurrency_limit)],
        )
        self._execute(
            "UPDATE sessions SET (last_step, last_state_json, last_frontier_json,"
            " last_versions_seen_json) = (SELECT step, state_json, frontier_json,"
            " versions_seen_json FROM steps WHERE session_id = ? ORDER BY step DESC LIMIT 1)"
            " WHERE id = ? AND EXISTS (SELECT 1 FROM steps WHERE session_id = ?)",
            [(key, key, key)],
        )

    def _fetch_all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise InterchangeError(f"{self.name} cannot be read: {error}") from error

    def _execute(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of parameters."""
        try:
            for row in rows:
                self.connection.execute(sql, row)
        except sqlite3.Error as error:
            raise InterchangeError(f"{self.name} cannot be written: {error}") from error
