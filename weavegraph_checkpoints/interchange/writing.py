"""Writes what comes in, each batch in a transaction that locks its sessions first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from weavegraph_checkpoints import retries
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.backends.base import SessionRow
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.comparing import differences
from weavegraph_checkpoints.interchange.rows import SessionHead
from weavegraph_checkpoints.interchange.sql import InterchangeStatements


@dataclass(slots=True)
class Incoming:
    """A session on its way in."""

    head: SessionHead
    newest: int | None
    """The number of its highest step."""
    newest_kept: bool = False
    """Whether another step of that number is stored, and stays."""
    counted: bool = False


Batch = Sequence[tuple[Incoming, Sequence[StepRow]]]


@dataclass(slots=True, kw_only=True)
class Change:
    """What becomes of some steps of a session."""

    incoming: Incoming
    held: SessionRow | None
    """The session as it is stored before."""
    add: list[StepRow] = field(default_factory=list)
    replace: list[StepRow] = field(default_factory=list)
    kept: int = 0
    unchanged: int = 0

    @property
    def writes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.held is None or self.add or self.replace)

    def counts(self) -> Counter[str]:
        """Return what is to be counted; the session itself the first time alone."""
        counts = Counter(
            added=len(self.add),
            replaced=len(self.replace),
            kept=self.kept,
            unchanged=self.unchanged,
        )
        if not self.incoming.counted:
            self.incoming.counted = True
            counts.update(sessions=1, new_sessions=self.held is None)
        return counts


class Writer:
    """Decides what is to be written, and writes it."""

    def __init__(
        self, statements: InterchangeStatements, owner: str | None, on_conflict: str
    ) -> None:
        self.statements = statements
        self.owner = owner
        self.on_conflict = on_conflict

    def look(self, batch: Batch) -> tuple[list[Change], InterchangeError | None]:
        """Return what a batch would change, up to the first session that cannot come in."""
        ids = [incoming.head.session_id for incoming, _ in batch]
        return self._changes(batch, self.statements.held_sessions(ids))

    def write(self, batch: Batch) -> tuple[list[Change], InterchangeError | None]:
        """Write a batch, up to the first session that cannot come in; see ``look``.

        Where there is nothing to write nothing is locked.
        """
        changes, error = self.look(batch)
        if not any(change.writes for change in changes):
            return changes, error
        known = {change.incoming.head.session_id for change in changes if change.held}
        batch = batch[: len(changes)]
        written, late_error = retries.run(
            self.statements.connection, lambda: self._locked(batch, known)
        )
        return written, late_error or error

    def _locked(
        self, batch: Batch, known: set[str]
    ) -> tuple[list[Change], InterchangeError | None]:
        with transaction.atomic(self.statements.connection.alias):
            held = self.statements.claim(
                [
                    (head.session_id, head.concurrency_limit, head.created_at, head.updated_at)
                    for head in (incoming.head for incoming, _ in batch)
                ],
                self.owner or "",
            )
            changes, error = self._changes(batch, held)
            if error is not None and not changes:
                # Nothing of this batch may stay, a session that was made for it neither.
                transaction.set_rollback(True, using=self.statements.connection.alias)
                return changes, error
            self.statements.add([row for change in changes for row in change.add])
            self.statements.add(
                [row for change in changes for row in change.replace], replacing=True
            )
            self.statements.set_times(
                [_times(change) for change in changes if change.add or change.replace]
            )
        for change in changes:
            if change.incoming.head.session_id not in known:
                change.held = None
        return changes, error

    def _changes(
        self, batch: Batch, held: Mapping[str, SessionRow]
    ) -> tuple[list[Change], InterchangeError | None]:
        changes = []
        for incoming, rows in batch:
            try:
                session = held.get(incoming.head.session_id)
                changes.append(self._change(incoming, rows, session))
            except InterchangeError as error:
                return changes, error
        return changes, None

    def _change(
        self, incoming: Incoming, rows: Sequence[StepRow], held: SessionRow | None
    ) -> Change:
        change = Change(incoming=incoming, held=held)
        session_id = incoming.head.session_id
        found = {}
        if held is not None:
            if self.owner not in (None, held.owner):
                raise InterchangeError(f"session {session_id!r} belongs to another owner")
            if held.newest_step is not None:
                found = differences(self.statements, session_id, rows)
        for row in rows:
            differing = found.get(row.step)
            if differing is None:
                change.add.append(row)
            elif not differing:
                change.unchanged += 1
            else:
                self._settle(change, row, differing)
        return change

    def _settle(self, change: Change, row: StepRow, differing: str) -> None:
        """Decide on a step that is stored and differs."""
        if self.on_conflict == "fail":
            raise InterchangeError(
                f"session {row.session_id!r}, step {row.step}: another step is stored "
                f"({differing} differ); skip keeps it, replace replaces it"
            )
        if self.on_conflict == "replace":
            change.replace.append(row)
            return
        change.kept += 1
        if row.step == change.incoming.newest:
            change.incoming.newest_kept = True


def _times(change: Change) -> tuple[str, datetime, datetime]:
    """Return when a session was created and updated.

    The trigger has just moved its update to the present. Where its newest step is that of
    the source, both times are the source's; a session that has gone on since, or ends
    otherwise, keeps its own.
    """
    incoming, head, held = change.incoming, change.incoming.head, change.held
    assert held is not None  # noqa: S101
    steps = [row.step for row in change.add]
    if held.newest_step is not None:
        steps.append(held.newest_step)
    if max(steps) == incoming.newest and not incoming.newest_kept:
        return head.session_id, head.created_at, head.updated_at
    return head.session_id, held.created_at, held.updated_at
