"""Immutable value types of checkpoints, independent of Django."""

from __future__ import annotations

from weavegraph_checkpoints.domain.checkpoint import (
    Checkpoint,
    SessionState,
    VersionsSeen,
    restore_session_state,
)
from weavegraph_checkpoints.domain.nodes import NodeKind
from weavegraph_checkpoints.domain.query import PageInfo, StepQuery, StepQueryResult
from weavegraph_checkpoints.domain.sessions import SessionInfo, SessionPage
from weavegraph_checkpoints.domain.state import (
    AppScope,
    ErrorEvent,
    ErrorsChannel,
    ErrorScope,
    ExtrasChannel,
    Message,
    MessagesChannel,
    NodeScope,
    RunnerScope,
    SchedulerScope,
    VersionedState,
    WeaveError,
)

__all__ = [
    "AppScope",
    "Checkpoint",
    "ErrorEvent",
    "ErrorScope",
    "ErrorsChannel",
    "ExtrasChannel",
    "Message",
    "MessagesChannel",
    "NodeKind",
    "NodeScope",
    "PageInfo",
    "RunnerScope",
    "SchedulerScope",
    "SessionInfo",
    "SessionPage",
    "SessionState",
    "StepQuery",
    "StepQueryResult",
    "VersionedState",
    "VersionsSeen",
    "WeaveError",
    "restore_session_state",
]
