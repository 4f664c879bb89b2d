"""Deletes what a retention policy names, in bounded batches that may stop at any moment."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import TypeVar

from django.db import connections, router, transaction

from weavegraph_checkpoints import retries
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.base import SessionRow
from weavegraph_checkpoints.backends.batching import batched_by_weight
from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_integer, safe_repr
from weavegraph_checkpoints.domain.losses import Ledger, PruneResult, SessionLoss
from weavegraph_checkpoints.domain.retention import RetentionPolicy, Sieve, cutoff
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning.sql import (
    STEPS_A_READ,
    RetentionStatements,
    StepRecord,
    Tail,
)

__all__ = ["DEFAULT_BATCH_SIZE", "PruneResult", "SessionLoss", "preview", "prune"]

DEFAULT_BATCH_SIZE = 1000
SESSIONS_A_PAGE = 200
PAUSE = 0.5
"""How long a batch on SQLite is followed by none, as a share of its own duration.

Whoever waits for SQLite's lock asks for it again at intervals, and is not queued: without
a pause it would hardly ever meet a moment between two batches.
"""

T = TypeVar("T")


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
    ``on_progress`` gets the result so far after each batch, and now and then while it reads;
    an exception that it raises ends the run between two batches. Without ``using`` the
    router says where to write. Raises ``InvalidPolicy`` for a size outside its range.
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
    ``on_progress`` gets the results so far, now and then.
    """
    return _Preview(policies, _statements(using), on_progress).results()


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
    return Sieve(concerning, next(removing, None))


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one transaction deleted."""

    records: Sequence[StepRecord] = ()
    session_ids: Sequence[str] = ()
    resume_above: int | None = None
    """The step from which the removal of the sessions goes on; ``None`` when it is done."""


class _Preview:
    """Counts what policies would take, and deletes nothing."""

    def __init__(
        self,
        policies: Sequence[RetentionPolicy],
        statements: RetentionStatements,
        on_progress: Callable[[list[PruneResult]], None] | None,
    ) -> None:
        self.policies = policies
        self.statements = statements
        self.on_progress = on_progress
        self.now = timestamps.now()
        self.ages = [_cutoff(policy, self.now) for policy in policies]
        self.ledgers = [Ledger() for _ in policies]

    def results(self) -> list[PruneResult]:
        only = self.policies[0] if len(self.policies) == 1 else None
        for page in _pages(self.statements, only):
            self._count({row.session_id: _sieve(self.policies, row, self.now) for row in page})
            self._report()
        return [ledger.result(finished=True) for ledger in self.ledgers]

    def _count(self, sieves: Mapping[str, Sieve]) -> None:
        counts = self.statements.step_counts(list(sieves))
        takers: dict[str, tuple[int, int]] = {}
        disputed: dict[str, int] = {}
        for session_id, sieve in sieves.items():
            count = counts.get(session_id, 0)
            if sieve.removed_by is not None:
                self.ledgers[sieve.removed_by].sessions += 1
            if not count or sieve.spares(count):
                continue
            taker = sieve.only_taker
            if taker is None:
                disputed[session_id] = count
            else:
                takers[session_id] = taker
        self._count_inside(takers, counts)
        self._read(sieves, disputed)

    def _count_inside(
        self, takers: Mapping[str, tuple[int, int]], counts: Mapping[str, int]
    ) -> None:
        """Count, inside the database, what one policy takes of each session."""
        tails = {
            session_id: Tail(keep, self.ages[index] if keep else None)
            for session_id, (index, keep) in takers.items()
        }
        for losses in self.statements.losses(tails, counts):
            for loss in losses:
                taker, _ = takers[loss.session_id]
                self.ledgers[taker].lose(loss.session_id, loss.bytes, loss.steps)
            self._report()

    def _read(self, sieves: Mapping[str, Sieve], counts: Mapping[str, int]) -> None:
        """Read the steps of sessions where what one policy takes hangs on those before it."""
        histories = self.statements.histories(counts, self.ages)
        for session_id, _, size, *is_old in _reported(histories, self._report):
            taken_by = sieves[session_id].taken_by(is_old)
            if taken_by is not None:
                self.ledgers[taken_by].lose(session_id, size)

    def _report(self) -> None:
        if self.on_progress is not None:
            self.on_progress([ledger.result() for ledger in self.ledgers])


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
        self.now = timestamps.now()
        self.ledger = Ledger()

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
            counts = defaultdict(int, self.statements.step_counts(idle))
            for group in batched_by_weight(idle, counts.__getitem__, self.batch_size):
                above: int | None = -1
                while above is not None:
                    above = self._batch(partial(self._remove_group, group, above)).resume_above
            self._report()

    def _remove_group(self, session_ids: Sequence[str], above: int) -> _Batch:
        """Delete the oldest steps of idle sessions, and the sessions after their last."""
        idle = [
            row.session_id
            for row in self.statements.backend.lock(session_ids, for_delete=True)
            if self._concerns(row) and self.policy.is_inactive(row.updated_at, self.now)
        ]
        if not idle:
            return _Batch()
        found = self.statements.oldest_steps(idle, above, self.batch_size + 1)
        records = found[: self.batch_size]
        if len(found) > len(records):
            self.statements.delete_steps(records)
            # What is deleted is passed over by its number: an index leads through it still.
            return _Batch(records, resume_above=records[-1].step if len(idle) == 1 else -1)
        if above >= 0 and self.statements.have_steps(idle, above):
            return _Batch(resume_above=-1)
        self.statements.backend.before_removal(idle)
        self.statements.delete_steps(records)
        self.statements.backend.delete_sessions(idle)
        return _Batch(records, idle)

    def _remove_steps(self) -> None:
        doomed: dict[str, list[int]] = {}
        size = 0
        for session_id, step in self._doomed():
            doomed.setdefault(session_id, []).append(step)
            size += 1
            if size == self.batch_size or len(doomed) == SESSIONS_A_PAGE:
                self._batch(partial(self._remove_doomed, doomed))
                doomed, size = {}, 0
        if doomed:
            self._batch(partial(self._remove_doomed, doomed))

    def _doomed(self) -> Iterator[tuple[str, int]]:
        keep = self.policy.keep_last or 1
        ages = [_cutoff(self.policy, self.now)]
        for page in _pages(self.statements, self.policy):
            counts = self.statements.step_counts([row.session_id for row in page])
            longer = {session_id: count for session_id, count in counts.items() if count > keep}
            rows = _reported(self.statements.histories(longer, ages), self._report)
            for session_id, history in groupby(rows, itemgetter(0)):
                for _, step, _, is_old in islice(history, keep, None):
                    if is_old:
                        yield session_id, step
            self._report()

    def _remove_doomed(self, doomed: Mapping[str, Sequence[int]]) -> _Batch:
        """Delete those of some steps that the policy still names, under the lock."""
        locked = [
            row.session_id
            for row in self.statements.backend.lock(list(doomed))
            if self._concerns(row)
        ]
        losing = self.statements.with_newer_steps(
            {key: max(doomed[key]) for key in locked}, self.policy.keep_last or 1
        )
        return _Batch(
            self.statements.delete_still_there(
                {key: doomed[key] for key in locked if key in losing},
                _cutoff(self.policy, self.now),
            )
        )

    def _concerns(self, row: SessionRow) -> bool:
        return self.policy.narrows_to(row.session_id, row.owner, row.status)

    def _batch(self, work: Callable[[], _Batch]) -> _Batch:
        """Run a batch in a transaction of its own."""
        if self.batches_left == 0:
            raise _Stop
        connection = self.statements.connection
        started = time.monotonic()
        batch = retries.run(connection, partial(_atomically, connection.alias, work))
        if self.batches_left is not None:
            self.batches_left -= 1
        for session_id, _, size in batch.records:
            self.ledger.lose(session_id, size)
        self.ledger.sessions += len(batch.session_ids)
        self._report()
        if not self.statements.backend.has_fair_locks and not connection.in_atomic_block:
            time.sleep(PAUSE * (time.monotonic() - started))
        return batch

    def _report(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.ledger.result())


def _atomically(alias: str, work: Callable[[], _Batch]) -> _Batch:
    with transaction.atomic(alias):
        return work()


def _statements(using: str | None) -> RetentionStatements:
    alias = using or router.db_for_write(Session)
    return RetentionStatements(get_backend(connections[alias]))


def _pages(
    statements: RetentionStatements, policy: RetentionPolicy | None
) -> Iterator[list[SessionRow]]:
    """Yield the sessions that a policy concerns, in pages, in the order of their ids."""
    after = ""
    while page := statements.sessions(policy, after, SESSIONS_A_PAGE):
        yield page
        after = page[-1].session_id


def _reported(rows: Iterable[T], report: Callable[[], None]) -> Iterator[T]:
    """Yield rows, and report now and then, so that a long read can be watched and ended."""
    for number, row in enumerate(rows, 1):
        yield row
        if number % STEPS_A_READ == 0:
            report()


def _cutoff(policy: RetentionPolicy, now: datetime) -> datetime | None:
    return None if policy.older_than is None else cutoff(now, policy.older_than)


def _check_size(value: int, name: str) -> None:
    if not (is_integer(value, MAX_STEP) and value > 0):
        raise InvalidPolicy(f"expected an integer of 1 or more, not {safe_repr(value)}", name)
