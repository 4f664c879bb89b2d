"""The calls of a checkpointer that set labels and find sessions by them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from asgiref.sync import sync_to_async

from weavegraph_checkpoints import retries, telemetry
from weavegraph_checkpoints.backends import catalogue
from weavegraph_checkpoints.backends import labels as statements
from weavegraph_checkpoints.checkpointer.access import DatabaseAccess
from weavegraph_checkpoints.domain import SessionPage, timestamps
from weavegraph_checkpoints.domain.labels import copy_label_changes, copy_labels
from weavegraph_checkpoints.domain.limits import MAX_STEP, check_integer, is_session_id, safe_repr
from weavegraph_checkpoints.domain.query import MAX_LIMIT
from weavegraph_checkpoints.domain.retention import STATUSES
from weavegraph_checkpoints.domain.sessions import DEFAULT_SESSION_LIMIT
from weavegraph_checkpoints.exceptions import InvalidLabel, InvalidQuery, SessionNotFound


class LabelCalls(DatabaseAccess):
    """Set and get the labels of a session, and find sessions."""

    @telemetry.traced(telemetry.Call.set_listed)
    def get_labels(self, session_id: str) -> dict[str, str]:
        """Return the labels of a session, sorted by key; none if it does not exist. One query."""
        if not is_session_id(session_id):
            return {}
        return statements.get_labels(self._for_write(), session_id, self.owner)

    @telemetry.traced(telemetry.Call.set_listed)
    def set_labels(
        self, session_id: str, labels: Mapping[str, str | None], *, replace: bool = False
    ) -> dict[str, str]:
        """Change the labels of a session, and return all that it has then, sorted by key.

        Labels that are not in ``labels`` are kept, and those whose value is ``None`` are
        removed; with ``replace=True``, the session has exactly ``labels`` afterwards. Keys are
        1 to 63 of ``A-Z a-z 0-9 _ . -``, of which the first is a letter or digit, values text
        of up to 255 characters. ``updated_at`` and ``revision`` of the session do not change.
        One transaction, which locks the session. Raise ``InvalidLabel`` for an invalid key or
        value and for more than 64 labels, and ``SessionNotFound``; nothing is written then.
        """
        changes = copy_label_changes(labels)
        if not is_session_id(session_id):
            raise SessionNotFound(session_id)
        backend = self._for_write()
        return retries.run(
            backend.connection,
            lambda: statements.set_labels(
                backend, session_id, changes, self.owner, replace=replace
            ),
        )

    @telemetry.traced(telemetry.Call.set_listed)
    def find_sessions(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        status: str | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        limit: int = DEFAULT_SESSION_LIMIT,
        after: str | None = None,
    ) -> SessionPage:
        """Return a page of the sessions that match all conditions, without their states.

        They have all of ``labels``, and were last updated from ``updated_after`` to
        ``updated_before``, both inclusive and timezone-aware. The most recently updated comes
        first, ties by id. ``limit`` is 0 to 2^63−1, of which at most 1000 are returned;
        ``after`` is the ``next_after`` of the page before. Raise ``InvalidQuery`` for an
        invalid parameter, and ``SerializationError`` for a corrupt row. Two queries at most.
        """
        check_integer(limit, "limit", MAX_STEP, InvalidQuery)
        if status is not None and status not in STATUSES:
            raise InvalidQuery(
                f"expected one of {', '.join(STATUSES)}, not {safe_repr(status)}", "status"
            )
        query = catalogue.SessionQuery(
            labels=_check_labels(labels or {}),
            owner=self.owner,
            status=status,
            updated_after=_check_timestamp(updated_after, "updated_after"),
            updated_before=_check_timestamp(updated_before, "updated_before"),
            limit=min(limit, MAX_LIMIT),
            after=None if after is None else catalogue.Cursor.decode(after),
        )
        return catalogue.find_page(self._for_read(), query)

    async def aget_labels(self, session_id: str) -> dict[str, str]:
        """See ``get_labels``."""
        return await sync_to_async(self.get_labels)(session_id)

    async def aset_labels(
        self, session_id: str, labels: Mapping[str, str | None], *, replace: bool = False
    ) -> dict[str, str]:
        """See ``set_labels``."""
        return await sync_to_async(self.set_labels)(session_id, labels, replace=replace)

    async def afind_sessions(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        status: str | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        limit: int = DEFAULT_SESSION_LIMIT,
        after: str | None = None,
    ) -> SessionPage:
        """See ``find_sessions``."""
        return await sync_to_async(self.find_sessions)(
            labels=labels,
            status=status,
            updated_after=updated_after,
            updated_before=updated_before,
            limit=limit,
            after=after,
        )


def _check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    try:
        return copy_labels(labels)
    except InvalidLabel as error:
        raise InvalidQuery(error.message, error.path) from None


def _check_timestamp(value: datetime | None, name: str) -> datetime | None:
    try:
        return None if value is None else timestamps.to_utc(value)
    except ValueError as error:
        raise InvalidQuery(str(error), name) from None
