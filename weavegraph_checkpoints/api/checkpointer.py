"""The service as the API needs it: with versions, permits, and pages without states."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from rest_framework.request import Request

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends import StepRow, Version
from weavegraph_checkpoints.backends.base import Permit
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer, check_follows
from weavegraph_checkpoints.domain import Checkpoint, StepQuery, StepQueryResult
from weavegraph_checkpoints.exceptions import InvalidCheckpoint
from weavegraph_checkpoints.models import Session

SMALL_COLUMNS = (
    "id",
    "owner",
    "status",
    "concurrency_limit",
    "created_at",
    "updated_at",
    "last_step",
    "revision",
    "last_message_count",
    "last_error_count",
    "last_state_bytes",
    "last_frontier",
    "forked_from",
    "forked_at_step",
)
"""Of a session: what its lists read, and its answers show."""


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

    def sessions(self) -> QuerySet[Any]:
        """Return the small columns of the sessions."""
        return Session.objects.owned_by(self.owner).values(*SMALL_COLUMNS)

    def fresh_session(self, session_id: str) -> dict[str, Any] | None:
        """Return a session that was just written, from where it was written."""
        alias = self._for_write().connection.alias
        found: dict[str, Any] | None = self.sessions().using(alias).filter(pk=session_id).first()
        return found

    def version(self, session_id: str) -> Version | None:
        """Return the version of what ``latest`` returns. One query, of small columns."""
        return self._for_write().version(session_id, self.owner)

    def latest(self, session_id: str) -> tuple[Version, Checkpoint] | None:
        """Return the latest checkpoint with its version. One query."""
        return self._for_write().latest(session_id, self.owner)

    def steps(self, session_id: str, query: StepQuery, *, with_state: bool) -> StepQueryResult:
        """Return what ``query_steps`` does; without the state none is read."""
        return self._query_steps(session_id, query, with_state=with_state)

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
