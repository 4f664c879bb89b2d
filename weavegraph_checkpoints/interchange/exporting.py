"""Hands sessions over to the crate, in a SQLite file that it opens and goes on with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from django.db import connections, router

from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.base import SessionRow
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.domain.retention import STATUSES
from weavegraph_checkpoints.exceptions import InterchangeError, SerializationError
from weavegraph_checkpoints.interchange.comparing import same_json
from weavegraph_checkpoints.interchange.crate import to_text
from weavegraph_checkpoints.interchange.rows import Invalid, TargetStep, invalid, target_step
from weavegraph_checkpoints.interchange.sources import (
    BYTES_A_PAGE,
    FIRST_PAGE,
    next_page_size,
)
from weavegraph_checkpoints.interchange.sql import InterchangeStatements
from weavegraph_checkpoints.interchange.targets import Target, TargetSession, open_target
from weavegraph_checkpoints.models import Session

SESSIONS_A_PAGE = 500
STEPS_A_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What the file has got."""

    sessions: int = 0
    """Sessions that the file now holds as the database does."""
    added: int = 0
    """Steps that were not in it."""
    unchanged: int = 0
    """Steps that were in it already."""
    invalid: int = 0
    """Sessions that were left out."""

    @property
    def steps(self) -> int:
        """Steps that the file holds of these sessions."""
        return self.added + self.unchanged


def export_history(
    target: str,
    *,
    using: str | None = None,
    sessions: Iterable[str] | None = None,
    status: str | None = None,
    on_invalid: Callable[[Invalid], None] | None = None,
    on_progress: Callable[[ExportResult], None] | None = None,
) -> ExportResult:
    """Write sessions into a SQLite file of the crate: all, those named, those of a status.

    The file is new, or one that an export began: that one goes on, steps it has are not
    written again. A session that the crate cannot hold, that cannot be decoded, or of
    which the file holds a step that differs, is left out whole: without ``on_invalid``
    that is an error, with it the function is told, and the rest goes on. Memory does not
    grow with the history. Without ``using`` the router says where to read. Raises
    ``InterchangeError``; what was written before stays.
    """
    if status is not None and status not in STATUSES:
        raise InterchangeError(f"status must be one of {', '.join(STATUSES)}")
    statements = _statements(using)
    ids = None if sessions is None else sorted(set(sessions))
    _check_there(statements, ids or [])
    with open_target(target) as opened:
        return _Export(statements, opened, on_invalid, on_progress).result(ids, status)


def count_steps(
    *,
    using: str | None = None,
    sessions: Iterable[str] | None = None,
    status: str | None = None,
) -> int:
    """Return how many steps ``export_history`` looks at."""
    return _statements(using).extent(None if sessions is None else sorted(set(sessions)), status)


def _statements(using: str | None) -> InterchangeStatements:
    connection = connections[using or router.db_for_read(Session)]
    return InterchangeStatements(get_backend(connection))


def _check_there(statements: InterchangeStatements, ids: Sequence[str]) -> None:
    there = statements.held_sessions([each for each in ids if is_session_id(each)])
    for session_id in ids:
        if session_id not in there:
            raise InterchangeError(f"session {session_id!r} does not exist")


class _LeftOut(Exception):
    """A session cannot go into the file."""


class _Export:
    def __init__(
        self,
        statements: InterchangeStatements,
        target: Target,
        on_invalid: Callable[[Invalid], None] | None,
        on_progress: Callable[[ExportResult], None] | None,
    ) -> None:
        self.statements = statements
        self.target = target
        self.on_invalid = on_invalid
        self.on_progress = on_progress
        self.counts: Counter[str] = Counter()
        self.pending: list[tuple[SessionRow, list[TargetStep]]] = []
        self.pending_steps = self.pending_size = 0
        self.broken = False
        """Whether the session at hand has a step that cannot go into the file."""

    def result(self, ids: Sequence[str] | None, status: str | None) -> ExportResult:
        for held in self._sessions(ids, status):
            self.broken = False
            try:
                self._session(held)
            except _LeftOut:
                self._count(Counter(invalid=1))
        self._flush()
        return ExportResult(**self.counts)

    def _sessions(self, ids: Sequence[str] | None, status: str | None) -> Iterator[SessionRow]:
        after = ""
        while page := self.statements.sessions(after, SESSIONS_A_PAGE, ids, status):
            yield from page
            after = page[-1].session_id

    def _session(self, held: SessionRow) -> None:
        count = self._count_if_current(held)
        if count is not None:
            self._count(Counter(sessions=1, unchanged=count))
            return
        pages = self._pages(held)
        steps: list[TargetStep] = []
        size = 0
        for page in pages:
            steps += page
            size += sum(step.size for step in page)
            if len(steps) >= STEPS_A_BATCH or size >= BYTES_A_PAGE:
                self._large(held, steps, pages)
                return
        self._check_whole()
        self._missing(held, steps)
        self._check_whole()
        self.pending.append((held, steps))
        self.pending_steps += max(1, len(steps))
        self.pending_size += size
        if self.pending_steps >= STEPS_A_BATCH or self.pending_size >= BYTES_A_PAGE:
            self._flush()

    def _count_if_current(self, held: SessionRow) -> int | None:
        """Return how many steps a session has that the file holds as it is."""
        found = self.target.session(held.session_id)
        if found != (to_text(held.updated_at), held.newest_step):
            return None
        count = self.statements.count(held.session_id)
        return count if count == self.target.count(held.session_id) else None

    def _large(
        self, held: SessionRow, steps: list[TargetStep], pages: Iterator[list[TargetStep]]
    ) -> None:
        """Look through all of a session before anything of it is written."""
        self._flush()
        for page in chain([steps], pages):
            self._missing(held, page)
        self._check_whole()
        for page in self._pages(held):
            missing = self._missing(held, page)
            self._check_whole()
            with self.target.transaction():
                found = self.target.session(held.session_id)
                self.target.add(held.session_id, missing)
                if found is not None:
                    self._finish(held, found)
            self._count(Counter(added=len(missing), unchanged=len(page) - len(missing)))
        with self.target.transaction():
            self._finish(held, self.target.session(held.session_id))
        self._count(Counter(sessions=1))

    def _pages(self, held: SessionRow) -> Iterator[list[TargetStep]]:
        """Yield the steps of a session that the crate can hold, the lowest first."""
        after, limit = -1, FIRST_PAGE
        while rows := self.statements.next_steps(held.session_id, after, limit):
            page = []
            for row in rows:
                try:
                    page.append(target_step(held.session_id, row))
                except SerializationError as error:
                    self._refuse(invalid(held.session_id, row.step, error))
            yield page
            after = rows[-1].step
            limit = next_page_size(max(len(row.state) for row in rows))

    def _missing(self, held: SessionRow, steps: Sequence[TargetStep]) -> list[TargetStep]:
        """Return the steps that the file does not hold; one that differs is refused."""
        found = self.target.held(held.session_id, [step.step for step in steps])
        missing = []
        for step in steps:
            other = found.get(step.step)
            if other is None:
                missing.append(step)
            elif not _same(step, other):
                reason = f"{self.target.name} holds another step of that number"
                self._refuse(Invalid(session_id=held.session_id, step=step.step, reason=reason))
        return missing

    def _refuse(self, found: Invalid) -> None:
        """Tell what cannot go into the file, or raise it; what was read before goes."""
        self.broken = True
        if self.on_invalid is None:
            self._flush()
            raise InterchangeError(str(found))
        self.on_invalid(found)

    def _check_whole(self) -> None:
        if self.broken:
            raise _LeftOut

    def _flush(self) -> None:
        batch, self.pending = self.pending, []
        self.pending_steps = self.pending_size = 0
        if not batch:
            return
        counts = Counter[str]()
        with self.target.transaction():
            for held, steps in batch:
                found = self.target.session(held.session_id)
                there = self.target.held(held.session_id, [step.step for step in steps])
                missing = [step for step in steps if step.step not in there]
                self.target.add(held.session_id, missing)
                self._finish(held, found)
                counts.update(sessions=1, added=len(missing), unchanged=len(steps) - len(missing))
        self._count(counts)

    def _finish(self, held: SessionRow, found: TargetSession | None) -> None:
        """Set the row of a session, which ``found`` was before steps were added.

        One that the crate has gone on with keeps its update.
        """
        newest = None if found is None else found.newest
        gone_on = newest is not None and newest > (
            -1 if held.newest_step is None else held.newest_step
        )
        updated_at = found.updated_at if found is not None and gone_on else to_text(held.updated_at)
        self.target.finish(
            held.session_id, to_text(held.created_at), updated_at, held.concurrency_limit
        )

    def _count(self, counts: Counter[str]) -> None:
        self.counts += counts
        if self.on_progress is not None:
            self.on_progress(ExportResult(**self.counts))


def _same(step: TargetStep, other: TargetStep) -> bool:
    return step.created_at == other.created_at and all(
        one == two or same_json(one or "[]", two or "[]")
        for one, two in zip(step[2:], other[2:], strict=True)
    )
