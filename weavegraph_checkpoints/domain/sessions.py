"""What is known of a session without its state, and pages of sessions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from weavegraph_checkpoints.domain.nodes import NodeKind

DEFAULT_SESSION_LIMIT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session without its state."""

    session_id: str
    owner: str
    status: str
    """``empty``, ``resumable`` or ``finished``."""
    concurrency_limit: int
    created_at: datetime
    """In UTC."""
    updated_at: datetime
    """In UTC."""
    last_step: int
    """0 for a session without steps."""
    revision: int
    last_message_count: int | None
    last_error_count: int | None
    last_state_bytes: int | None
    last_frontier: tuple[NodeKind, ...]
    """The nodes to resume from."""
    forked_from: str
    """The id of the source of a fork; "" for any other session."""
    forked_at_step: int | None
    labels: dict[str, str]
    """Sorted by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    """A page of sessions, most recently updated first, ties by id."""

    sessions: tuple[SessionInfo, ...]
    next_after: str | None
    """The cursor of the next page; ``None`` if this is the last one."""

    if TYPE_CHECKING:

        def __init__(self, *, sessions: Iterable[SessionInfo], next_after: str | None) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "sessions", tuple(self.sessions))
