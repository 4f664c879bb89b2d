"""A SQLite file with the tables of the crate, which exports fill."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import SCHEMA, STEP_COLUMNS, TABLES
from weavegraph_checkpoints.interchange.rows import TargetStep
from weavegraph_checkpoints.interchange.sources import check_schema

APPLICATION_ID = 0x57474358
"""``WGCX``, in the header of a file that an export began; the crate does not look at it."""

TIMEOUT_SECONDS = 30.0
STEPS_A_STATEMENT = 400

_MAGIC = b"SQLite format 3\0"
_STEP = "step, " + ", ".join(STEP_COLUMNS[2:])


class TargetSession(NamedTuple):
    """A session that a file holds with all its steps."""

    updated_at: str
    newest: int | None


@contextmanager
def open_target(location: str) -> Iterator[Target]:
    """Open a file that an export began, or begin one.

    Raises ``InterchangeError`` for any other file, which is not touched.
    """
    path = Path(location)
    if path.exists():
        _check_mark(path, repr(location))
    else:
        _begin(path, repr(location))
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise InterchangeError(f"{location!r} cannot be opened: {error}") from error
    with closing(connection):
        target = Target(connection, repr(location))
        target.check()
        yield target


def _check_mark(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise InterchangeError(f"{name} cannot be opened: {error.strerror}") from error
    mark = int.from_bytes(header[68:72], "big")
    if not header.startswith(_MAGIC) or mark != APPLICATION_ID:
        raise InterchangeError(f"{name} is there already, and no export began it")


def _begin(path: Path, name: str) -> None:
    """Make a file with empty tables, whole or not at all."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as directory:
            new = Path(directory) / "new.sqlite3"
            with closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for statement in SCHEMA:
                    connection.execute(statement)
            _put(new, path)
    except FileExistsError:
        raise InterchangeError(f"{name} is there already, and no export began it") from None
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InterchangeError(f"{name} cannot be made: {reason}") from error


def _put(new: Path, path: Path) -> None:
    """Give a file its name, never over another."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:
        # The file system has no second names.
        if path.exists():
            raise FileExistsError from None
        new.rename(path)


class Target:
    """Each method may raise ``InterchangeError``.

    A session gets its row after its last step: until then the crate does not see it.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    def check(self) -> None:
        """Raise ``InterchangeError`` unless the tables of the crate are there."""
        columns = {
            table: [name for (name,) in self._all("SELECT name FROM pragma_table_info(?)", table)]
            for table in TABLES
        }
        check_schema(self.name, columns)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that is inside, or nothing."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def session(self, session_id: str) -> TargetSession | None:
        """Return a session, if the file holds it with all its steps."""
        rows = self._all(
            "SELECT updated_at, (SELECT MAX(step) FROM steps WHERE session_id = id)"
            " FROM sessions WHERE id = ?",
            session_id,
        )
        return TargetSession(*rows[0]) if rows else None

    def count(self, session_id: str) -> int:
        """Return how many steps of a session the file holds."""
        return int(self._all("SELECT COUNT(*) FROM steps WHERE session_id = ?", session_id)[0][0])

    def held(self, session_id: str, steps: Sequence[int]) -> Mapping[int, TargetStep]:
        """Return those of some steps that the file holds."""
        found: dict[int, TargetStep] = {}
        for start in range(0, len(steps), STEPS_A_STATEMENT):
            group = steps[start : start + STEPS_A_STATEMENT]
            marks = ", ".join("?" * len(group))
            rows = self._all(
                f"SELECT {_STEP} FROM steps WHERE session_id = ? AND step IN ({marks})",
                session_id,
                *group,
            )
            found |= {row[0]: TargetStep(*row) for row in rows}
        return found

    def add(self, session_id: str, steps: Iterable[TargetStep]) -> None:
        """Insert steps that the file does not hold."""
        marks = ", ".join("?" * len(STEP_COLUMNS))
        self._run_many(
            f"INSERT INTO steps (session_id, {_STEP}) VALUES ({marks})",
            [(session_id, *step) for step in steps],
        )

    def finish(
        self, session_id: str, created_at: str, updated_at: str, concurrency_limit: int
    ) -> None:
        """Give a session its row, or set its update, and its snapshot of the highest step.

        The crate's trigger takes the step that was inserted last.
        """
        self._run(
            "INSERT INTO sessions (id, created_at, updated_at, concurrency_limit)"
            " VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET updated_at = ?",
            session_id,
            created_at,
            updated_at,
            concurrency_limit,
            updated_at,
        )
        self._run(
            "UPDATE sessions SET (last_step, last_state_json, last_frontier_json,"
            " last_versions_seen_json) = (SELECT step, state_json, frontier_json,"
            " versions_seen_json FROM steps WHERE session_id = ? ORDER BY step DESC LIMIT 1)"
            " WHERE id = ? AND EXISTS (SELECT 1 FROM steps WHERE session_id = ?)",
            session_id,
            session_id,
            session_id,
        )

    def _all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise InterchangeError(f"{self.name} cannot be read: {error}") from error

    def _run(self, sql: str, *parameters: object) -> None:
        self._run_many(sql, [parameters])

    def _run_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        try:
            if len(rows) == 1:
                self.connection.execute(sql, rows[0])
            else:
                self.connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise InterchangeError(f"{self.name} cannot be written: {error}") from error
