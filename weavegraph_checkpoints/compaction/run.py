"""Compact sessions, or restore them, in bounded batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from django.db import connections, router

from weavegraph_checkpoints import conf, retries, telemetry
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.batching import batched_by_weight
from weavegraph_checkpoints.backends.chains import read_bases
from weavegraph_checkpoints.backends.keyframes import KeyframeUse, split_by_need
from weavegraph_checkpoints.backends.updates import StateUpdate
from weavegraph_checkpoints.compaction.exactness import WholeStep, read_whole, restore
from weavegraph_checkpoints.compaction.results import CompactionResult
from weavegraph_checkpoints.compaction.sql import (
    CompactionStatements,
    StepHeader,
    StoredDocument,
)
from weavegraph_checkpoints.compaction.walk import Position, Walk
from weavegraph_checkpoints.compaction.writers import DatabaseWriter, DryRunWriter
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_session_id
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.serde.deltas import is_delta

logger = logging.getLogger("weavegraph_checkpoints.compaction")

T = TypeVar("T")

DEFAULT_BATCH_SIZE = 1000
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Size of the whole states of a batch, if there is more than one."""

OnProgress = Callable[[CompactionResult], None]


@telemetry.traced()
def compact(
    session_ids: Collection[str] | None = None,
    *,
    whole: bool = False,
    using: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> CompactionResult:
    """Store whole states as changes to keyframes; with ``whole``, store all states whole.

    All sessions are compacted, or those that are given. States below ``CHANGES_FROM_BYTES`` (its
    default if it is ``None``) stay whole, and so does a state that would not read back as the
    same JSON. Each session is compacted from its newest step on, in batches of up to
    ``batch_size`` steps (1 or more) and 16 MiB of states. Each batch is a transaction that locks
    the session, so others can go on to save, prune and read. A dry run writes nothing.
    ``on_progress`` gets the result so far after each batch; an exception that it raises ends the
    compaction between two batches, and another call continues. Without ``using``, the database
    router chooses the database to write to.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    run = _Compaction(_get_statements(using), batch_size, dry_run, on_progress)
    ids = _get_ids(session_ids)
    after = ""
    while page := run.statements.get_sessions(ids, after):
        for session_id in page:
            if whole:
                run.restore(session_id)
            else:
                run.compact(session_id)
        after = page[-1]
    if not dry_run:
        run.log()
    return run.result


def count_steps(session_ids: Collection[str] | None = None, *, using: str | None = None) -> int:
    """Return the number of steps that ``compact`` checks."""
    return _get_statements(using).count_steps(_get_ids(session_ids))


def _get_ids(session_ids: Collection[str] | None) -> list[str] | None:
    """Return sorted ids, without those that no session can have."""
    return None if session_ids is None else sorted(filter(is_session_id, set(session_ids)))


def _get_statements(using: str | None) -> CompactionStatements:
    return CompactionStatements(get_backend(connections[using or router.db_for_write(Session)]))


class _Compaction:
    """One call of ``compact``."""

    def __init__(
        self,
        statements: CompactionStatements,
        batch_size: int,
        dry_run: bool,
        on_progress: OnProgress | None,
    ) -> None:
        self.statements = statements
        self.backend = statements.backend
        self.batch_size = batch_size
        self.dry_run = dry_run
        self.on_progress = on_progress
        changes_from = conf.changes_from_bytes()
        if changes_from is None:
            changes_from = conf.DEFAULT_CHANGES_FROM_BYTES
        self.changes_from = changes_from
        self.result = CompactionResult()

    def compact(self, session_id: str) -> None:
        """Store the whole states of a session as changes."""
        position = Position()
        rewritten = self.result.rewritten

        def is_compactable(header: StepHeader) -> bool:
            return header.is_whole and header.state_bytes >= self.changes_from

        for batch in self._batches(session_id, is_compactable):
            wanted = [header.step for header in batch if is_compactable(header)]
            if position.pending is not None:
                wanted.append(position.pending)
            work = partial(self._compact_batch, session_id, batch, wanted, position)
            position, result = self._run(session_id, work, is_writing=bool(wanted))
            self._add(result)
        if self.result.rewritten > rewritten and not self.dry_run:
            # Of steps that were stored whole, but still named a keyframe.
            self._run(session_id, partial(self._delete_unneeded_keyframes, session_id))

    def _compact_batch(
        self,
        session_id: str,
        batch: Sequence[StepHeader],
        wanted: Sequence[int],
        position: Position,
    ) -> tuple[Position, CompactionResult]:
        documents = self.statements.get_documents(session_id, wanted)
        pending = None
        if position.pending is not None:
            pending = _read_whole(position.pending, documents)
            position = position if pending else Position()
        writer = self._get_writer(session_id)
        walk = Walk(self.statements, session_id, position, pending, writer, self.changes_from)
        refused = 0
        for header in batch:
            stored = documents.get(header.step)
            if stored is None:
                if not header.is_whole:
                    walk.skip(header.base_id, header.document_bytes)
            elif stored.base_id is not None and is_delta(stored.document):
                walk.skip(stored.base_id, stored.size)
            elif step := _read_whole(header.step, documents):
                walk.store(step)
            else:
                refused += 1
        writer.finish()
        counted = CompactionResult(checked=len(batch), refused=refused)
        return walk.position, counted + writer.get_result()

    def restore(self, session_id: str) -> None:
        """Store all states of a session whole."""
        needed: set[int | None] = set()

        def has_base(header: StepHeader) -> bool:
            return header.base_id is not None

        for batch in self._batches(session_id, has_base):
            restorable = [header.step for header in batch if has_base(header)]
            work = partial(self._restore_batch, session_id, restorable)
            refused, result = self._run(session_id, work, is_writing=bool(restorable))
            needed |= refused
            self._add(result + CompactionResult(checked=len(batch)))
        if self.dry_run:
            uses = self.backend.get_keyframe_uses([session_id], MAX_STEP)
            uses = [use._replace(is_base=use.id in needed) for use in uses]
            freed = self._measure_unneeded(session_id, uses)
        else:
            freed = self._run(session_id, partial(self._delete_unneeded_keyframes, session_id))
        self._add(CompactionResult(saved_bytes=freed))

    def _restore_batch(
        self, session_id: str, steps: Sequence[int]
    ) -> tuple[set[int | None], CompactionResult]:
        documents = self.statements.get_documents(session_id, steps)
        writer = self._get_writer(session_id)
        bases = read_bases(
            self.backend,
            session_id,
            {each.base_id for each in documents.values() if each.base_id is not None},
        )
        refused: list[int | None] = []
        for step, stored in documents.items():
            if stored.base_id is None:
                continue
            document = stored.document
            try:
                if is_delta(document):
                    document = restore(bases.get(stored.base_id), document)
            except SerializationError:
                refused.append(stored.base_id)
                continue
            text = document.decode() if isinstance(document, bytes) else document
            size = len(text.encode())
            writer.update(StateUpdate(step, None, size, text), stored.size)
        writer.finish()
        return set(refused), CompactionResult(refused=len(refused)) + writer.get_result()

    def _delete_unneeded_keyframes(self, session_id: str) -> int:
        """Delete the keyframes of a locked session that no step needs; return their size."""
        uses = self.backend.get_keyframe_uses([session_id], MAX_STEP)
        size = self._measure_unneeded(session_id, uses)
        self.backend.delete_unneeded_keyframes([session_id])
        return size

    def _measure_unneeded(self, session_id: str, uses: Sequence[KeyframeUse]) -> int:
        _, unneeded = split_by_need(uses)
        if not unneeded:
            return 0
        sizes = self.statements.get_keyframe_sizes(session_id)
        return sum(sizes.get(row.id, 0) for row in unneeded)

    def _batches(
        self, session_id: str, is_wanted: Callable[[StepHeader], bool]
    ) -> Iterator[list[StepHeader]]:
        """Yield steps, newest first; the states of the wanted ones are of bounded size."""

        def get_weight(header: StepHeader) -> int:
            return header.state_bytes if is_wanted(header) else 0

        newest = MAX_STEP
        while page := self.statements.get_headers(session_id, newest):
            yield from batched_by_weight(page, get_weight, MAX_BATCH_BYTES, self.batch_size)
            newest = page[-1].step - 1

    def _get_writer(self, session_id: str) -> DryRunWriter:
        writer = DryRunWriter if self.dry_run else DatabaseWriter
        return writer(self.statements, session_id)

    def _run(self, session_id: str, work: Callable[[], T], *, is_writing: bool = True) -> T:
        """Run a batch, in a transaction that locks the session if it writes.

        If the session was deleted meanwhile, ``work`` finds no rows.
        """
        if self.dry_run or not is_writing:
            return work()

        def run_locked() -> T:
            self.backend.lock([session_id])
            return work()

        return retries.run_batch(
            self.backend.connection,
            run_locked,
            has_fair_locks=self.backend.has_fair_locks,
            session_id=session_id,
        )

    def _add(self, result: CompactionResult) -> None:
        self.result += result
        telemetry.set_rows(self.result.rewritten)
        if self.on_progress is not None:
            self.on_progress(self.result)

    def log(self) -> None:
        """Log the result."""
        result, alias = self.result, self.backend.connection.alias
        logger.info(
            "Compacted %d of %d steps on %r",
            result.rewritten,
            result.checked,
            alias,
            extra={
                "steps": result.rewritten,
                "checked": result.checked,
                "refused": result.refused,
                "bytes": result.saved_bytes,
                "database": alias,
            },
        )


def _read_whole(step: int, documents: Mapping[int, StoredDocument]) -> WholeStep | None:
    """Return a step that was read, if it is whole and would read back exactly."""
    stored = documents.get(step)
    if stored is None or is_delta(stored.document):
        return None
    try:
        return read_whole(step, stored.document, stored.size)
    except (SerializationError, RecursionError):
        return None
