"""Verifies what is stored, and repairs what can be repaired without a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from django.db import DatabaseError, IntegrityError, connections, router

from weavegraph_checkpoints import retries, triggers
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.base import StepKey
from weavegraph_checkpoints.backends.batching import batched_by_weight
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.health.sql import (
    COUNTS,
    DOCUMENTS,
    HealthStatements,
    SnapshotRow,
    StepMark,
    StoredStep,
)
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.serde import loads_json

SESSIONS_A_PAGE = 500
STEPS_A_PAGE = 2000
STEPS_A_READ = 500
BYTES_A_READ = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem of what is stored."""

    problem: str
    """A stable code.

    ``trigger-missing``, ``trigger-altered``, ``trigger-disabled``: snapshots go stale.
    ``snapshot``, ``status``, ``session-counts``: a session is not what its newest step
    says. ``missing-counts``, ``wrong-counts``: those of a step are not those of its
    state. ``undecodable``: a step cannot be read. ``orphan``: its session is gone.
    """
    detail: str
    session_id: str | None = None
    """``None`` for a trigger."""
    step: int | None = None
    """Of a session's problem its newest step, ``None`` where there is none."""
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many sessions and steps there are, or were checked."""

    sessions: int = 0
    steps: int = 0


def extent(*, using: str | None = None) -> Extent:
    """Return how many sessions and steps ``verify`` would check."""
    sessions, steps = _statements(using).extent()
    return Extent(sessions=sessions, steps=steps)


def verify(
    *,
    using: str | None = None,
    deep: bool = False,
    repair: bool = False,
    on_progress: Callable[[Extent], None] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with the triggers, then with the sessions, then with the steps.

    ``deep`` decodes every step too. ``repair`` installs the triggers, derives wrong
    snapshots again (``revision`` goes up, ``updated_at`` stays) and writes missing or
    wrong counts, each in a short transaction that locks the session and looks again; a
    state or an orphan is never touched. Sessions may be saved to meanwhile: that raises
    no false alarm, and what was mended by it is not reported. ``on_progress`` gets what
    was checked so far, after each page. Memory does not grow with the tables. Without
    ``using`` the router says where to write.
    """
    return _Verification(_statements(using), deep, repair, on_progress).findings()


def _statements(using: str | None) -> HealthStatements:
    alias = using or router.db_for_write(Session)
    return HealthStatements(get_backend(connections[alias]))


class _Verification:
    def __init__(
        self,
        statements: HealthStatements,
        deep: bool,
        repair: bool,
        on_progress: Callable[[Extent], None] | None,
    ) -> None:
        self.statements = statements
        self.connection = statements.connection
        self.deep = deep
        self.repair = repair
        self.on_progress = on_progress
        self.checked = Extent()

    def findings(self) -> Iterator[Finding]:
        yield from self._triggers()
        yield from self._sessions()
        yield from self._steps()

    def _triggers(self) -> Iterator[Finding]:
        found = left = triggers.problems(self.connection)
        failure = ""
        if found and self.repair:
            try:
                triggers.install(self.connection.alias)
            except DatabaseError as error:
                failure = f", cannot be installed: {error}"
            left = triggers.problems(self.connection)
        standing = {problem.trigger for problem in found} - {problem.trigger for problem in left}
        for problem in found:
            yield Finding(
                problem=f"trigger-{problem.kind}",
                detail=f"{problem.trigger}{failure}",
                repaired=problem.trigger in standing,
            )

    def _sessions(self) -> Iterator[Finding]:
        after = ""
        while page := self.statements.snapshots(after, SESSIONS_A_PAGE):
            for row in page:
                yield from self._session(row)
            after = page[-1].session_id
            self._advance(sessions=len(page))

    def _session(self, row: SnapshotRow) -> Iterator[Finding]:
        found = _snapshot_findings(row)
        if found and self.repair:
            # A step that breaks a constraint of its columns cannot be copied.
            with suppress(IntegrityError):
                found = self._locked(row.session_id, partial(self._mend, row.session_id))
        yield from found
        if _expected_status(row) is None and not self.deep:
            yield Finding(
                session_id=row.session_id,
                step=row.newest,
                problem="undecodable",
                detail="the frontier is not a list of nodes",
            )

    def _mend(self, session_id: str) -> list[Finding]:
        """Derive the snapshot of a locked session again, if it is still wrong."""
        row = self.statements.snapshot(session_id)
        found = _snapshot_findings(row)
        if found:
            status = _expected_status(row) or row.status
            self.statements.mend_snapshot(session_id, row.newest, status)
        return [replace(finding, repaired=True) for finding in found]

    def _steps(self) -> Iterator[Finding]:
        after: StepKey = ("", -1)
        while page := self.statements.marks(after, STEPS_A_PAGE, measured=self.deep):
            for mark in page:
                if mark.is_orphan:
                    yield _of_step(mark, "orphan", "its session is gone")
            lacking = [mark for mark in page if mark.lacks_counts and not mark.is_orphan]
            yield from self._lacking(lacking)
            if self.deep:
                yield from self._decoded(after, page)
            after = page[-1].key
            self._advance(steps=len(page))

    def _lacking(self, marks: Sequence[StepMark]) -> Iterator[Finding]:
        detail = f"one or more of {', '.join(COUNTS)} are null"
        for group in _batched(marks):
            yield from self._counted(_of_step(mark, "missing-counts", detail) for mark in group)

    def _decoded(self, after: StepKey, page: Sequence[StepMark]) -> Iterator[Finding]:
        """Decode the steps of a page, in reads that are bounded in bytes."""
        orphans = {mark.key for mark in page if mark.is_orphan}
        for group in _batched(page):
            wrong = []
            for row in self.statements.stored_steps(after, group[-1].key, STEPS_A_READ + 1):
                finding = _decoding_finding(row)
                if finding is None or row.key in orphans:
                    continue
                if finding.problem == "wrong-counts":
                    wrong.append(finding)
                else:
                    yield finding
            yield from self._counted(wrong)
            after = group[-1].key

    def _counted(self, found: Iterable[Finding]) -> Iterator[Finding]:
        """Yield findings about counts, which ``repair`` writes session by session."""
        if not self.repair:
            yield from found
            return
        for session_id, findings in groupby(found, lambda finding: finding.session_id or ""):
            by_step = {finding.step or 0: finding for finding in findings}
            yield from self._locked(session_id, partial(self._count, session_id, by_step))

    def _count(self, session_id: str, found: Mapping[int, Finding]) -> list[Finding]:
        """Write the counts of steps of a locked session, where they are still wrong."""
        counts = {}
        undecodable = set()
        for row in self.statements.stored_steps_of(session_id, list(found)):
            try:
                actual = row.actual_counts()
            except SerializationError:
                undecodable.add(row.step)
                continue
            if row.counts != actual:
                counts[row.step] = actual
        if counts:
            self.statements.set_counts(session_id, counts)
        return [
            replace(finding, repaired=step in counts)
            for step, finding in found.items()
            if step in counts or step in undecodable
        ]

    def _locked(self, session_id: str, work: Callable[[], list[Finding]]) -> list[Finding]:
        """Run a repair in a transaction of its own, unless the session is gone."""

        backend = self.statements.backend

        def locked() -> list[Finding]:
            return work() if backend.lock([session_id]) else []

        return retries.run_batch(self.connection, locked, has_fair_locks=backend.has_fair_locks)

    def _advance(self, *, sessions: int = 0, steps: int = 0) -> None:
        self.checked = Extent(
            sessions=self.checked.sessions + sessions, steps=self.checked.steps + steps
        )
        if self.on_progress is not None:
            self.on_progress(self.checked)


def _snapshot_findings(row: SnapshotRow) -> list[Finding]:
    """Return what a session does not hold as its newest step says."""
    stale = [f"last_{column}" for column in DOCUMENTS if column in row.different]
    if row.last_step != (row.newest or 0):
        stale.insert(0, "last_step")
    details = {}
    if stale:
        details["snapshot"] = f"{', '.join(stale)} not as in the newest step"
    if _expected_status(row) not in (None, row.status):
        details["status"] = f"{row.status}, not {_expected_status(row)}"
    counts = [f"last_{column}" for column in COUNTS if column in row.different]
    if counts:
        details["session-counts"] = f"{', '.join(counts)} not as in the newest step"
    return [
        Finding(session_id=row.session_id, step=row.newest, problem=problem, detail=detail)
        for problem, detail in details.items()
    ]


def _expected_status(row: SnapshotRow) -> str | None:
    """Return the status that the newest step gives, if its frontier can be read."""
    if row.newest is None or row.frontier is None:
        return Session.Status.EMPTY.value
    try:
        nodes = loads_json(row.frontier)
    except SerializationError:
        return None
    if not (isinstance(nodes, list) and all(isinstance(node, str) for node in nodes)):
        return None
    finished = all(node == "End" for node in nodes)
    return (Session.Status.FINISHED if finished else Session.Status.RESUMABLE).value


def _decoding_finding(row: StoredStep) -> Finding | None:
    try:
        actual = row.actual_counts()
    except SerializationError as error:
        reason = error.message.removeprefix(f"session {row.session_id!r}, step {row.step}: ")
        return _of_step(row, "undecodable", f"{reason} at {error.path}")
    wrong = [
        f"{name} is {stored}, not {value}"
        for name, stored, value in zip(COUNTS, row.counts, actual, strict=True)
        if stored not in (None, value)
    ]
    return _of_step(row, "wrong-counts", ", ".join(wrong)) if wrong else None


def _of_step(row: StepMark | StoredStep, problem: str, detail: str) -> Finding:
    return Finding(session_id=row.session_id, step=row.step, problem=problem, detail=detail)


def _batched(marks: Sequence[StepMark]) -> Iterator[list[StepMark]]:
    return batched_by_weight(marks, attrgetter("size"), BYTES_A_READ, STEPS_A_READ)
