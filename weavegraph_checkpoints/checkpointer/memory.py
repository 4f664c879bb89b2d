"""A checkpointer for tests that needs no database."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime

from weavegraph_checkpoints import conf, serde
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.checkpointer.base import Checkpointer
from weavegraph_checkpoints.domain import Checkpoint, timestamps
from weavegraph_checkpoints.domain.limits import is_session_id


@dataclass(frozen=True, slots=True)
class _Entry:
    newest: StepRow
    concurrency_limit: int
    updated_at: datetime


class InMemoryCheckpointer(Checkpointer):
    """Keeps the latest checkpoint of each session in memory, for tests. Thread-safe."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def save(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpointer.save``."""
        row = StepRow.from_checkpoint(checkpoint, conf.max_state_bytes())
        with self._lock:
            known = self._sessions.get(row.session_id)
            if known is None:
                newest, limit = row, row.concurrency_limit
            else:
                newest = row if row.step >= known.newest.step else known.newest
                limit = known.concurrency_limit
            self._sessions[row.session_id] = _Entry(newest, limit, timestamps.now())

    def load_latest(self, session_id: str) -> Checkpoint | None:
        """See ``Checkpointer.load_latest``."""
        if not is_session_id(session_id):
            return None
        with self._lock:
            known = self._sessions.get(session_id)
        if known is None:
            return None
        row = known.newest
        return serde.checkpoint_from_columns(
            session_id,
            row.step,
            known.updated_at,
            known.concurrency_limit,
            *(row.state, row.frontier, row.versions_seen),
        )

    def list_sessions(self) -> list[str]:
        """See ``Checkpointer.list_sessions``."""
        with self._lock:
            by_id = sorted(self._sessions)
            return sorted(by_id, key=lambda key: self._sessions[key].updated_at, reverse=True)
