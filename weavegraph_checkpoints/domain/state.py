"""The versioned state of a workflow: messages, extras and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import force_setattr

from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.limits import (
    MAX_CHANNEL_VERSION,
    check_integer,
    copy_sequence,
    safe_repr,
)
from weavegraph_checkpoints.exceptions import InvalidCheckpoint


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation. Any role is allowed."""

    role: str
    content: str

    @classmethod
    def user(cls, content: str) -> Message:
        """Return a message of the role ``user``."""
        return cls(role="user", content=content)

    @classmethod
    def assistant(cls, content: str) -> Message:
        """Return a message of the role ``assistant``."""
        return cls(role="assistant", content=content)

    @classmethod
    def system(cls, content: str) -> Message:
        """Return a message of the role ``system``."""
        return cls(role="system", content=content)

    @classmethod
    def tool(cls, content: str) -> Message:
        """Return a message of the role ``tool``."""
        return cls(role="tool", content=content)


class WeaveError(msgspec.Struct, frozen=True, kw_only=True):
    """An error message and its cause."""

    message: str
    cause: WeaveError | None = None
    details: Any = None
    """Any JSON value."""


class NodeScope(msgspec.Struct, frozen=True, kw_only=True, tag="node", tag_field="scope"):
    """The error came from a node (``kind`` is free text) at a step."""

    kind: str
    step: int


class SchedulerScope(msgspec.Struct, frozen=True, kw_only=True, tag="scheduler", tag_field="scope"):
    """The error came from the scheduler at a step."""

    step: int


class RunnerScope(msgspec.Struct, frozen=True, kw_only=True, tag="runner", tag_field="scope"):
    """The error came from the runner of a session at a step."""

    session: str
    step: int


class AppScope(msgspec.Struct, frozen=True, kw_only=True, tag="app", tag_field="scope"):
    """The error came from the application around the workflow."""


ErrorScope = NodeScope | SchedulerScope | RunnerScope | AppScope


class ErrorEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An error of a run: what happened, where and when, with tags and context."""

    error: WeaveError
    scope: ErrorScope = AppScope()
    tags: tuple[str, ...] = ()
    context: Any = None
    """Any JSON value."""
    when: str = msgspec.field(default_factory=timestamps.format_now)
    """RFC 3339 text in UTC (``…Z``), which keeps nanoseconds."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            error: WeaveError,
            scope: ErrorScope = ...,
            tags: Iterable[str] = ...,
            context: Any = ...,
            when: str | datetime = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        if type(self.tags) is not tuple:
            force_setattr(self, "tags", copy_sequence(self.tags, "$.tags"))
        force_setattr(self, "when", _when_text(self.when))

    @property
    def when_datetime(self) -> datetime:
        """``when`` as an aware ``datetime`` in UTC, truncated to the microsecond."""
        return timestamps.parse_timestamp(self.when)


def _when_text(when: str | datetime) -> str:
    try:
        if isinstance(when, datetime):
            return timestamps.format_timestamp(when)
        return timestamps.normalize_timestamp(when)
    except (TypeError, ValueError) as error:
        raise InvalidCheckpoint(str(error), "$.when") from None


class MessagesChannel(msgspec.Struct, frozen=True, kw_only=True):
    """The conversation. ``version`` (0 to 2^32−1) increases with every change."""

    version: int = 1
    items: tuple[Message, ...] = ()

    if TYPE_CHECKING:

        def __init__(self, *, version: int = ..., items: Iterable[Message] = ...) -> None: ...

    def __post_init__(self) -> None:
        check_integer(self.version, "version", MAX_CHANNEL_VERSION)
        if type(self.items) is not tuple:
            force_setattr(self, "items", copy_sequence(self.items, "$.items"))


class ExtrasChannel(msgspec.Struct, frozen=True, kw_only=True):
    """Free values by key. ``version`` (0 to 2^32−1) increases with every change."""

    version: int = 1
    map: dict[str, Any] = {}

    if TYPE_CHECKING:

        def __init__(self, *, version: int = ..., map: Mapping[str, Any] = ...) -> None: ...

    def __post_init__(self) -> None:
        check_integer(self.version, "version", MAX_CHANNEL_VERSION)
        if not isinstance(self.map, Mapping):
            raise InvalidCheckpoint(f"expected a mapping, not {safe_repr(self.map)}", "$.map")
        force_setattr(self, "map", dict(self.map))


class ErrorsChannel(msgspec.Struct, frozen=True, kw_only=True):
    """The errors so far. ``version`` (0 to 2^32−1) increases with every change."""

    version: int = 1
    items: tuple[ErrorEvent, ...] = ()

    if TYPE_CHECKING:

        def __init__(self, *, version: int = ..., items: Iterable[ErrorEvent] = ...) -> None: ...

    def __post_init__(self) -> None:
        check_integer(self.version, "version", MAX_CHANNEL_VERSION)
        if type(self.items) is not tuple:
            force_setattr(self, "items", copy_sequence(self.items, "$.items"))


class VersionedState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a workflow after a step, in three versioned channels."""

    messages: MessagesChannel = MessagesChannel()
    extra: ExtrasChannel = msgspec.field(default_factory=ExtrasChannel)
    errors: ErrorsChannel = ErrorsChannel()

    @classmethod
    def new(
        cls,
        messages: Iterable[Message] = (),
        extra: Mapping[str, Any] | None = None,
        errors: Iterable[ErrorEvent] = (),
    ) -> VersionedState:
        """Return a state with all channels at version 1."""
        return cls(
            messages=MessagesChannel(items=messages),
            extra=ExtrasChannel(map={} if extra is None else extra),
            errors=ErrorsChannel(items=errors),
        )

    @classmethod
    def new_with_user_message(cls, text: str) -> VersionedState:
        """Return a state with one user message and all channels at version 1."""
        return cls.new(messages=[Message.user(text)])
