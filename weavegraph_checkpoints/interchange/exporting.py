"""Export sessions to a SQLite file that the crate opens and resumes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from django.db import connections, router

from weavegraph_checkpoints import telemetry
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.rows import SessionRow
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.domain.retention import STATUSES
from weavegraph_checkpoints.exceptions import InterchangeError, SerializationError
from weavegraph_checkpoints.interchange.comparison import iter_differing_columns
from weavegraph_checkpoints.interchange.conversion import encode_step
from weavegraph_checkpoints.interchange.crate import CrateStep, format_timestamp
from weavegraph_checkpoints.interchange.sql import InterchangeStatements
from weavegraph_checkpoints.interchange.target import Target, TargetSession, open_target
from weavegraph_checkpoints.interchange.transfer import InvalidRow, Transfer
from weavegraph_checkpoints.models import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export wrote."""

    sessions: int = 0
    """Sessions that the file now has as the database has them."""
    added: int = 0
    """Steps that were added to the file."""
    unchanged: int = 0
    """Steps that the file already had."""
    invalid: int = 0
    """Sessions that were left out."""

    @property
    def steps(self) -> int:
        """All steps of the exported sessions."""
        return self.added + self.unchanged


@telemetry.traced()
def export_history(
    target: str,
    *,
    using: str | None = None,
    sessions: Iterable[str] | None = None,
    status: str | None = None,
    on_invalid: Callable[[InvalidRow], None] | None = None,
    on_progress: Callable[[ExportResult], None] | None = None,
) -> ExportResult:
    """Export all sessions to a SQLite file, or those of the given ids or status.

    ``target`` is the path of a new file, or of one that an export created: steps that it
    has are not written again. A session is left out whole if it has a step that cannot be
    decoded, that the crate would alter, or that differs from a step in the file.
    ``on_invalid`` is called with each such step; without it the first one is an error.
    ``on_progress`` is called with the result so far after each batch. Without ``using``
    the router chooses the database. Memory use does not depend on the size of the history.
    An export can be interrupted and run again.

    Raises ``InterchangeError``; what was written before is kept.
    """
    if status is not None and status not in STATUSES:
        raise InterchangeError(f"status must be one of {', '.join(STATUSES)}")
    statements = _get_statements(using)
    ids = None if sessions is None else sorted(set(sessions))
    if ids is not None:
        existing = statements.get_sessions(filter(is_session_id, ids))
        for session_id in ids:
            if session_id not in existing:
                raise InterchangeError(f"session {session_id!r} does not exist")
    with open_target(target) as opened:
        run = _Export(statements, opened, on_invalid, on_progress)
        run.move(statements.iter_sessions(ids, status))
        return run.finish()


def count_steps(
    *,
    using: str | None = None,
    sessions: Iterable[str] | None = None,
    status: str | None = None,
) -> int:
    """Return how many steps ``export_history`` would export with the same arguments."""
    return _get_statements(using).count_steps(None if sessions is None else set(sessions), status)


def _get_statements(using: str | None) -> InterchangeStatements:
    return InterchangeStatements(get_backend(connections[using or router.db_for_read(Session)]))


class _Export(Transfer[SessionRow, CrateStep, ExportResult]):
    title = "Export finished"
    result_type = ExportResult

    def __init__(
        self,
        statements: InterchangeStatements,
        target: Target,
        on_invalid: Callable[[InvalidRow], None] | None,
        on_progress: Callable[[ExportResult], None] | None,
    ) -> None:
        super().__init__(statements.connection.alias, on_invalid, on_progress)
        self.statements = statements
        self.target = target

    def move_session(self, key: SessionRow) -> None:
        """See ``Transfer.move_session``; a session that the file has as it is is only counted."""
        count = self._count_if_unchanged(key)
        if count is None:
            super().move_session(key)
        else:
            self.count({"sessions": 1, "unchanged": count})

    def _count_if_unchanged(self, session: SessionRow) -> int | None:
        found = self.target.get_session(session.session_id)
        if found != (format_timestamp(session.updated_at), session.newest_step):
            return None
        count = self.statements.count_steps([session.session_id], None)
        return count if count == self.target.count_steps(session.session_id) else None

    def iter_pages(self, key: SessionRow) -> Iterator[list[CrateStep]]:
        """See ``Transfer.iter_pages``; by ascending number."""

        def reject(step: int, error: SerializationError) -> None:
            self.reject(InvalidRow.from_error(key.session_id, step, error))

        for rows in self.statements.iter_step_pages(key.session_id, reject):
            page = []
            for row in rows:
                try:
                    page.append(encode_step(row))
                except SerializationError as error:
                    reject(row.step, error)
            yield page

    def prepare(self, key: SessionRow, rows: Sequence[CrateStep]) -> SessionRow:
        """See ``Transfer.prepare``."""
        self.check_valid()
        self._find_missing(key.session_id, rows)
        self.check_valid()
        return key

    def _find_missing(self, session_id: str, steps: Sequence[CrateStep]) -> list[CrateStep]:
        """Return the steps that the file does not have; reject those that differ."""
        found = self.target.get_steps(session_id, [step.step for step in steps])
        missing = []
        for step in steps:
            other = found.get(step.step)
            if other is None:
                missing.append(step)
            elif any(iter_differing_columns(step, other)):
                reason = f"{self.target.name} has a different step of that number"
                self.reject(InvalidRow(session_id=session_id, step=step.step, reason=reason))
        return missing

    def move_large(
        self, key: SessionRow, rows: list[CrateStep], pages: Iterator[list[CrateStep]]
    ) -> None:
        """Check the whole session before anything of it is written."""
        for page in chain([rows], pages):
            self._find_missing(key.session_id, page)
        self.check_valid()
        for page in self.iter_pages(key):
            missing = self._find_missing(key.session_id, page)
            self.check_valid()
            with self.target.transaction():
                found = self.target.get_session(key.session_id)
                self.target.insert_steps(key.session_id, missing)
                if found is not None:
                    self._save_session(key, found)
            self.count({"added": len(missing), "unchanged": len(page) - len(missing)})
        with self.target.transaction():
            self._save_session(key, self.target.get_session(key.session_id))
        self.count({"sessions": 1})

    def write(self, batch: Sequence[tuple[SessionRow, list[CrateStep]]]) -> None:
        """See ``Transfer.write``."""
        added = steps = 0
        with self.target.transaction():
            for session, rows in batch:
                session_id = session.session_id
                found = self.target.get_session(session_id)
                existing = self.target.get_steps(session_id, [row.step for row in rows])
                missing = [row for row in rows if row.step not in existing]
                self.target.insert_steps(session_id, missing)
                self._save_session(session, found)
                added += len(missing)
                steps += len(rows)
        self.count({"sessions": len(batch), "added": added, "unchanged": steps - added})

    def _save_session(self, session: SessionRow, found: TargetSession | None) -> None:
        """Save a session, whose row in the file was ``found`` before steps were inserted.

        If the crate has saved newer steps, its ``updated_at`` is kept.
        """
        updated_at = format_timestamp(session.updated_at)
        if found is not None and found.newest_step is not None:
            newest_step = -1 if session.newest_step is None else session.newest_step
            if found.newest_step > newest_step:
                updated_at = found.updated_at
        self.target.save_session(session, updated_at)
