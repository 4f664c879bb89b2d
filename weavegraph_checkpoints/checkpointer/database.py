"""The checkpointer that keeps the history of every session in a database."""

from __future__ import annotations

import logging
from collections.abc import Collection

from asgiref.sync import sync_to_async
from django.db import IntegrityError

from weavegraph_checkpoints import related, retries, signals, telemetry
from weavegraph_checkpoints.backends import Version, forks, history, saving
from weavegraph_checkpoints.backends.access import check_follows
from weavegraph_checkpoints.backends.drafts import Draft
from weavegraph_checkpoints.checkpointer.base import Checkpointer
from weavegraph_checkpoints.checkpointer.labels import LabelCalls
from weavegraph_checkpoints.domain import (
    Checkpoint,
    PageInfo,
    StepQuery,
    StepQueryResult,
)
from weavegraph_checkpoints.domain.checkpoint import check_fields
from weavegraph_checkpoints.domain.limits import (
    MAX_PAGE_BYTES,
    MAX_STEP,
    check_integer,
    check_session_id,
    is_integer,
    is_session_id,
)
from weavegraph_checkpoints.exceptions import (
    ConcurrencyConflict,
    InvalidQuery,
    SessionNotFound,
    SessionProtected,
)

logger = logging.getLogger("weavegraph_checkpoints.checkpointer")

Fields = Collection[str] | None
_ALL_STEPS = StepQuery()


class DjangoCheckpointer(LabelCalls, Checkpointer):
    """Keeps every step of every session in a database.

    ``using`` is a database alias. Without it, writes, ``load_latest``, ``load`` and
    ``get_labels`` use the router's ``db_for_write``, and ``list_sessions``, ``query_steps`` and
    ``find_sessions`` its ``db_for_read``.

    With an ``owner`` (any text, including ""), the sessions of other owners do not exist for
    this checkpointer, and new sessions get this owner. With ``None`` it accesses all
    sessions, and new ones get the owner "".

    All methods work inside ``transaction.atomic()`` and are committed with it. Errors of
    ``django.db`` are not wrapped.
    """

    @telemetry.traced()
    def save(self, checkpoint: Checkpoint, *, replace: bool = True) -> None:
        """See ``Checkpointer.save``.

        With ``replace=False``, append only: raise ``StepExists``, and write nothing, if the
        session already has this step. Of any number of such saves of one step, exactly one
        succeeds.

        One transaction writes the session (created if it is missing; an existing one keeps
        its concurrency limit and owner), the step and the snapshot. Raise
        ``SessionNotFound`` for a session of another owner.
        """
        self._save(checkpoint, None, replace)

    @telemetry.traced()
    def save_with_concurrency_check(
        self, checkpoint: Checkpoint, expected_last_step: int | None, *, replace: bool = True
    ) -> None:
        """Save a step only if the session's last step is the expected one.

        ``expected_last_step`` is 0 to 2^63−1: 0 for a session that has no steps or does not
        exist, ``None`` for no check. The checkpoint must come after it: a greater step, or
        step 0 as the first. Of any number of writers with the same expectation, exactly one
        succeeds; the others get ``ConcurrencyConflict``, and nothing of theirs is written.
        Raise ``InvalidCheckpoint`` for a step that cannot come after the expected one, and
        the errors of ``save``.
        """
        if expected_last_step is not None:
            check_follows(checkpoint.step, expected_last_step)
        self._save(checkpoint, expected_last_step, replace)

    @telemetry.traced(telemetry.Call.set_found)
    def load_latest(self, session_id: str) -> Checkpoint | None:
        """See ``Checkpointer.load_latest``. One query, or two if its keyframes are not known."""
        if not is_session_id(session_id):
            return None
        return history.read_latest(self._for_write(), session_id, self.owner)

    @telemetry.traced(telemetry.Call.set_found)
    def load_latest_with_version(self, session_id: str) -> tuple[Checkpoint, Version] | None:
        """Return the checkpoint of ``load_latest`` and its version, which every save changes.

        One query, or two if its keyframes are not known.
        """
        if not is_session_id(session_id):
            return None
        return history.read_latest_with_version(self._for_write(), session_id, self.owner)

    @telemetry.traced(telemetry.Call.set_found)
    def load_version(self, session_id: str) -> Version | None:
        """Return the version of the latest checkpoint. One query, which reads no state."""
        if not is_session_id(session_id):
            return None
        return self._for_write().version(session_id, self.owner)

    @telemetry.traced(telemetry.Call.set_found)
    def load(self, session_id: str, step: int) -> Checkpoint | None:
        """Return a step with all its fields, or ``None`` if it does not exist.

        Raise ``SerializationError`` for a corrupt row. One query, or two if its keyframes are
        not known.
        """
        if not (is_session_id(session_id) and is_integer(step, MAX_STEP)):
            return None
        return history.read_step(self._for_write(), session_id, step, self.owner)

    @telemetry.traced(telemetry.Call.set_listed)
    def list_sessions(self) -> list[str]:
        """See ``Checkpointer.list_sessions``. One query."""
        return self._for_read().session_ids(self.owner)

    @telemetry.traced(telemetry.Call.set_listed)
    def query_steps(
        self,
        session_id: str,
        query: StepQuery = _ALL_STEPS,
        *,
        fields: Fields = None,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> StepQueryResult:
        """Return a page of a session's history, newest step first.

        A page also ends at ``max_bytes`` of states (default 32 MiB), or 4 MiB of the other
        columns, but has at least one step: ``has_next_page`` tells the last one. Of the fields
        that are not in ``fields``, the state and the lists are empty; ``None`` reads all. Raise
        ``InvalidQuery`` for an unknown name or an invalid ``max_bytes``, and
        ``SerializationError`` for a corrupt row. Two queries at most.
        """
        check_integer(max_bytes, "max_bytes", MAX_STEP, InvalidQuery)
        columns = history.COLUMNS if fields is None else check_fields(fields)
        total, checkpoints = 0, tuple[Checkpoint, ...]()
        if is_session_id(session_id):
            total, checkpoints = history.read_page(
                self._for_read(), session_id, query, self.owner, columns, max_bytes
            )
        offset, size = query.offset or 0, len(checkpoints)
        return StepQueryResult(
            checkpoints=checkpoints,
            page_info=PageInfo(
                total_count=total,
                page_size=size,
                offset=offset,
                has_next_page=offset + size < total,
            ),
        )

    @telemetry.traced()
    def delete_session(self, session_id: str) -> bool:
        """Delete a session with all its steps and labels. Return whether it existed.

        Objects of other models that refer to the session are handled in the same
        transaction as their ``on_delete`` says. Raise ``SessionProtected`` if it forbids
        the deletion.
        """
        if not is_session_id(session_id):
            return False
        backend = self._for_write()
        alias = backend.connection.alias
        try:
            is_deleted = retries.run(
                backend.connection,
                lambda: backend.delete(session_id, self.owner),
                session_id=session_id,
            )
        except IntegrityError as error:
            protected_by = related.get_protecting_models(error, [session_id], alias)
            if not protected_by:
                raise
            raise SessionProtected(session_id, protected_by) from error
        if is_deleted:
            logger.info(
                "Deleted session %r on %r",
                session_id,
                alias,
                extra={"session_id": session_id, "database": alias},
            )
        return is_deleted

    @telemetry.traced(telemetry.Call.set_fork)
    def fork_session(
        self, source_id: str, target_id: str, *, at_step: int | None = None
    ) -> Checkpoint:
        """Copy a session's steps up to ``at_step`` (default: all) into a new session.

        The new session gets the owner, labels and concurrency limit of the source, and records
        its origin. ``at_step`` is 0 to 2^63−1. Return the latest checkpoint of the fork.
        Raise ``SessionExists`` for an existing target, ``SessionNotFound`` for a missing
        source, one without steps up to ``at_step``, and a target of another owner,
        ``InvalidCheckpoint`` for an invalid target id, and ``InvalidQuery`` for ``at_step``
        outside its range.
        """
        check_session_id(target_id, "target_id")
        if at_step is not None:
            check_integer(at_step, "at_step", MAX_STEP, InvalidQuery)
        if not is_session_id(source_id):
            raise SessionNotFound(source_id)
        backend = self._for_write()
        limit = MAX_STEP if at_step is None else at_step
        retries.run(
            backend.connection,
            lambda: forks.fork(backend, source_id, target_id, limit, self.owner),
            session_id=source_id,
        )
        latest = history.read_latest(backend, target_id, self.owner)
        if latest is None:
            raise SessionNotFound(target_id, "was deleted while it was created")
        alias, step = backend.connection.alias, latest.step
        logger.info(
            "Forked session %r at step %d into %r on %r",
            source_id,
            step,
            target_id,
            alias,
            extra={"session_id": source_id, "step": step, "fork_id": target_id, "database": alias},
        )
        return latest

    async def asave(self, checkpoint: Checkpoint, *, replace: bool = True) -> None:
        """See ``save``."""
        await sync_to_async(self.save)(checkpoint, replace=replace)

    async def asave_with_concurrency_check(
        self, checkpoint: Checkpoint, expected_last_step: int | None, *, replace: bool = True
    ) -> None:
        """See ``save_with_concurrency_check``."""
        await sync_to_async(self.save_with_concurrency_check)(
            checkpoint, expected_last_step, replace=replace
        )

    async def aload_latest(self, session_id: str) -> Checkpoint | None:
        """See ``load_latest``."""
        return await sync_to_async(self.load_latest)(session_id)

    async def aload(self, session_id: str, step: int) -> Checkpoint | None:
        """See ``load``."""
        return await sync_to_async(self.load)(session_id, step)

    async def alist_sessions(self) -> list[str]:
        """See ``list_sessions``."""
        return await sync_to_async(self.list_sessions)()

    async def aload_latest_with_version(self, session_id: str) -> tuple[Checkpoint, Version] | None:
        """See ``load_latest_with_version``."""
        return await sync_to_async(self.load_latest_with_version)(session_id)

    async def aload_version(self, session_id: str) -> Version | None:
        """See ``load_version``."""
        return await sync_to_async(self.load_version)(session_id)

    async def aquery_steps(
        self,
        session_id: str,
        query: StepQuery = _ALL_STEPS,
        *,
        fields: Fields = None,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> StepQueryResult:
        """See ``query_steps``."""
        return await sync_to_async(self.query_steps)(
            session_id, query, fields=fields, max_bytes=max_bytes
        )

    async def adelete_session(self, session_id: str) -> bool:
        """See ``delete_session``."""
        return await sync_to_async(self.delete_session)(session_id)

    async def afork_session(
        self, source_id: str, target_id: str, *, at_step: int | None = None
    ) -> Checkpoint:
        """See ``fork_session``."""
        return await sync_to_async(self.fork_session)(source_id, target_id, at_step=at_step)

    @telemetry.observed(telemetry.Call.count_save)
    def _save(self, checkpoint: Checkpoint, expected: int | None, replace: bool) -> int:
        """Save a checkpoint; return the size of its state in bytes."""
        backend = self._for_write()
        alias = backend.connection.alias
        draft = Draft(checkpoint, alias)
        try:
            retries.run(
                backend.connection,
                lambda: saving.save(backend, draft, self.owner, expected, replace=replace),
                session_id=draft.row.session_id,
            )
        except ConcurrencyConflict as conflict:
            _log_conflict(conflict, draft.row.step, alias)
            raise
        signals.send_checkpoint_saved(
            type(self), session_id=draft.row.session_id, step=draft.row.step, using=alias
        )
        return draft.stored.state_bytes


def _log_conflict(conflict: ConcurrencyConflict, step: int, alias: str) -> None:
    logger.info(
        "Refused step %d of session %r on %r: expected last step %d, but it is %d",
        step,
        conflict.session_id,
        alias,
        conflict.expected,
        conflict.actual,
        extra={
            "session_id": conflict.session_id,
            "step": step,
            "expected": conflict.expected,
            "actual": conflict.actual,
            "database": alias,
        },
    )
