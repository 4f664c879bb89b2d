"""The service as the API needs it: with versions, permits, and pages without states."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from rest_framework.request import Request

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends import Backend, StepRow, Version
from weavegraph_checkpoints.backends.base import Permit
from weavegraph_checkpoints.backends.sessions import SessionRows
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer, check_follows
from weavegraph_checkpoints.domain import Checkpoint, StepQuery, StepQueryResult
from weavegraph_checkpoints.exceptions import InvalidCheckpoint


class ApiCheckpointer(DjangoCheckpointer):
    """Sees the sessions of one owner, or all."""

    @classmethod
    def of(cls, request: Request) -> ApiCheckpointer:
        """Return the one for a request, as ``API_OWNER`` says."""
        owner_of = conf.api_owner()
        owner = None if owner_of is None else owner_of(request)
        try:
            return cls(owner=owner)
        except InvalidCheckpoint as error:
            raise ImproperlyConfigured(f"API_OWNER returned no owner: {error}") from error

    def sessions(self) -> SessionRows:
        """Return the sessions, of which no state is read."""
        return self._owned(self._for_read())

    def session(self, session_id: str, *, fresh: bool = False) -> dict[str, Any] | None:
        """Return the small columns of a session; a ``fresh`` one was just written."""
        backend = self._for_write() if fresh else self._for_read()
        return self._owned(backend).narrowed(("id = %s", session_id)).first()

    def version(self, session_id: str) -> Version | None:
        """Return the version of what ``latest`` returns. One query, of small columns."""
        return self._for_write().version(session_id, self.owner)

    def latest(self, session_id: str) -> tuple[Version, Checkpoint] | None:
        """Return the latest checkpoint with its version. One query."""
        return self._for_write().latest(session_id, self.owner)

    def steps(self, session_id: str, query: StepQuery, *, with_state: bool) -> StepQueryResult:
        """Return what ``query_steps`` does; without the state none is read."""
        return self._query_steps(session_id, query, with_state=with_state)

    def _owned(self, backend: Backend) -> SessionRows:
        rows = SessionRows(backend=backend)
        return rows if self.owner is None else rows.narrowed(("owner = %s", self.owner))

    @property
    def _sender(self) -> type:
        # Receivers need not know by which way a checkpoint came.
        return DjangoCheckpointer

    def put(self, row: StepRow, permit: Permit | None, *, create: bool) -> bool:
        """Save a step, and say whether it is new; see ``Backend.put``."""
        return self._write(row, lambda backend: backend.put(row, self.owner, permit, create=create))

    def put_after(self, row: StepRow, expected_last_step: int) -> None:
        """Save a step as ``save_with_concurrency_check`` does. It is always new."""
        check_follows(row.step, expected_last_step)
        self._write(row, lambda backend: backend.save(row, self.owner, expected_last_step))
