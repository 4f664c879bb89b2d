"""Durable checkpoints of agent workflows, for Django."""

from __future__ import annotations

from importlib.metadata import version

from weavegraph_checkpoints.domain import (
    AppScope,
    Checkpoint,
    ErrorEvent,
    ErrorsChannel,
    ErrorScope,
    ExtrasChannel,
    Message,
    MessagesChannel,
    NodeKind,
    NodeScope,
    PageInfo,
    RunnerScope,
    SchedulerScope,
    SessionState,
    StepQuery,
    StepQueryResult,
    VersionedState,
    VersionsSeen,
    WeaveError,
    restore_session_state,
)
from weavegraph_checkpoints.exceptions import (
    CheckpointerError,
    ConcurrencyConflict,
    InterchangeError,
    InvalidCheckpoint,
    InvalidPolicy,
    InvalidQuery,
    LimitExceeded,
    SerializationError,
    SessionExists,
    SessionNotFound,
    StateTooLarge,
    StepExists,
)

__version__ = version("weavegraph-checkpoints")

__all__ = [
    "AppScope",
    "Checkpoint",
    "CheckpointerError",
    "ConcurrencyConflict",
    "ErrorEvent",
    "ErrorScope",
    "ErrorsChannel",
    "ExtrasChannel",
    "InterchangeError",
    "InvalidCheckpoint",
    "InvalidPolicy",
    "InvalidQuery",
    "LimitExceeded",
    "Message",
    "MessagesChannel",
    "NodeKind",
    "NodeScope",
    "PageInfo",
    "RunnerScope",
    "SchedulerScope",
    "SerializationError",
    "SessionExists",
    "SessionNotFound",
    "SessionState",
    "StateTooLarge",
    "StepExists",
    "StepQuery",
    "StepQueryResult",
    "VersionedState",
    "VersionsSeen",
    "WeaveError",
    "restore_session_state",
]
