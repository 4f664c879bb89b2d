"""Move sessions in batches; what imports and exports have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from weavegraph_checkpoints import telemetry
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.exceptions import (
    InterchangeError,
    InvalidCheckpoint,
    SerializationError,
)
from weavegraph_checkpoints.interchange.crate import CrateStep

logger = logging.getLogger("weavegraph_checkpoints.interchange")

STEPS_BATCH_SIZE = 1000
MAX_BATCH_BYTES = 8 * 1024 * 1024

INVALID = (InvalidCheckpoint, SerializationError)

Key = TypeVar("Key")
Row = TypeVar("Row", StepRow, CrateStep)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidRow:
    """A row that keeps its session from being moved."""

    session_id: str
    """The id, or its ``repr`` if it is not a valid one."""
    step: object
    """The number of the step, or ``None`` if the row is the session's."""
    reason: str

    @classmethod
    def from_error(
        cls, session_id: str, step: object, error: InvalidCheckpoint | SerializationError
    ) -> InvalidRow:
        """Build it from the error that decoding the row raised."""
        message = error.message.removeprefix(f"session {session_id!r}, step {step}: ")
        return cls(session_id=session_id, step=step, reason=f"{message} (at {error.path})")

    def __str__(self) -> str:
        step = "" if self.step is None else f", step {self.step}"
        return f"session {self.session_id!r}{step}: {self.reason}"


class SkipSession(Exception):
    """The current session is left out; its invalid rows are reported."""


class Transfer(ABC, Generic[Key, Row, Result]):
    """Moves sessions one after the other; small ones are written together in a batch.

    A session with an invalid row is left out whole. Without ``on_invalid`` such a row
    raises ``InterchangeError``; the sessions before it are written.
    """

    title: str
    """What the log says has finished."""
    result_type: Callable[..., Result]
    error_prefix = ""
    dry_run = False

    def __init__(
        self,
        alias: str,
        on_invalid: Callable[[InvalidRow], None] | None,
        on_progress: Callable[[Result], None] | None,
    ) -> None:
        self.alias = alias
        self.on_invalid = on_invalid
        self.on_progress = on_progress
        self.counts: Counter[str] = Counter()
        self.has_invalid_row = False
        """Whether the current session has an invalid row."""
        self._start_batch()

    @abstractmethod
    def iter_pages(self, key: Key) -> Iterator[list[Row]]:
        """Yield the valid steps of a session, and reject the others."""

    @abstractmethod
    def prepare(self, key: Key, rows: Sequence[Row]) -> Any:
        """Return what a batch holds of a session next to its steps, or raise ``SkipSession``."""

    @abstractmethod
    def write(self, batch: Sequence[tuple[Any, list[Row]]]) -> None:
        """Write a batch in one transaction, and count it."""

    @abstractmethod
    def move_large(self, key: Key, rows: list[Row], pages: Iterator[list[Row]]) -> None:
        """Move a session that is too large for a batch.

        ``rows`` are the steps read so far, ``pages`` those that follow.
        """

    def move(self, keys: Iterable[Key]) -> None:
        """Move sessions."""
        for key in keys:
            self.has_invalid_row = False
            try:
                self.move_session(key)
            except SkipSession:
                self.count({"invalid": 1})

    def finish(self) -> Result:
        """Write the last batch, and return the result."""
        self.flush()
        if not self.dry_run:
            self._log()
        return self.result_type(**self.counts)

    def _log(self) -> None:
        counts = self.counts
        logger.info(
            "%s: %d sessions, %d steps added, %d replaced",
            self.title,
            counts["sessions"],
            counts["added"],
            counts["replaced"],
            extra={"database": self.alias, **counts},
        )

    def move_session(self, key: Key) -> None:
        """Move a session, or add it to the batch; may raise ``SkipSession``."""
        pages = self.iter_pages(key)
        rows: list[Row] = []
        size = 0
        for page in pages:
            rows += page
            size += sum(len(row.state) for row in page)
            if len(rows) >= STEPS_BATCH_SIZE or size >= MAX_BATCH_BYTES:
                self.flush()
                self.move_large(key, rows, pages)
                return
        self._batch.append((self.prepare(key, rows), rows))
        self._batch_steps += max(1, len(rows))
        self._batch_bytes += size
        if self._batch_steps >= STEPS_BATCH_SIZE or self._batch_bytes >= MAX_BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the batch collected so far."""
        batch = self._batch
        self._start_batch()
        if batch:
            self.write(batch)

    def _start_batch(self) -> None:
        self._batch: list[tuple[Any, list[Row]]] = []
        self._batch_steps = self._batch_bytes = 0

    def reject(self, row: InvalidRow) -> None:
        """Report an invalid row, or write the batch and raise ``InterchangeError``."""
        self.has_invalid_row = True
        if self.on_invalid is None:
            self.flush()
            raise InterchangeError(f"{self.error_prefix}{row}")
        self.on_invalid(row)

    def check_valid(self) -> None:
        """Raise ``SkipSession`` if the current session has an invalid row."""
        if self.has_invalid_row:
            raise SkipSession

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to the result, and report the progress."""
        self.counts.update(counts)
        telemetry.set_rows(self.counts["added"] + self.counts["replaced"])
        if self.on_progress is not None:
            self.on_progress(self.result_type(**self.counts))
