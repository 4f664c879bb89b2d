"""Verify what is stored, and repair what can be derived from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from django.db import DatabaseError, IntegrityError, connections, router

from weavegraph_checkpoints import retries, telemetry, triggers
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.base import KEYFRAME, LABEL
from weavegraph_checkpoints.backends.batching import batched_by_weight
from weavegraph_checkpoints.backends.chains import ChainMemory
from weavegraph_checkpoints.backends.rows import StepKey
from weavegraph_checkpoints.backends.states import StateReader, retry_changed
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.health.chains import find_broken_chains
from weavegraph_checkpoints.health.findings import Finding, RowCount
from weavegraph_checkpoints.health.reporting import report
from weavegraph_checkpoints.health.sql import (
    COUNT_COLUMNS,
    SNAPSHOT_JSON_COLUMNS,
    HealthStatements,
    RawStep,
    SnapshotRow,
    StepHeader,
)
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.serde import loads_json

__all__ = ["Finding", "RowCount", "count_rows", "verify"]

SESSION_PAGE_SIZE = 500
STEP_PAGE_SIZE = 2000
DECODE_BATCH_SIZE = 500
MAX_DECODE_BATCH_BYTES = 8 * 1024 * 1024


def count_rows(*, using: str | None = None) -> RowCount:
    """Return how many sessions and steps ``verify`` would check."""
    alias = using or router.db_for_write(Session)
    return RowCount(
        sessions=Session.objects.using(alias).count(), steps=Step.objects.using(alias).count()
    )


def verify(
    *,
    using: str | None = None,
    deep: bool = False,
    repair: bool = False,
    on_progress: Callable[[RowCount], None] | None = None,
) -> Iterator[Finding]:
    """Yield the problems of the triggers, then of the sessions, then of the steps.

    ``deep`` also puts every state together and decodes it, and finds labels without a session.
    ``repair`` installs the triggers, derives stale snapshots again (``revision`` is raised,
    ``updated_at`` is kept) and writes missing or wrong counts, each in a short transaction that
    locks the session and checks again. States, keyframes, labels and orphans are never changed.
    Sessions that are saved to, pruned or deleted in the meantime cause no false findings.
    ``on_progress`` gets what was checked so far after each page. Memory does not grow with the
    tables. Without ``using``, the database router chooses the database to write to.
    """
    alias = using or router.db_for_write(Session)
    statements = HealthStatements(get_backend(connections[alias]))
    findings = _Verification(statements, deep, repair, on_progress).run()
    return report(statements.connection, findings)


class _Verification:
    """One call of ``verify``."""

    def __init__(
        self,
        statements: HealthStatements,
        deep: bool,
        repair: bool,
        on_progress: Callable[[RowCount], None] | None,
    ) -> None:
        self.statements = statements
        self.backend = statements.backend
        self.connection = statements.connection
        # What this process remembers may be of a time before a keyframe was damaged.
        self.states = StateReader(self.backend, ChainMemory())
        self.deep = deep
        self.repair = repair
        self.on_progress = on_progress
        self.checked = RowCount()

    def run(self) -> Iterator[Finding]:
        yield from self._check_triggers()
        yield from self._check_sessions()
        yield from self._check_steps()
        yield from self._check_orphans(KEYFRAME, "keyframes")
        if self.deep:
            yield from self._check_orphans(LABEL, "labels")

    def _check_triggers(self) -> Iterator[Finding]:
        found = remaining = triggers.problems(self.connection)
        failure = ""
        unverifiable = [problem.trigger for problem in found if problem.kind == "unverifiable"]
        found = [problem for problem in found if problem.kind != "unverifiable"]
        if unverifiable:
            yield Finding(
                problem="trigger-unverifiable",
                detail=f"{', '.join(unverifiable)}: needs the privilege TRIGGER",
            )
        if found and self.repair:
            try:
                triggers.install(self.connection.alias)
            except DatabaseError as error:
                failure = f", cannot be installed: {error}"
            remaining = triggers.problems(self.connection)
        broken = {problem.trigger for problem in remaining}
        for problem in found:
            reason = f" {problem.detail}" if problem.detail else ""
            yield Finding(
                problem=f"trigger-{problem.kind}",
                detail=f"{problem.trigger}{reason}{failure}",
                repaired=problem.trigger not in broken,
            )

    def _check_sessions(self) -> Iterator[Finding]:
        after = ""
        while page := self.statements.get_snapshots(after, SESSION_PAGE_SIZE):
            for row in page:
                yield from self._check_session(row)
            after = page[-1].session_id
            self._advance(sessions=len(page))

    def _check_session(self, row: SnapshotRow) -> Iterator[Finding]:
        found = _find_stale(row)
        if found and self.repair:
            # A step that violates a constraint of the session's columns cannot be copied.
            with suppress(IntegrityError):
                found = self._run_locked(
                    row.session_id, partial(self._repair_snapshot, row.session_id)
                )
        yield from found
        if _get_expected_status(row) is None and not self.deep:
            yield Finding(
                session_id=row.session_id,
                step=row.newest_step,
                problem="undecodable",
                detail="the frontier is not a list of nodes",
            )

    def _repair_snapshot(self, session_id: str) -> list[Finding]:
        """Derive the snapshot of a locked session again, if it is still stale."""
        row = self.statements.get_snapshot(session_id)
        found = _find_stale(row)
        if found:
            status = _get_expected_status(row) or row.status
            self.statements.repair_snapshot(session_id, row.newest_step, status)
        return [replace(finding, repaired=True) for finding in found]

    def _check_steps(self) -> Iterator[Finding]:
        after: StepKey = ("", -1)
        while page := self.statements.get_headers(after, STEP_PAGE_SIZE, measure=self.deep):
            for header in page:
                if header.is_orphan:
                    yield _step_finding(header, "orphan", "its session is missing")
            yield from self._check_null_counts(page)
            broken = find_broken_chains(self.statements, page)
            for header, reason in broken:
                yield _step_finding(header, "broken-chain", reason)
            if self.deep:
                yield from self._decode(after, page, {header.key for header, _ in broken})
            after = page[-1].key
            self._advance(steps=len(page))

    def _check_null_counts(self, page: Sequence[StepHeader]) -> Iterator[Finding]:
        found = [header for header in page if header.has_null_counts and not header.is_orphan]
        detail = f"one or more of {', '.join(COUNT_COLUMNS)} are null"
        for batch in _batch_by_size(found):
            yield from self._repair_counts(
                _step_finding(header, "missing-counts", detail) for header in batch
            )

    def _check_orphans(self, table: str, rows: str) -> Iterator[Finding]:
        after = ""
        while found := self.statements.get_orphans(table, after, SESSION_PAGE_SIZE):
            for session_id, count in found:
                detail = f"{rows} are left of a session that is missing: {count}"
                yield Finding(session_id=session_id, problem="orphan", detail=detail)
            after = found[-1][0]

    def _decode(
        self, after: StepKey, page: Sequence[StepHeader], reported: Collection[StepKey]
    ) -> Iterator[Finding]:
        """Decode the steps of a page, in reads of bounded size."""
        skipped = {header.key for header in page if header.is_orphan}.union(reported)
        for batch in _batch_by_size(page):
            last = batch[-1].key
            wrong_counts = []
            for row in self.statements.iter_raw_steps(after, last, DECODE_BATCH_SIZE + 1):
                finding = None if row.key in skipped else self._check_raw_step(row)
                if finding is None:
                    continue
                if finding.problem == "wrong-counts":
                    wrong_counts.append(finding)
                else:
                    yield finding
            yield from self._repair_counts(wrong_counts)
            after = last

    def _repair_counts(self, found: Iterable[Finding]) -> Iterator[Finding]:
        """Yield findings about counts; with ``repair``, write the counts of each session."""
        if not self.repair:
            yield from found
            return
        for session_id, findings in groupby(found, lambda finding: finding.session_id or ""):
            yield from self._run_locked(
                session_id, partial(self._set_counts, session_id, list(findings))
            )

    def _set_counts(self, session_id: str, found: Sequence[Finding]) -> list[Finding]:
        """Write the counts of steps of a locked session that are still wrong."""
        counts = {}
        undecodable = set()
        steps = [finding.step or 0 for finding in found]
        for row in self.statements.get_raw_steps(session_id, steps):
            try:
                actual = row.get_actual_counts(self.states)
            except SerializationError:
                undecodable.add(row.step)
                continue
            if row.counts != actual:
                counts[row.step] = actual
        if counts:
            self.statements.set_counts(session_id, counts)
        return [
            replace(finding, repaired=finding.step in counts)
            for finding in found
            if finding.step in counts or finding.step in undecodable
        ]

    def _run_locked(self, session_id: str, work: Callable[[], list[Finding]]) -> list[Finding]:
        """Lock a session and run ``work`` in a transaction, unless the session was deleted."""
        return retries.run_batch(
            self.connection,
            lambda: work() if self.backend.lock([session_id]) else [],
            has_fair_locks=self.backend.has_fair_locks,
            session_id=session_id,
        )

    def _check_raw_step(self, row: RawStep) -> Finding | None:
        try:
            return retry_changed(row, self._check_counts, self._read_again)
        except SerializationError as error:
            reason = error.message.removeprefix(f"session {row.session_id!r}, step {row.step}: ")
            return _step_finding(row, "undecodable", f"{reason} at {error.path}")

    def _check_counts(self, row: RawStep) -> Finding | None:
        actual = row.get_actual_counts(self.states)
        wrong = [
            f"{name} is {stored}, not {value}"
            for name, stored, value in zip(COUNT_COLUMNS, row.counts, actual, strict=True)
            if stored not in (None, value)
        ]
        return _step_finding(row, "wrong-counts", ", ".join(wrong)) if wrong else None

    def _read_again(self, row: RawStep) -> RawStep | None:
        return next(iter(self.statements.get_raw_steps(row.session_id, [row.step])), None)

    def _advance(self, *, sessions: int = 0, steps: int = 0) -> None:
        self.checked = RowCount(
            sessions=self.checked.sessions + sessions, steps=self.checked.steps + steps
        )
        telemetry.set_rows(self.checked.steps)
        if self.on_progress is not None:
            self.on_progress(self.checked)


def _find_stale(row: SnapshotRow) -> list[Finding]:
    """Return how a session differs from its newest step."""
    columns = (*SNAPSHOT_JSON_COLUMNS, "base_id")
    snapshot = [f"last_{column}" for column in columns if column in row.stale_columns]
    if row.last_step != (row.newest_step or 0):
        snapshot.insert(0, "last_step")
    counts = [f"last_{column}" for column in COUNT_COLUMNS if column in row.stale_columns]
    details = {}
    if snapshot:
        details["snapshot"] = f"{', '.join(snapshot)} not as in the newest step"
    expected = _get_expected_status(row)
    if expected not in (None, row.status):
        details["status"] = f"{row.status}, not {expected}"
    if counts:
        details["session-counts"] = f"{', '.join(counts)} not as in the newest step"
    return [
        Finding(session_id=row.session_id, step=row.newest_step, problem=problem, detail=detail)
        for problem, detail in details.items()
    ]


def _get_expected_status(row: SnapshotRow) -> str | None:
    """Return the status that follows from the newest step; ``None`` for an invalid frontier."""
    if row.newest_step is None or row.frontier is None:
        return Session.Status.EMPTY.value
    try:
        nodes = loads_json(row.frontier)
    except SerializationError:
        return None
    if not (isinstance(nodes, list) and all(isinstance(node, str) for node in nodes)):
        return None
    finished = all(node == "End" for node in nodes)
    return (Session.Status.FINISHED if finished else Session.Status.RESUMABLE).value


def _step_finding(row: StepHeader | RawStep, problem: str, detail: str) -> Finding:
    return Finding(session_id=row.session_id, step=row.step, problem=problem, detail=detail)


def _batch_by_size(headers: Sequence[StepHeader]) -> Iterator[list[StepHeader]]:
    return batched_by_weight(headers, attrgetter("size"), MAX_DECODE_BATCH_BYTES, DECODE_BATCH_SIZE)
