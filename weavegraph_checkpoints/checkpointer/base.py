"""The operations that every checkpointer has."""

from __future__ import annotations

from typing import Protocol

from weavegraph_checkpoints.domain import Checkpoint


class Checkpointer(Protocol):
    """The operations that every checkpointer has."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a step of a session. An existing step is replaced, all columns included.

        Raise ``SerializationError`` for a state that is not JSON and ``StateTooLarge`` for
        one of more than ``MAX_STATE_BYTES``; nothing is written then.
        """

    def load_latest(self, session_id: str) -> Checkpoint | None:
        """Return the checkpoint to resume a session from: its highest step.

        ``ran_nodes``, ``skipped_nodes`` and ``updated_channels`` are empty, and
        ``created_at`` is when the session was last updated. Return ``None`` for an unknown
        session or one without steps. Raise ``SerializationError`` for a corrupt row.
        """

    def list_sessions(self) -> list[str]:
        """Return the ids of all sessions, most recently updated first, ties by id."""
