"""Deletes what a retention policy names, in bounded batches that may stop at any moment."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from django.db import connections, router, transaction

from weavegraph_checkpoints import retries
from weavegraph_checkpoints.backends import backend_of
from weavegraph_checkpoints.backends.base import SessionRow
from weavegraph_checkpoints.backends.retention import RetentionStatements, StepRecord
from weavegraph_checkpoints.domain import instants
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_integer, shown
from weavegraph_checkpoints.domain.retention import RetentionPolicy, Sieve, cutoff
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.models import Session

DEFAULT_BATCH_SIZE = 1000
LARGEST = 10
SESSIONS_A_PAGE = 200
STEPS_A_READ = 5000


@dataclass(frozen=True, slots=True, order=True)
class SessionLoss:
    """What one session loses."""

    bytes: int
    steps: int
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What went, or in a dry run would go."""

    steps: int = 0
    """Steps, those of removed sessions among them."""
    sessions: int = 0
    """Whole sessions."""
    bytes: int = 0
    """Bytes of serialised states, as far as their steps tell."""
    largest: tuple[SessionLoss, ...] = ()
    """The ten sessions that lose most, by bytes and then by steps."""
    finished: bool = False
    """False while the work goes on, and where ``max_batches`` ended it."""


OnProgress = Callable[[PruneResult], None]


def prune(
    policy: RetentionPolicy,
    *,
    using: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    max_batches: int | None = None,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> PruneResult:
    """Delete what a policy names, and return what went.

    Each batch of up to ``batch_size`` steps (1 or more) is a transaction of its own that
    locks its sessions and reads the condition again, so that a session that is saved to
    meanwhile keeps what the policy would keep; after ``max_batches`` (1 or more) the rest
    is left to another run. A dry run deletes nothing and counts exactly what would go.
    ``on_progress`` gets the result so far after each batch. Without ``using`` the router
    says where to write. Raises ``InvalidPolicy`` for a size outside its range.
    """
    _check_size(batch_size, "batch_size")
    if max_batches is not None:
        _check_size(max_batches, "max_batches")
    if dry_run:

        def on_preview(results: list[PruneResult]) -> None:
            if on_progress is not None:
                on_progress(results[0])

        return preview([policy], using=using, on_progress=on_preview)[0]
    run = _Run(policy, _statements(using), batch_size, max_batches, on_progress)
    return run.result()


def preview(
    policies: Sequence[RetentionPolicy],
    *,
    using: str | None = None,
    on_progress: Callable[[list[PruneResult]], None] | None = None,
) -> list[PruneResult]:
    """Return what ``prune`` would delete for each of several policies run in order.

    A step or session that more than one would delete is counted for the first.
    ``on_progress`` gets the results so far after each page of sessions.
    """
    statements = _statements(using)
    now = instants.now()
    ledgers = [_Ledger() for _ in policies]
    for page in _pages(statements, RetentionPolicy(keep_last=1)):
        sieves = {row.session_id: _sieve(policies, row, now) for row in page}
        counts = statements.step_counts(list(sieves))
        for session_id, sieve in sieves.items():
            if sieve.removed_by is not None:
                ledgers[sieve.removed_by].sessions += 1
            elif sieve.spares(counts.get(session_id, 0)):
                counts.pop(session_id, None)
        for record in _histories(statements, counts):
            taken_by = sieves[record.session_id].taken_by(record.created_at)
            if taken_by is not None:
                ledgers[taken_by].lose(record)
        if on_progress is not None:
            on_progress([ledger.result() for ledger in ledgers])
    return [ledger.result(finished=True) for ledger in ledgers]


def _sieve(policies: Sequence[RetentionPolicy], row: SessionRow, now: datetime) -> Sieve:
    concerning = [
        policy if policy.narrows_to(row.session_id, row.owner, row.status) else None
        for policy in policies
    ]
    removing = (
        index
        for index, policy in enumerate(concerning)
        if policy is not None and policy.is_inactive(row.updated_at, now)
    )
    return Sieve(concerning, now, next(removing, None))


@dataclass(slots=True)
class _Ledger:
    """Adds up what goes; losses of one session come one after the other."""

    steps: int = 0
    sessions: int = 0
    bytes: int = 0
    _largest: list[SessionLoss] = field(default_factory=list)
    _open: SessionLoss | None = None

    def lose(self, record: StepRecord) -> None:
        self.steps += 1
        self.bytes += record.state_bytes
        if self._open is None or self._open.session_id != record.session_id:
            self._largest = self._ranking()
            self._open = SessionLoss(0, 0, record.session_id)
        self._open = SessionLoss(
            self._open.bytes + record.state_bytes, self._open.steps + 1, record.session_id
        )

    def add(self, batch: _Batch) -> None:
        for record in batch.records:
            self.lose(record)
        self.sessions += len(batch.session_ids)

    def _ranking(self) -> list[SessionLoss]:
        losses = self._largest if self._open is None else [*self._largest, self._open]
        return heapq.nlargest(LARGEST, losses)

    def result(self, *, finished: bool = False) -> PruneResult:
        return PruneResult(
            steps=self.steps,
            sessions=self.sessions,
            bytes=self.bytes,
            largest=tuple(self._ranking()),
            finished=finished,
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one transaction deleted."""

    records: Sequence[StepRecord] = ()
    session_ids: Sequence[str] = ()
    done: bool = True


class _Stop(Exception):
    """``max_batches`` is reached."""


class _Run:
    """One real run of one policy."""

    def __init__(
        self,
        policy: RetentionPolicy,
        statements: RetentionStatements,
        batch_size: int,
        max_batches: int | None,
        on_progress: OnProgress | None,
    ) -> None:
        self.policy = policy
        self.statements = statements
        self.batch_size = batch_size
        self.batches_left = max_batches
        self.on_progress = on_progress
        self.now = instants.now()
        self.ledger = _Ledger()

    def result(self) -> PruneResult:
        try:
            if self.policy.has_session_rule:
                self._remove_sessions()
            if self.policy.has_step_rule:
                self._remove_steps()
        except _Stop:
            return self.ledger.result()
        return self.ledger.result(finished=True)

    def _remove_sessions(self) -> None:
        for page in _pages(self.statements, self.policy):
            idle = [
                row.session_id for row in page if self.policy.is_inactive(row.updated_at, self.now)
            ]
            counts = self.statements.step_counts(idle)
            sizes = {session_id: counts.get(session_id, 0) for session_id in idle}
            for group in _groups(sizes, self.batch_size):
                while not self._batch(partial(self._remove_group, group)):
                    pass

    def _remove_group(self, session_ids: Sequence[str]) -> _Batch:
        """Delete the oldest steps of idle sessions, and the sessions after their last."""
        idle = [
            row.session_id
            for row in self.statements.backend.lock(session_ids, for_delete=True)
            if self._concerns(row) and self.policy.is_inactive(row.updated_at, self.now)
        ]
        if not idle:
            return _Batch()
        records = self.statements.oldest_steps(idle, self.batch_size + 1)
        done = len(records) <= self.batch_size
        records = records[: self.batch_size]
        self.statements.delete_steps(records)
        if not done:
            return _Batch(records, done=False)
        self.statements.delete_sessions(idle)
        return _Batch(records, idle)

    def _remove_steps(self) -> None:
        doomed: dict[str, list[int]] = {}
        size = 0
        for record in self._doomed():
            doomed.setdefault(record.session_id, []).append(record.step)
            size += 1
            if size == self.batch_size or len(doomed) == SESSIONS_A_PAGE:
                self._batch(partial(self._remove_doomed, doomed))
                doomed, size = {}, 0
        if doomed:
            self._batch(partial(self._remove_doomed, doomed))

    def _doomed(self) -> Iterator[StepRecord]:
        for page in _pages(self.statements, self.policy):
            counts = self.statements.step_counts([row.session_id for row in page])
            sieves = {key: Sieve([self.policy], self.now) for key in counts}
            counts = {k: n for k, n in counts.items() if not sieves[k].spares(n)}
            for record in _histories(self.statements, counts):
                if sieves[record.session_id].taken_by(record.created_at) is not None:
                    yield record

    def _remove_doomed(self, doomed: Mapping[str, Sequence[int]]) -> _Batch:
        """Delete those of some steps that the policy still names, under the lock."""
        locked = [
            row.session_id
            for row in self.statements.backend.lock(list(doomed))
            if self._concerns(row)
        ]
        spared = self.statements.with_newer_steps(
            {key: max(doomed[key]) for key in locked}, self.policy.keep_last or 1
        )
        age = self.policy.older_than
        records = self.statements.still_there(
            {key: doomed[key] for key in locked if key in spared},
            None if age is None else cutoff(self.now, age),
        )
        self.statements.delete_steps(records)
        return _Batch(records)

    def _concerns(self, row: SessionRow) -> bool:
        return self.policy.narrows_to(row.session_id, row.owner, row.status)

    def _batch(self, work: Callable[[], _Batch]) -> bool:
        """Run a batch in a transaction of its own; say whether its sessions are done."""
        if self.batches_left == 0:
            raise _Stop
        connection = self.statements.connection
        started = time.monotonic()
        batch = retries.run(connection, partial(_atomically, connection.alias, work))
        if self.batches_left is not None:
            self.batches_left -= 1
        self.ledger.add(batch)
        if self.on_progress is not None:
            self.on_progress(self.ledger.result())
        if connection.vendor == "sqlite":
            time.sleep(time.monotonic() - started)
        return batch.done


def _atomically(alias: str, work: Callable[[], _Batch]) -> _Batch:
    with transaction.atomic(alias):
        return work()


def _statements(using: str | None) -> RetentionStatements:
    alias = using or router.db_for_write(Session)
    return RetentionStatements(backend_of(connections[alias]))


def _pages(statements: RetentionStatements, policy: RetentionPolicy) -> Iterator[list[SessionRow]]:
    """Yield the sessions that a policy concerns, in pages, in the order of their ids."""
    after = ""
    while page := statements.sessions(policy, after, SESSIONS_A_PAGE):
        yield page
        after = page[-1].session_id


def _histories(statements: RetentionStatements, counts: Mapping[str, int]) -> Iterator[StepRecord]:
    """Yield the steps of some sessions, newest first within each, in bounded reads."""
    for group in _groups(counts, STEPS_A_READ):
        if len(group) > 1 or counts[group[0]] <= STEPS_A_READ:
            yield from statements.steps(group)
            continue
        newest = MAX_STEP
        while records := statements.steps_up_to(group[0], newest, STEPS_A_READ):
            yield from records
            newest = records[-1].step - 1


def _groups(sizes: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Yield keys in order, in groups that add up to ``limit`` at the most, if they can."""
    group: list[str] = []
    total = 0
    for key in sorted(sizes):
        if group and total + sizes[key] > limit:
            yield group
            group, total = [], 0
        group.append(key)
        total += sizes[key]
    if group:
        yield group


def _check_size(value: int, name: str) -> None:
    if not (is_integer(value, MAX_STEP) and value > 0):
        raise InvalidPolicy(f"expected an integer of 1 or more, not {shown(value)}", name)
