"""Write the rows of a batch, or count them for a dry run."""

from __future__ import annotations

from weavegraph_checkpoints.backends.keyframes import KeyframeRow
from weavegraph_checkpoints.backends.updates import StateUpdate, keep_updated_at
from weavegraph_checkpoints.compaction.results import CompactionResult
from weavegraph_checkpoints.compaction.sql import CompactionStatements


class DryRunWriter:
    """Counts what a batch would write."""

    def __init__(self, statements: CompactionStatements, session_id: str) -> None:
        self.statements = statements
        self.session_id = session_id
        self.rewritten = self.saved_bytes = 0

    def has_keyframe(self, keyframe_id: int) -> bool:
        """See ``Writer``; keyframes of the dry run itself are not in the database."""
        return True

    def insert_keyframe(self, row: KeyframeRow) -> bool:
        """See ``Writer``."""
        previous_id = row.previous_id
        if previous_id is not None and self.statements.has_next(self.session_id, previous_id):
            return False
        self.saved_bytes -= len(row.state)
        return True

    def update(self, update: StateUpdate, stored_bytes: int) -> None:
        """See ``Writer``."""
        self.rewritten += 1
        self.saved_bytes += stored_bytes - len(update.document.encode())

    def finish(self) -> None:
        """Write what was collected."""

    def get_result(self) -> CompactionResult:
        """Return what was counted."""
        return CompactionResult(rewritten=self.rewritten, saved_bytes=self.saved_bytes)


class DatabaseWriter(DryRunWriter):
    """Writes into a locked session: keyframes at once, states at the end."""

    def __init__(self, statements: CompactionStatements, session_id: str) -> None:
        super().__init__(statements, session_id)
        self.updates: list[StateUpdate] = []

    def has_keyframe(self, keyframe_id: int) -> bool:
        """See ``Writer``."""
        return self.statements.has_keyframe(self.session_id, keyframe_id)

    def insert_keyframe(self, row: KeyframeRow) -> bool:
        """See ``Writer``."""
        if not self.statements.backend.insert_keyframe(row):
            return False
        self.saved_bytes -= len(row.state)
        return True

    def update(self, update: StateUpdate, stored_bytes: int) -> None:
        """See ``Writer``."""
        super().update(update, stored_bytes)
        self.updates.append(update)

    def finish(self) -> None:
        """See ``DryRunWriter``."""
        if self.updates:
            backend = self.statements.backend
            with keep_updated_at(backend, self.session_id):
                backend.update_states(self.session_id, self.updates)
