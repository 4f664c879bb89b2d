"""A checkpoint as the columns of a row of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.exceptions import StateTooLarge
from weavegraph_checkpoints.serde import dumps_nodes, dumps_state

DATA_COLUMNS = (
    "created_at",
    "message_count",
    "error_count",
    "state_bytes",
    "frontier",
    "ran_nodes",
    "skipped_nodes",
    "updated_channels",
    "versions_seen",
    "state",
)
COLUMNS = ("session_id", "step", *DATA_COLUMNS)


@dataclass(frozen=True, slots=True)
class StepRow:
    """What a save writes: serialised once, whatever the number of attempts."""

    session_id: str
    step: int
    concurrency_limit: int
    checkpoint: Checkpoint
    data: tuple[Any, ...]
    """The values of ``DATA_COLUMNS`` after ``created_at``."""

    @classmethod
    def of(cls, checkpoint: Checkpoint, max_state_bytes: int | None) -> StepRow:
        """Serialise a checkpoint.

        Raises ``SerializationError``, and ``StateTooLarge`` for a state of more than
        ``max_state_bytes`` bytes.
        """
        state = dumps_state(checkpoint.state, path="$.state")
        if max_state_bytes is not None and len(state) > max_state_bytes:
            raise StateTooLarge(len(state), max_state_bytes)
        encode = msgspec.json.encode
        return cls(
            session_id=checkpoint.session_id,
            step=checkpoint.step,
            concurrency_limit=checkpoint.concurrency_limit,
            checkpoint=checkpoint,
            data=(
                len(checkpoint.state.messages.items),
                len(checkpoint.state.errors.items),
                len(state),
                dumps_nodes(checkpoint.frontier),
                dumps_nodes(checkpoint.ran_nodes),
                dumps_nodes(checkpoint.skipped_nodes),
                encode(checkpoint.updated_channels).decode(),
                encode(checkpoint.versions_seen).decode(),
                state.decode(),
            ),
        )

    def parameters(self, connection: BaseDatabaseWrapper) -> tuple[Any, ...]:
        """Return the values of ``COLUMNS``, as the database takes them."""
        created_at = connection.ops.adapt_datetimefield_value(self.checkpoint.created_at)
        return (self.session_id, self.step, created_at, *self.data)
