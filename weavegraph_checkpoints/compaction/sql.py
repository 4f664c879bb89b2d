"""The SQL of compaction: keyset reads of sessions and steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from weavegraph_checkpoints.backends.base import KEYFRAME, SESSION, Backend
from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.backends.rows import placeholders
from weavegraph_checkpoints.serde.deltas import is_delta

SESSION_PAGE_SIZE = 200
STEP_PAGE_SIZE = 1000
"""Steps whose headers one statement reads."""
MAX_PARAMETERS = 900
"""Parameters of a statement: every SQLite takes 999."""

_START_BYTES = 64
"""A delta is known by this much of its start, in the formats that this app and Django write."""


class StepHeader(NamedTuple):
    """A step without its state."""

    step: int
    base_id: int | None
    state_bytes: int
    """The size of the whole state."""
    document_bytes: int
    """The size of the stored document, if there is a base."""
    start: bytes | str | None
    """The start of the stored document, if there is a base."""

    @property
    def is_whole(self) -> bool:
        """Whether the state is stored whole."""
        return self.start is None or not is_delta(self.start)


class StoredDocument(NamedTuple):
    """The state of a step as it is stored."""

    base_id: int | None
    document: bytes | str

    @property
    def size(self) -> int:
        """The size of the document as UTF-8."""
        document = self.document
        return len(document if isinstance(document, bytes) else document.encode())


class CompactionStatements:
    """The statements of a compaction on one connection."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def count_steps(self, session_ids: Sequence[str] | None) -> int:
        """Return the number of steps of these sessions, or of all."""
        select = f"SELECT COUNT(*) FROM {self.backend.all_steps}"
        if session_ids is None:
            return int(self.backend.fetch_all(select)[0][0])
        select = f"SELECT COUNT(*) FROM {self.backend.steps_by_key}"
        return sum(
            self.backend.fetch_all(f"{select} WHERE session_id IN ({placeholders(ids)})", ids)[0][0]
            for ids in batched(session_ids, MAX_PARAMETERS)
        )

    def get_sessions(self, session_ids: Sequence[str] | None, after: str) -> list[str]:
        """Return the next ``SESSION_PAGE_SIZE`` of these sessions, or of all, by id."""
        if session_ids is None:
            return self._get_sessions("id > %s", [after])
        later = (session_id for session_id in session_ids if session_id > after)
        for ids in batched(later, SESSION_PAGE_SIZE):
            if found := self._get_sessions(f"id IN ({placeholders(ids)})", ids):
                return found
        return []

    def _get_sessions(self, condition: str, parameters: Sequence[Any]) -> list[str]:
        rows = self.backend.fetch_all(
            f"SELECT id FROM {SESSION} WHERE {condition} ORDER BY id LIMIT %s",
            [*parameters, SESSION_PAGE_SIZE],
        )
        return [session_id for (session_id,) in rows]

    def get_headers(self, session_id: str, newest: int) -> list[StepHeader]:
        """Return the next ``STEP_PAGE_SIZE`` steps up to a step number, newest first."""
        size = self.backend.octet_length("state")
        start = f"SUBSTR({self.backend.json_as_stored('state')}, 1, {_START_BYTES})"
        rows = self.backend.fetch_all(
            f"SELECT step, base_id, COALESCE(state_bytes, {size}),"
            f" CASE WHEN base_id IS NULL THEN 0 ELSE {size} END,"
            f" CASE WHEN base_id IS NULL THEN NULL ELSE {start} END"
            f" FROM {self.backend.steps_by_key} WHERE session_id = %s AND step <= %s"
            " ORDER BY step DESC LIMIT %s",
            [session_id, newest, STEP_PAGE_SIZE],
        )
        return list(map(StepHeader._make, rows))

    def get_documents(self, session_id: str, steps: Sequence[int]) -> dict[int, StoredDocument]:
        """Return the states of those of ``steps`` that exist."""
        found: dict[int, StoredDocument] = {}
        for numbers in batched(steps, MAX_PARAMETERS):
            rows = self.backend.fetch_all(
                f"SELECT step, base_id, {self.backend.json_as_stored('state')}"
                f" FROM {self.backend.steps_by_key}"
                f" WHERE session_id = %s AND step IN ({placeholders(numbers)})",
                [session_id, *numbers],
            )
            found |= {step: StoredDocument(base_id, document) for step, base_id, document in rows}
        return found

    def has_keyframe(self, session_id: str, keyframe_id: int) -> bool:
        """Return whether a keyframe of a session exists."""
        sql = f"SELECT 1 FROM {KEYFRAME} WHERE id = %s AND session_id = %s"
        return bool(self.backend.fetch_all(sql, [keyframe_id, session_id]))

    def has_next(self, session_id: str, keyframe_id: int) -> bool:
        """Return whether another keyframe follows a keyframe of a session."""
        sql = f"SELECT 1 FROM {KEYFRAME} WHERE previous_id = %s AND session_id = %s"
        return bool(self.backend.fetch_all(sql, [keyframe_id, session_id]))

    def get_keyframe_sizes(self, session_id: str) -> dict[int, int]:
        """Return the size of each keyframe of a session by id."""
        size = self.backend.octet_length("state")
        sql = f"SELECT id, {size} FROM {KEYFRAME} WHERE session_id = %s"
        return dict(self.backend.fetch_all(sql, [session_id]))
