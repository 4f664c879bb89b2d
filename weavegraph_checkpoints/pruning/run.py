"""Apply a retention policy in bounded batches."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from django.db import connections, router

from weavegraph_checkpoints import related, retries, telemetry
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.batching import batched, batched_by_weight
from weavegraph_checkpoints.backends.rows import SessionRow, StepKey
from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_integer, safe_repr
from weavegraph_checkpoints.domain.retention import RetentionPolicy, get_cutoff
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning.results import PruneResult, PruneTally, SessionLoss
from weavegraph_checkpoints.pruning.sql import PrunedStep, PruneStatements

logger = logging.getLogger("weavegraph_checkpoints.pruning")

DEFAULT_BATCH_SIZE = 1000

OnProgress = Callable[[PruneResult], None]


@telemetry.traced()
def prune(
    policy: RetentionPolicy,
    *,
    using: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    max_batches: int | None = None,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> PruneResult:
    """Delete the steps and sessions that a policy matches, and return what was deleted.

    Each batch deletes up to ``batch_size`` steps (1 or more) in its own transaction, which
    locks their sessions and checks the policy again: a session that is saved to in
    the meantime keeps what the policy keeps. ``max_batches`` (1 or more) ends the prune
    early; call it again to continue. A dry run deletes nothing and counts exactly what
    would be deleted. ``on_progress`` gets the result so far after each batch and each long
    read; an exception that it raises ends the prune between two batches. Without ``using``,
    the database router chooses the database to write to.

    Raises ``InvalidPolicy`` for a ``batch_size`` or ``max_batches`` out of range.
    """
    _check_positive(batch_size, "batch_size")
    if max_batches is not None:
        _check_positive(max_batches, "max_batches")
    alias = using or router.db_for_write(Session)
    statements = PruneStatements(get_backend(connections[alias]))
    run = _Prune(policy, statements, batch_size, max_batches, on_progress)
    return run.count() if dry_run else run.delete()


def _check_positive(value: int, name: str) -> None:
    if not (is_integer(value, MAX_STEP) and value > 0):
        raise InvalidPolicy(f"expected an integer of 1 or more, not {safe_repr(value)}", name)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one transaction deleted."""

    steps: Sequence[PrunedStep] = ()
    sessions: int = 0
    resume_above: int | None = None
    """Where the deletion of these sessions continues; ``None`` when it is complete."""


class _MaxBatchesReached(Exception):
    pass


class _Prune:
    """One call of ``prune``."""

    def __init__(
        self,
        policy: RetentionPolicy,
        statements: PruneStatements,
        batch_size: int,
        max_batches: int | None,
        on_progress: OnProgress | None,
    ) -> None:
        self.policy = policy
        self.statements = statements
        self.backend = statements.backend
        self.alias = self.backend.connection.alias
        self.batch_size = batch_size
        self.batches_left = max_batches
        self.on_progress = on_progress
        self.now = timestamps.now()
        self.keep = policy.keep_last or 1
        self.before = None if policy.older_than is None else get_cutoff(self.now, policy.older_than)
        self.tally = PruneTally()

    def count(self) -> PruneResult:
        """Count what ``delete`` would delete now."""
        for page in self._pages():
            inactive = self._get_deletable(page)
            counts = self.statements.count_steps([row.session_id for row in page])
            self.tally.sessions += len(inactive)
            whole = {key: counts.pop(key) for key in inactive if key in counts}
            self._add(self.statements.count_prunable_steps(whole, 0, None))
            if self.policy.has_step_rule:
                longer = self._get_longer(counts)
                self._add(self.statements.count_prunable_steps(longer, self.keep, self.before))
            self._report()
        return self.tally.get_result(finished=True)

    def _add(self, reads: Iterable[list[SessionLoss]]) -> None:
        for losses in reads:
            for loss in losses:
                self.tally.add(loss)
            self._report()

    def delete(self) -> PruneResult:
        """Delete in batches."""
        try:
            if self.policy.has_session_rule:
                self._delete_sessions()
            if self.policy.has_step_rule:
                self._delete_steps()
        except _MaxBatchesReached:
            return self.tally.get_result()
        finally:
            self._log()
        return self.tally.get_result(finished=True)

    def _delete_sessions(self) -> None:
        for page in self._pages():
            inactive = self._get_deletable(page)
            counts = defaultdict(int, self.statements.count_steps(inactive))
            for batch in batched_by_weight(inactive, counts.__getitem__, self.batch_size):
                # Refused are also new objects, and rows that only the database knows.
                refused = related.find_refused(batch, self._delete_whole_sessions)
                self.tally.add_protected(refused)
            self._report()

    def _delete_whole_sessions(self, session_ids: Sequence[str]) -> None:
        above: int | None = -1
        while above is not None:
            above = self._run(partial(self._delete_session_batch, session_ids, above))

    def _delete_session_batch(self, session_ids: Sequence[str], above: int) -> _Batch:
        """Delete the oldest steps of inactive sessions, and with the last step the sessions."""
        inactive = self._get_inactive(self._lock(session_ids, for_delete=True))
        if not inactive:
            return _Batch()
        # If the database may refuse to delete the sessions, nothing is deleted before it is asked.
        limit = MAX_STEP - 1 if related.may_be_refused(inactive, self.alias) else self.batch_size
        found = self.statements.get_oldest_steps(inactive, above, limit + 1)
        steps = found[:limit]
        if len(found) > len(steps):
            related.check_deletable(inactive, self.alias)
            self.statements.delete_steps(steps)
            self.backend.delete_unneeded_keyframes(inactive)
            # Skip deleted steps by their number: their index entries are still there.
            return _Batch(steps, resume_above=steps[-1].step if len(inactive) == 1 else -1)
        if above >= 0 and self.statements.have_steps(inactive, above):
            return _Batch(resume_above=-1)
        with related.deletion(inactive, self.alias):
            self.backend.prepare_deletion(inactive)
            self.statements.delete_steps(steps)
            self.backend.delete_sessions(inactive)
        return _Batch(steps, len(inactive))

    def _delete_steps(self) -> None:
        for page in self._pages():
            counts = self.statements.count_steps([row.session_id for row in page])
            for batch in batched(self._iter_prunable_steps(counts), self.batch_size):
                self._run(partial(self._delete_step_batch, batch))
            self._report()

    def _iter_prunable_steps(self, counts: Mapping[str, int]) -> Iterator[StepKey]:
        longer = self._get_longer(counts)
        for steps in self.statements.read_prunable_steps(longer, self.keep, self.before):
            yield from steps
            self._report()

    def _delete_step_batch(self, steps: Sequence[StepKey]) -> _Batch:
        """Delete those of ``steps`` that the policy still matches."""
        newest: dict[str, int] = {}
        for session_id, step in steps:
            newest[session_id] = max(step, newest.get(session_id, 0))
        locked = {row.session_id: newest[row.session_id] for row in self._lock(list(newest))}
        longer = self.statements.get_sessions_with_newer_steps(locked, self.keep)
        still_prunable = [key for key in steps if key[0] in longer]
        deleted = self.statements.delete_steps_if_older(still_prunable, self.before)
        self.backend.delete_unneeded_keyframes(sorted({step.session_id for step in deleted}))
        return _Batch(deleted)

    def _pages(self) -> Iterator[list[SessionRow]]:
        """Yield pages of the sessions that the policy applies to, ordered by id."""
        after = ""
        while page := self.statements.get_sessions(self.policy, after):
            yield page
            after = page[-1].session_id

    def _get_inactive(self, rows: Iterable[SessionRow]) -> list[str]:
        return [row.session_id for row in rows if self.policy.is_inactive(row.updated_at, self.now)]

    def _get_deletable(self, rows: Iterable[SessionRow]) -> list[str]:
        """Return the inactive sessions that no other object protects; count the others."""
        inactive = self._get_inactive(rows)
        protected = related.find_protected(inactive, self.alias)
        self.tally.add_protected(protected)
        return [session_id for session_id in inactive if session_id not in protected]

    def _get_longer(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the counts of the sessions that have more steps than the policy keeps."""
        return {key: count for key, count in counts.items() if count > self.keep}

    def _lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """Lock sessions, and return those that the policy still applies to."""
        rows = [
            row
            for row in self.backend.lock(session_ids, for_delete=for_delete)
            if self.policy.applies_to(row.session_id, row.owner, row.status)
        ]
        if not (rows and self.policy.labels):
            return rows
        labelled = self.statements.get_labelled(
            [row.session_id for row in rows], self.policy.labels
        )
        return [row for row in rows if row.session_id in labelled]

    def _run(self, work: Callable[[], _Batch]) -> int | None:
        """Run a batch in its own transaction, and return its ``resume_above``."""
        if self.batches_left == 0:
            raise _MaxBatchesReached
        batch = retries.run_batch(
            self.backend.connection, work, has_fair_locks=self.backend.has_fair_locks
        )
        if self.batches_left is not None:
            self.batches_left -= 1
        for session_id, _, size in batch.steps:
            self.tally.add(SessionLoss(size, 1, session_id))
        self.tally.sessions += batch.sessions
        telemetry.count_pruned_steps(len(batch.steps))
        self._report()
        return batch.resume_above

    def _report(self) -> None:
        telemetry.set_rows(self.tally.steps)
        if self.on_progress is not None:
            self.on_progress(self.tally.get_result())

    def _log(self) -> None:
        tally = self.tally
        logger.info(
            "Pruned %d steps and %d sessions on %r",
            tally.steps,
            tally.sessions,
            self.alias,
            extra={
                "steps": tally.steps,
                "sessions": tally.sessions,
                "bytes": tally.bytes,
                "protected": tally.protected,
                "database": self.alias,
            },
        )
