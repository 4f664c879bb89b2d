"""Brings histories of the crate in, a session at a time or several small ones together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from django.db import connections, router

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends import StepRow, get_backend
from weavegraph_checkpoints.domain.limits import is_owner, is_session_id, safe_repr
from weavegraph_checkpoints.exceptions import (
    InterchangeError,
    InvalidCheckpoint,
    SerializationError,
)
from weavegraph_checkpoints.interchange.rows import (
    Invalid,
    SourceStep,
    id_as_text,
    invalid,
    session_head,
    shown_id,
    step_row,
)
from weavegraph_checkpoints.interchange.sources import BYTES_A_PAGE, Source
from weavegraph_checkpoints.interchange.sql import InterchangeStatements
from weavegraph_checkpoints.interchange.writing import Change, Incoming, Writer
from weavegraph_checkpoints.models import Session

STEPS_A_BATCH = 1000
CONFLICTS = ("fail", "skip", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What came in, or in a dry run would come in."""

    sessions: int = 0
    """Sessions that were read."""
    new_sessions: int = 0
    """Of these, the ones that were not there."""
    added: int = 0
    """Steps that were not there."""
    replaced: int = 0
    """Steps that differed and were replaced."""
    kept: int = 0
    """Steps that differed and stayed as they are."""
    unchanged: int = 0
    """Steps that were there already."""
    invalid: int = 0
    """Sessions that were left out, as a row of theirs cannot be read."""

    @property
    def steps(self) -> int:
        """Steps that were read."""
        return self.added + self.replaced + self.kept + self.unchanged


def import_history(
    source: Source,
    *,
    using: str | None = None,
    sessions: Iterable[str] | None = None,
    owner: str | None = None,
    on_conflict: str = "fail",
    dry_run: bool = False,
    on_invalid: Callable[[Invalid], None] | None = None,
    on_progress: Callable[[ImportResult], None] | None = None,
) -> ImportResult:
    """Bring the sessions of a database of the crate in, or those named.

    Missing steps are added. A stored step that differs is a conflict: ``fail`` raises
    before anything of its session is written, ``skip`` leaves it, ``replace`` replaces
    it. New sessions get the owner, by default "". A session with a row that cannot be
    read is left out whole: without ``on_invalid`` that is an error, with it the function
    is told, and the rest goes on. It can be stopped at any moment and run again; a second
    run changes nothing. ``dry_run`` writes nothing and counts what would be written.
    Memory does not grow with the source. Without ``using`` the router says where to
    write. Raises ``InterchangeError``; what came in before stays.
    """
    if owner is not None and not is_owner(owner):
        raise InterchangeError(f"not an owner: {safe_repr(owner)}")
    if on_conflict not in CONFLICTS:
        raise InterchangeError(f"on_conflict must be one of {', '.join(CONFLICTS)}")
    connection = connections[using or router.db_for_write(Session)]
    statements = InterchangeStatements(get_backend(connection))
    writer = Writer(statements, owner, on_conflict)
    run = _Import(source, writer, dry_run, on_invalid, on_progress)
    return run.result(None if sessions is None else list(dict.fromkeys(sessions)))


class _LeftOut(Exception):
    """A session has rows that cannot be read."""


@dataclass(frozen=True, slots=True)
class _Orphans:
    """Steps under an id that no session has."""

    session_id: object


class _Import:
    def __init__(
        self,
        source: Source,
        writer: Writer,
        dry_run: bool,
        on_invalid: Callable[[Invalid], None] | None,
        on_progress: Callable[[ImportResult], None] | None,
    ) -> None:
        self.source = source
        self.writer = writer
        self.dry_run = dry_run
        self.on_invalid = on_invalid
        self.on_progress = on_progress
        self.max_bytes = conf.max_state_bytes()
        self.counts: Counter[str] = Counter()
        self.pending: list[tuple[Incoming, list[StepRow]]] = []
        self.pending_load = _Load()
        self.broken = False
        """Whether the session at hand has a row that cannot be read."""

    def result(self, sessions: Sequence[str] | None) -> ImportResult:
        for session_id in self._ids(sessions):
            self.broken = False
            try:
                self._session(session_id)
            except _LeftOut:
                self._count(Counter(invalid=1))
        self._flush()
        return ImportResult(**self.counts)

    def _ids(self, sessions: Sequence[str] | None) -> Iterator[object]:
        """Yield the ids to bring in; of those named, all have to be there."""
        if sessions is None:
            yield from self.source.session_ids()
            yield from map(_Orphans, self.source.orphan_ids())
            return
        for session_id in sessions:
            if not is_session_id(session_id) or self.source.head(session_id) is None:
                raise InterchangeError(f"{self.source.name} has no session {session_id!r}")
        yield from sessions

    def _session(self, raw_id: object) -> None:
        session_id = self._checked_id(raw_id)
        for step in self.source.odd_steps(session_id):
            self._refuse(Invalid(session_id=session_id, step=step, reason="no number of a step"))
        pages = self._pages(session_id)
        rows: list[StepRow] = []
        load = _Load()
        for page in pages:
            rows += page
            load.add(page)
            if load.is_full:
                self._large(session_id, rows, pages)
                return
        incoming = self._incoming(session_id, rows)
        self._check_whole()
        self.pending.append((incoming, rows))
        self.pending_load.add(rows)
        if self.pending_load.is_full:
            self._flush()

    def _large(self, session_id: str, rows: list[StepRow], pages: Iterator[list[StepRow]]) -> None:
        """Look through all of a session before anything of it is written."""
        self._flush()
        incoming = self._incoming(session_id, rows)
        counts = Counter[str]()
        for page in chain([rows], pages):
            counts += self._checked(self.writer.look([(incoming, page)]))
        self._check_whole()
        if self.dry_run:
            self._count(counts)
            return
        incoming = self._incoming(session_id, rows)
        for page in self._pages(session_id):
            self._check_whole()
            incoming.newest = max(incoming.newest or 0, page[0].step)
            self._count(self._checked(self.writer.write([(incoming, page)])))

    def _checked_id(self, raw_id: object) -> str:
        if isinstance(raw_id, _Orphans):
            shown = shown_id(raw_id.session_id)
            self._refuse(Invalid(session_id=shown, step=None, reason="steps without a session"))
            raise _LeftOut
        try:
            return id_as_text(raw_id)
        except (InvalidCheckpoint, SerializationError) as error:
            self._refuse(invalid(shown_id(raw_id), None, error))
            raise _LeftOut from None

    def _pages(self, session_id: str) -> Iterator[list[StepRow]]:
        """Yield the steps of a session that can be read, newest first."""
        is_empty = True
        for page in self.source.steps(session_id):
            is_empty = False
            yield self._decoded(session_id, page)
        snapshot = self.source.snapshot(session_id) if is_empty else None
        if snapshot is not None:
            yield self._decoded(session_id, [snapshot])

    def _decoded(self, session_id: str, page: Iterable[SourceStep]) -> list[StepRow]:
        rows = []
        for step in page:
            try:
                rows.append(step_row(session_id, step, self.max_bytes))
            except (InvalidCheckpoint, SerializationError) as error:
                self._refuse(invalid(session_id, step.step, error))
        return rows

    def _incoming(self, session_id: str, rows: Sequence[StepRow]) -> Incoming:
        """Read the row of a session, after its newest steps so that it is no older."""
        head = self.source.head(session_id)
        if head is None:
            raise InterchangeError(f"session {session_id!r} was deleted while it was read")
        try:
            decoded = session_head(session_id, head)
        except (InvalidCheckpoint, SerializationError) as error:
            self._refuse(invalid(session_id, None, error))
            raise _LeftOut from None
        return Incoming(decoded, rows[0].step if rows else None)

    def _refuse(self, found: Invalid) -> None:
        """Tell what cannot be read, or raise it; what was read before comes in."""
        self.broken = True
        if self.on_invalid is None:
            self._flush()
            raise InterchangeError(f"{self.source.name}: {found}")
        self.on_invalid(found)

    def _check_whole(self) -> None:
        if self.broken:
            raise _LeftOut

    def _flush(self) -> None:
        batch, self.pending, self.pending_load = self.pending, [], _Load()
        if batch:
            process = self.writer.look if self.dry_run else self.writer.write
            changes, error = process(batch)
            self._count(self._checked((changes, None)))
            self._checked(([], error))

    def _checked(self, outcome: tuple[list[Change], InterchangeError | None]) -> Counter[str]:
        changes, error = outcome
        if error is not None:
            raise error
        return sum((change.counts() for change in changes), Counter())

    def _count(self, counts: Counter[str]) -> None:
        self.counts += counts
        if self.on_progress is not None:
            self.on_progress(ImportResult(**self.counts))


class _Load:
    """How much is in memory."""

    def __init__(self) -> None:
        self.steps = 0
        self.octets = 0

    def add(self, rows: Sequence[StepRow]) -> None:
        self.steps += max(1, len(rows))
        self.octets += sum(row.state_bytes for row in rows)

    @property
    def is_full(self) -> bool:
        return self.steps >= STEPS_A_BATCH or self.octets >= BYTES_A_PAGE
