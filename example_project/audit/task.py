"""Input and output of a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weavegraph_checkpoints import (
    ErrorEvent,
    Message,
    NodeKind,
    NodeScope,
    VersionedState,
    WeaveError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of a node at a step. Nodes only read the state."""

    node: NodeKind
    step: int
    state: VersionedState

    @property
    def extra(self) -> Mapping[str, Any]:
        """The findings so far."""
        return self.state.extra.map

    def error(
        self, message: str, *, tags: Iterable[str], details: Any, cause: str | None = None
    ) -> ErrorEvent:
        """Return an error of this node at this step."""
        return ErrorEvent(
            error=WeaveError(
                message=message,
                cause=None if cause is None else WeaveError(message=cause),
                details=details,
            ),
            scope=NodeScope(kind=str(self.node), step=self.step),
            tags=tags,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a node, which is merged into the state at the barrier.

    Messages and errors are appended; keys of ``extra`` replace existing keys, so each key
    belongs to one node.
    """

    messages: Iterable[Message] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    errors: Iterable[ErrorEvent] = ()
