"""Write imported steps; each batch is a transaction that locks its sessions first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from weavegraph_checkpoints import retries
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.backends.rows import SessionRow
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.comparison import find_differences
from weavegraph_checkpoints.interchange.sql import InterchangeStatements


@dataclass(slots=True)
class ImportedSession:
    """A session to import, without its steps."""

    row: SessionRow
    newest_step: int | None
    """The number of its newest step."""
    keeps_stored_newest: bool = False
    """Whether a different step of that number is stored, and is kept."""
    is_counted: bool = False


@dataclass(slots=True, kw_only=True)
class SessionPlan:
    """What a batch of steps changes in a session."""

    session: ImportedSession
    stored: SessionRow | None
    """The session as it is stored, before the change."""
    is_new: bool
    add: list[StepRow] = field(default_factory=list)
    replace: list[StepRow] = field(default_factory=list)
    kept: int = 0
    unchanged: int = 0

    def count(self) -> Counter[str]:
        """Return what to add to the result; the session itself is counted once."""
        counts = Counter(
            added=len(self.add),
            replaced=len(self.replace),
            kept=self.kept,
            unchanged=self.unchanged,
        )
        if not self.session.is_counted:
            self.session.is_counted = True
            counts.update(sessions=1, new_sessions=self.is_new)
        return counts

    def get_timestamps(self) -> tuple[str, datetime, datetime]:
        """Return the id, ``created_at`` and ``updated_at`` of the session.

        The timestamps are the source's if the newest step is; else they are kept.
        """
        stored = self.stored
        assert stored is not None  # noqa: S101
        numbers = [row.step for row in self.add]
        if stored.newest_step is not None:
            numbers.append(stored.newest_step)
        is_source = (
            max(numbers) == self.session.newest_step and not self.session.keeps_stored_newest
        )
        row = self.session.row if is_source else stored
        return row.session_id, row.created_at, row.updated_at


Batch = Sequence[tuple[ImportedSession, Sequence[StepRow]]]
Plan = tuple[list[SessionPlan], InterchangeError | None]
"""The sessions up to the first one that cannot be imported, and why it cannot."""


class Writer:
    """Plans what to write, and writes it."""

    def __init__(
        self, statements: InterchangeStatements, owner: str | None, on_conflict: str
    ) -> None:
        self.statements = statements
        self.owner = owner
        self.on_conflict = on_conflict

    def plan(self, batch: Batch) -> Plan:
        """Return what ``write`` would change."""
        stored = self.statements.get_sessions(session.row.session_id for session, _ in batch)
        return self._plan(batch, stored, stored)

    def write(self, batch: Batch) -> Plan:
        """Write a batch up to the first session that cannot be imported.

        Nothing is locked if there is nothing to write.
        """
        plans, error = self.plan(batch)
        if not any(plan.is_new or plan.add or plan.replace for plan in plans):
            return plans, error
        existing = {plan.session.row.session_id for plan in plans if not plan.is_new}
        batch = batch[: len(plans)]
        written, late_error = retries.run(
            self.statements.connection, lambda: self._write_locked(batch, existing)
        )
        return written, late_error or error

    def _write_locked(self, batch: Batch, existing: Collection[str]) -> Plan:
        with transaction.atomic(self.statements.connection.alias):
            stored = self.statements.lock_or_create_sessions([session.row for session, _ in batch])
            plans, error = self._plan(batch, stored, existing)
            if error is not None and not plans:
                # Do not leave behind the sessions that were just created.
                transaction.set_rollback(True, using=self.statements.connection.alias)
                return plans, error
            self.statements.insert_steps(row for plan in plans for row in plan.add)
            self.statements.insert_steps(
                (row for plan in plans for row in plan.replace), replace=True
            )
            self.statements.set_timestamps(
                plan.get_timestamps() for plan in plans if plan.add or plan.replace
            )
        return plans, error

    def _plan(
        self, batch: Batch, stored: Mapping[str, SessionRow], existing: Collection[str]
    ) -> Plan:
        plans: list[SessionPlan] = []
        for session, rows in batch:
            key = session.row.session_id
            plan = SessionPlan(session=session, stored=stored.get(key), is_new=key not in existing)
            try:
                self._plan_steps(plan, rows)
            except InterchangeError as error:
                return plans, error
            plans.append(plan)
        return plans, None

    def _plan_steps(self, plan: SessionPlan, rows: Sequence[StepRow]) -> None:
        session_id = plan.session.row.session_id
        differences = {}
        if plan.stored is not None:
            if self.owner not in (None, plan.stored.owner):
                raise InterchangeError(f"session {session_id!r} belongs to another owner")
            if plan.stored.newest_step is not None:
                differences = find_differences(self.statements, session_id, rows)
        for row in rows:
            columns = differences.get(row.step)
            if columns is None:
                plan.add.append(row)
            elif not columns:
                plan.unchanged += 1
            else:
                self._resolve_conflict(plan, row, columns)

    def _resolve_conflict(self, plan: SessionPlan, row: StepRow, columns: Sequence[str]) -> None:
        if self.on_conflict == "fail":
            raise InterchangeError(
                f"session {row.session_id!r}, step {row.step}: a different step is stored "
                f"({', '.join(columns)} differ); use skip to keep it, replace to replace it"
            )
        if self.on_conflict == "replace":
            plan.replace.append(row)
            return
        plan.kept += 1
        if row.step == plan.session.newest_step:
            plan.session.keeps_stored_newest = True
