"""Import sessions from a database of the crate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from django.db import connections, router

from weavegraph_checkpoints import conf, telemetry
from weavegraph_checkpoints.backends import StepRow, get_backend
from weavegraph_checkpoints.domain.limits import is_owner, is_session_id, safe_repr
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.conversion import (
    decode_session,
    decode_session_id,
    decode_step,
    format_session_id,
)
from weavegraph_checkpoints.interchange.crate import CrateStep
from weavegraph_checkpoints.interchange.sources import Source
from weavegraph_checkpoints.interchange.sql import InterchangeStatements
from weavegraph_checkpoints.interchange.transfer import (
    INVALID,
    InvalidRow,
    SkipSession,
    Transfer,
)
from weavegraph_checkpoints.interchange.writer import Batch, ImportedSession, SessionPlan, Writer
from weavegraph_checkpoints.models import Session

CONFLICTS = ("fail", "skip", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import changed, or with ``dry_run`` would change."""

    sessions: int = 0
    """Sessions that were imported, new or not."""
    new_sessions: int = 0
    """Sessions that were created."""
    added: int = 0
    """Steps that were added."""
    replaced: int = 0
    """Steps that differed and were replaced."""
    kept: int = 0
    """Steps that differed and were kept."""
    unchanged: int = 0
    """Steps that were already stored."""
    invalid: int = 0
    """Sessions that were left out because of an invalid row."""

    @property
    def steps(self) -> int:
        """All steps of the imported sessions."""
        return self.added + self.replaced + self.kept + self.unchanged


@telemetry.traced()
def import_history(
    source: Source,
    *,
    using: str | None = None,
    sessions: Iterable[str] | None = None,
    owner: str | None = None,
    on_conflict: str = "fail",
    dry_run: bool = False,
    on_invalid: Callable[[InvalidRow], None] | None = None,
    on_progress: Callable[[ImportResult], None] | None = None,
) -> ImportResult:
    """Import all sessions of a database of the crate, or those of the given ids.

    Missing steps are added. ``on_conflict`` says what to do with a stored step that
    differs: "fail" raises before anything of its session is written, "skip" keeps the
    stored step, "replace" replaces it. ``owner`` is the owner of new sessions, "" by
    default; a stored session of another owner is then an error.

    A session with an invalid row is left out whole. ``on_invalid`` is called with each
    such row; without it the first one is an error. ``dry_run`` writes nothing, and counts
    what would be written. ``on_progress`` is called with the result so far after each
    batch. Without ``using`` the router chooses the database. Memory use does not depend on
    the size of the source. An import can be interrupted and run again; a second run
    changes nothing.

    Raises ``InterchangeError``; what was written before is kept.
    """
    if owner is not None and not is_owner(owner):
        raise InterchangeError(f"not an owner: {safe_repr(owner)}")
    if on_conflict not in CONFLICTS:
        raise InterchangeError(f"on_conflict must be one of {', '.join(CONFLICTS)}")
    backend = get_backend(connections[using or router.db_for_write(Session)])
    writer = Writer(InterchangeStatements(backend), owner, on_conflict)
    run = _Import(source, writer, dry_run, on_invalid, on_progress)
    return run.run(None if sessions is None else list(dict.fromkeys(sessions)))


class _Import(Transfer[str, StepRow, ImportResult]):
    title = "Import finished"
    result_type = ImportResult

    def __init__(
        self,
        source: Source,
        writer: Writer,
        dry_run: bool,
        on_invalid: Callable[[InvalidRow], None] | None,
        on_progress: Callable[[ImportResult], None] | None,
    ) -> None:
        super().__init__(writer.statements.connection.alias, on_invalid, on_progress)
        self.source = source
        self.writer = writer
        self.dry_run = dry_run
        self.error_prefix = f"{source.name}: "
        self.max_state_bytes = conf.max_state_bytes()

    def run(self, session_ids: Sequence[str] | None) -> ImportResult:
        if session_ids is None:
            self.move(self._iter_session_ids())
            return self.finish()
        for session_id in session_ids:
            if not is_session_id(session_id) or self.source.get_session(session_id) is None:
                raise InterchangeError(f"{self.source.name} has no session {session_id!r}")
        self.move(session_ids)
        return self.finish()

    def _iter_session_ids(self) -> Iterator[str]:
        """Yield all valid ids; reject the others, and steps without a session."""
        for raw_id in self.source.iter_session_ids():
            try:
                session_id = decode_session_id(raw_id)
            except INVALID as error:
                self.reject(InvalidRow.from_error(format_session_id(raw_id), None, error))
                self.count({"invalid": 1})
            else:
                yield session_id
        for raw_id in self.source.iter_orphan_ids():
            self.reject(
                InvalidRow(
                    session_id=format_session_id(raw_id),
                    step=None,
                    reason="steps without a session",
                )
            )
            self.count({"invalid": 1})

    def iter_pages(self, key: str) -> Iterator[list[StepRow]]:
        """See ``Transfer.iter_pages``; newest first."""
        for step in self.source.get_invalid_step_numbers(key):
            self.reject(InvalidRow(session_id=key, step=step, reason="not a step number"))
        is_empty = True
        for page in self.source.iter_step_pages(key):
            is_empty = False
            yield self._decode_steps(key, page)
        if is_empty and (snapshot := self.source.get_snapshot(key)) is not None:
            yield self._decode_steps(key, [snapshot])

    def _decode_steps(self, session_id: str, steps: Iterable[CrateStep]) -> list[StepRow]:
        rows = []
        for step in steps:
            try:
                rows.append(decode_step(session_id, step, self.max_state_bytes))
            except INVALID as error:
                self.reject(InvalidRow.from_error(session_id, step.step, error))
        return rows

    def prepare(self, key: str, rows: Sequence[StepRow]) -> ImportedSession:
        """See ``Transfer.prepare``."""
        session = self._read_session(key, rows)
        self.check_valid()
        return session

    def _read_session(self, session_id: str, rows: Sequence[StepRow]) -> ImportedSession:
        """Read the session after its newest steps, so that its timestamps are no older."""
        session = self.source.get_session(session_id)
        if session is None:
            raise InterchangeError(f"session {session_id!r} was deleted while it was read")
        try:
            row = decode_session(session_id, session, self.writer.owner or "")
        except INVALID as error:
            self.reject(InvalidRow.from_error(session_id, None, error))
            raise SkipSession from None
        return ImportedSession(row, rows[0].step if rows else None)

    def move_large(self, key: str, rows: list[StepRow], pages: Iterator[list[StepRow]]) -> None:
        """Check the whole session before anything of it is written."""
        session = self._read_session(key, rows)
        counts = Counter[str]()
        for page in chain([rows], pages):
            plans, error = self.writer.plan([(session, page)])
            if error is not None:
                raise error
            counts += _count(plans)
        self.check_valid()
        if self.dry_run:
            self.count(counts)
            return
        session = self._read_session(key, rows)
        for page in self.iter_pages(key):
            self.check_valid()
            session.newest_step = max(session.newest_step or 0, page[0].step)
            self.write([(session, page)])

    def write(self, batch: Batch) -> None:
        """See ``Transfer.write``; with ``dry_run`` only count what would be written."""
        plans, error = self.writer.plan(batch) if self.dry_run else self.writer.write(batch)
        self.count(_count(plans))
        if error is not None:
            raise error


def _count(plans: Iterable[SessionPlan]) -> Counter[str]:
    return sum((plan.count() for plan in plans), Counter())
