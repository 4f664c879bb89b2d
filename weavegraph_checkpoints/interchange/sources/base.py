"""Read the tables of the crate; the subclasses hold what differs by database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import STEP_COLUMNS, CrateSession, CrateStep

STEPS_PAGE_SIZE = 500
SESSION_IDS_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024

Row = tuple[Any, ...]


class Source(ABC):
    """A database of the crate, opened read-only.

    Values are returned as they are stored, unchecked. Each read is short, so writers are
    not blocked. Every method may raise ``InterchangeError``. The placeholder in SQL is ``?``.
    """

    text = "{}"
    """SQL for a JSON column as text."""
    timestamp = "{}"
    """SQL for a timestamp as RFC 3339 text."""
    session_key: str
    """The column that sessions are paged by."""
    id_is_text: str
    """SQL condition: the id of a session is text."""
    step_is_invalid: str
    """SQL condition: the number of a step is not an integer of 0 or more."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name
        """How messages name the database: without a password."""

    @abstractmethod
    def fetch_all(self, sql: str, *parameters: object) -> list[Row]:
        """Return all rows of a query."""

    @abstractmethod
    def iter_rows(self, sql: str, *parameters: object) -> Generator[Row, None, None]:
        """Yield the rows of a query; closing the generator ends the read."""

    def build_step(self, row: Row) -> CrateStep:
        """Return a row of ``steps`` as the crate wrote it."""
        return CrateStep(*row)

    def count_steps(self) -> int:
        """Return the number of steps."""
        return int(self.fetch_all("SELECT COUNT(*) FROM steps")[0][0])

    def iter_session_ids(self) -> Iterator[object]:
        """Yield the id of each session; one that is not text is wrapped in a tuple."""
        key = self.session_key
        condition = "1 = 1"
        last: list[object] = []
        while page := self.fetch_all(
            f"SELECT {key}, {self.id_is_text}, id FROM sessions WHERE {condition}"
            f" ORDER BY {key} LIMIT {SESSION_IDS_PAGE_SIZE}",
            *last,
        ):
            for value, is_text, session_id in page:
                self._check_order(not last or value > last[0])
                last = [value]
                yield session_id if is_text else (session_id,)
            condition = f"{key} > ?"

    def iter_orphan_ids(self) -> Iterator[object]:
        """Yield the session ids that steps have and no session has."""
        rows = self.fetch_all(
            "SELECT DISTINCT session_id FROM steps WHERE NOT EXISTS"
            " (SELECT 1 FROM sessions WHERE id = session_id)"
        )
        return (session_id for (session_id,) in rows)

    def get_session(self, session_id: str) -> CrateSession | None:
        """Return a session, or ``None`` if it does not exist."""
        rows = self.fetch_all(
            f"SELECT {self.timestamp.format('created_at')}, {self.timestamp.format('updated_at')},"
            " concurrency_limit FROM sessions WHERE id = ?",
            session_id,
        )
        return CrateSession(*rows[0]) if rows else None

    def get_invalid_step_numbers(self, session_id: str) -> list[object]:
        """Return the numbers of the steps that ``iter_step_pages`` leaves out."""
        rows = self.fetch_all(
            f"SELECT step FROM steps WHERE session_id = ? AND ({self.step_is_invalid})",
            session_id,
        )
        return [step for (step,) in rows]

    def iter_step_pages(self, session_id: str) -> Iterator[list[CrateStep]]:
        """Yield the steps of a session, newest first.

        A page has up to ``STEPS_PAGE_SIZE`` steps, and ends with the step that reaches
        ``MAX_PAGE_BYTES``.
        """
        newest = MAX_STEP
        while newest >= 0 and (page := self._read_page(session_id, newest)):
            yield page
            newest = page[-1].step - 1

    def _read_page(self, session_id: str, newest: int) -> list[CrateStep]:
        columns = self._format_columns(*STEP_COLUMNS[2:])
        rows = self.iter_rows(
            f"SELECT step, {columns} FROM steps WHERE session_id = ?"
            f" AND NOT ({self.step_is_invalid}) AND step <= ?"
            f" ORDER BY step DESC LIMIT {STEPS_PAGE_SIZE}",
            session_id,
            newest,
        )
        page: list[CrateStep] = []
        size = 0
        with closing(rows):
            for row in rows:
                step = self.build_step(row)
                self._check_order(step.step < page[-1].step if page else step.step <= newest)
                page.append(step)
                size += step.size
                if size >= MAX_PAGE_BYTES:
                    break
        return page

    def get_snapshot(self, session_id: str) -> CrateStep | None:
        """Return the snapshot of a session as a step, or ``None`` if it has none."""
        columns = self._format_columns(
            "updated_at", "last_state_json", "last_frontier_json", "last_versions_seen_json"
        )
        rows = self.fetch_all(
            f"SELECT last_step, {columns}, '[]', '[]', NULL FROM sessions"
            " WHERE id = ? AND last_state_json IS NOT NULL",
            session_id,
        )
        return self.build_step(rows[0]) if rows else None

    def _format_columns(self, timestamp: str, *documents: str) -> str:
        return ", ".join([self.timestamp.format(timestamp), *map(self.text.format, documents)])

    def _check_order(self, is_ordered: bool) -> None:
        """Raise ``InterchangeError`` for rows out of order: an index is damaged."""
        if not is_ordered:
            raise InterchangeError(f"{self.name} is damaged: its rows are out of order")
