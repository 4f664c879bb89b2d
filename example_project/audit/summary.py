"""Read a session's history back from the database and summarize it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from weavegraph_checkpoints import Checkpoint, NodeKind, StepQuery, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


def history(checkpointer: DjangoCheckpointer, session_id: str) -> list[Checkpoint]:
    """Return all steps of a session, oldest first, read page by page."""
    found: list[Checkpoint] = []
    query = StepQuery(limit=200)
    while True:
        page = checkpointer.query_steps(session_id, query)
        found += page.checkpoints
        if not page.page_info.has_next_page:
            return found[::-1]
        query = replace(query, max_step=found[-1].step - 1)


def is_complete(steps: Sequence[Checkpoint]) -> bool:
    """Return whether the steps are complete, from 0 to the newest."""
    return [checkpoint.step for checkpoint in steps] == list(range(len(steps)))


def same_findings(one: Checkpoint, other: Checkpoint) -> bool:
    """Return whether two runs have the same findings, apart from the timestamps of errors."""
    return _findings(one) == _findings(other)


def _findings(checkpoint: Checkpoint) -> list[Any]:
    state = checkpoint.state
    errors = [(event.error, event.scope, event.tags) for event in state.errors.items]
    return [state.messages, state.extra, errors]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRange:
    """Summary of consecutive steps of a session, and of the state after them."""

    session_id: str
    first: int
    last: int
    ran: int
    skipped: int
    messages: int
    errors: int
    state_bytes: int

    @classmethod
    def from_steps(cls, steps: Sequence[Checkpoint]) -> Self:
        """Return the summary of consecutive steps."""
        first, last = steps[0], steps[-1]
        return cls(
            session_id=last.session_id,
            first=first.step,
            last=last.step,
            ran=_count(checkpoint.ran_nodes for checkpoint in steps),
            skipped=_count(checkpoint.skipped_nodes for checkpoint in steps),
            messages=len(last.state.messages.items),
            errors=len(last.state.errors.items),
            state_bytes=len(serde.dumps_state(last.state)),
        )

    def cells(self) -> list[str]:
        """Return a column of the table of ``ROWS``."""
        return [
            self.session_id,
            f"{self.first} to {self.last}",
            str(self.ran),
            str(self.skipped),
            str(self.messages),
            str(self.errors),
            f"{self.state_bytes:,} bytes",
        ]


ROWS = (
    "session",
    "steps",
    "nodes run",
    "nodes skipped",
    "messages at the end",
    "errors at the end",
    "state at the end",
)


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines: the first column left-aligned, the others right-aligned."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for head, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "   ".join([head.ljust(widths[0]), *right])


def _count(nodes: Iterable[tuple[NodeKind, ...]]) -> int:
    return sum(len(some) for some in nodes)
