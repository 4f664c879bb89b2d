"""What the event stream of a session sends next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

import msgspec
from django.db import router
from django.db.models import OuterRef, Subquery

from weavegraph_checkpoints.api.reauthentication import is_still_allowed
from weavegraph_checkpoints.api.views import BaseView
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.domain.timestamps import format_timestamp
from weavegraph_checkpoints.exceptions import SessionNotFound
from weavegraph_checkpoints.models import Session, Step

BEFORE_ALL_STEPS = -1
"""The cursor before step 0."""
MAX_STEPS_PER_POLL = 100
"""How many steps are read and sent at once."""
HEARTBEAT_SECONDS = 15.0
"""After how long without an event a comment is sent, in seconds."""
ACCESS_CHECK_SECONDS = 15.0
"""After how long the permissions are checked again if no event is sent, in seconds."""

STEP_COLUMNS = (
    "step",
    "created_at",
    "frontier",
    "ran_nodes",
    "skipped_nodes",
    "updated_channels",
    "message_count",
    "error_count",
    "state_bytes",
)
"""The columns of a step that an event contains."""


class Progress(NamedTuple):
    """How far a session is."""

    created_at: datetime
    revision: int
    status: str
    last_step: int
    newest_step_id: int | None
    """The primary key of the last step, which is never reused."""

    def has_steps_after(self, step: int) -> bool:
        """Return whether the session has steps after this one."""
        return self.status != Session.Status.EMPTY and self.last_step > step


class Reply(NamedTuple):
    """What to send now, and when to ask again."""

    data: bytes
    delay: float | None
    """Seconds until the next ``advance()``; ``None`` if the stream has ended."""


class EventFeed:
    """The event stream of one session, from a cursor on.

    The cursor is the last step that the client knows. It only rises: a step is sent once, in
    order, and neither when it is replaced nor when it is saved after a later one was sent.
    Everything is read from the database for writes, because a replica could go back in time.
    """

    def __init__(
        self, view: BaseView, *, cursor: int | None, poll_seconds: float, max_seconds: float
    ) -> None:
        """Open a stream after the step ``cursor``, or from now on. Raise ``SessionNotFound``."""
        self.view = view
        self.session_id = view.session_id
        self.poll_seconds = poll_seconds
        self.started_at = self.sent_at = self.checked_at = monotonic()
        self.ends_at = self.started_at + max_seconds
        self.session_url = view.build_session_url(self.session_id)
        self.progress_query = self._build_progress_query()
        progress = self._read_progress() if is_session_id(self.session_id) else None
        if progress is None:
            raise SessionNotFound(self.session_id)
        self.progress = progress
        if cursor is None:
            is_empty = progress.status == Session.Status.EMPTY
            cursor = BEFORE_ALL_STEPS if is_empty else progress.last_step
        self.cursor = cursor
        self.cursor_id = progress.newest_step_id if cursor == progress.last_step else None

    def open(self) -> bytes:
        """Return the beginning of the stream.

        It sets the id from which a client resumes, without an event: a connection that is lost
        before the first event must not lose a step.
        """
        return b"id: %d\n\n" % self.cursor

    def advance(self) -> Reply:
        """Return what to send now. One query while there is nothing new."""
        progress = self._read_progress()
        if progress is None or not self._is_same_session(progress):
            return self._end("deleted")
        self.progress = progress
        data = b""
        if progress.has_steps_after(self.cursor):
            if not self._is_allowed(self.poll_seconds):
                return self._end("forbidden")
            rows = self._read_steps()
            if not self._is_same_history(rows):
                return self._end("deleted")
            data = b"".join(self._send(row) for row in rows if row["step"] > self.cursor)
        elif not self._is_allowed(ACCESS_CHECK_SECONDS):
            return self._end("forbidden")
        return self._continue(data)

    def _continue(self, data: bytes) -> Reply:
        """Return events, followed by an end or a heartbeat if one is due."""
        now = monotonic()
        has_more = self.progress.has_steps_after(self.cursor)
        if self.progress.status == Session.Status.FINISHED and not has_more:
            return self._end("finished", data)
        if now >= self.ends_at:
            return self._end("timeout", data)
        if not data and now - self.sent_at >= HEARTBEAT_SECONDS:
            data = b": heartbeat\n\n"
        if data:
            self.sent_at = now
        if has_more and data:
            return Reply(data, 0)
        heartbeat_at = self.sent_at + HEARTBEAT_SECONDS
        return Reply(data, max(0, min(self.poll_seconds, heartbeat_at - now, self.ends_at - now)))

    def _end(self, reason: str, data: bytes = b"") -> Reply:
        """Return the end of the stream, from which a client resumes after the cursor."""
        return Reply(data + _format_event(self.cursor, "end", {"reason": reason}), None)

    def _is_allowed(self, seconds: float) -> bool:
        """Check the permissions again if the last check was this many seconds ago."""
        now = monotonic()
        if now - self.checked_at < seconds:
            return True
        self.checked_at = now
        if not is_still_allowed(self.view):
            return False
        self.progress_query = self._build_progress_query()
        return True

    def _is_same_session(self, progress: Progress) -> bool:
        """Return whether this is not a session that was created again with the same id.

        The revision of a session never goes back. Within one clock tick, the primary keys of
        the steps tell the two apart.
        """
        return (
            progress.created_at == self.progress.created_at
            and progress.revision >= self.progress.revision
            and self._is_known(progress.last_step, progress.newest_step_id)
        )

    def _is_known(self, step: int, step_id: int | None) -> bool:
        """Return ``False`` if a step has the number of the cursor and another primary key."""
        return step != self.cursor or self.cursor_id in (None, step_id)

    def _is_same_history(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Return whether rows continue the history of which the cursor is the last step."""
        return all(
            row["session__created_at"] == self.progress.created_at
            and self._is_known(row["step"], row["id"])
            for row in rows
        )

    def _send(self, row: dict[str, Any]) -> bytes:
        self.cursor, self.cursor_id = row["step"], row["id"]
        event = {
            "session_id": self.session_id,
            "url": f"{self.session_url}steps/{self.cursor}/",
            **{name: row[name] for name in STEP_COLUMNS},
            "created_at": format_timestamp(row["created_at"]),
            "updated_channels": row["updated_channels"] or [],
        }
        return _format_event(self.cursor, "checkpoint", event)

    @property
    def _steps(self) -> Any:
        steps = Step.objects.using(router.db_for_write(Step)).for_session(self.session_id)
        owner = self.view.checkpointer.owner
        return steps if owner is None else steps.filter(session__owner=owner)

    def _build_progress_query(self) -> Any:
        """Return the query of each look-up: building it costs more than executing it."""
        sessions = Session.objects.using(router.db_for_write(Session))
        rows = sessions.owned_by(self.view.checkpointer.owner).filter(pk=self.session_id)
        newest = Step.objects.filter(session_id=OuterRef("pk"), step=OuterRef("last_step"))
        rows = rows.annotate(newest_step_id=Subquery(newest.values("id"))).order_by()
        return rows.values_list(*Progress._fields)

    def _read_progress(self) -> Progress | None:
        """Return how far the session is: one look-up by its key."""
        return next((Progress(*row) for row in self.progress_query.all()), None)

    def _read_steps(self) -> list[dict[str, Any]]:
        """Return the step at the cursor, if it exists, and the steps after it."""
        rows = self._steps.filter(step__gte=self.cursor).order_by("step")
        return list(rows.values("id", "session__created_at", *STEP_COLUMNS)[:MAX_STEPS_PER_POLL])


def _format_event(step: int, name: str, data: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (step, name.encode(), msgspec.json.encode(data))
