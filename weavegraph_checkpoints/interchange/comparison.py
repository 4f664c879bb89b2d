"""Compare steps by value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.interchange.crate import DOCUMENTS, CrateStep
from weavegraph_checkpoints.interchange.sql import InterchangeStatements
from weavegraph_checkpoints.serde import loads_json


def find_differences(
    statements: InterchangeStatements, session_id: str, rows: Sequence[StepRow]
) -> dict[int, list[str]]:
    """Return, for each of the given steps that is stored, the columns that differ."""
    given = {row.step: row for row in rows}
    differences: dict[int, list[str]] = {}

    def add_unreadable(step: int, error: SerializationError) -> None:
        differences[step] = ["state"]

    for page in statements.iter_step_pages(session_id, add_unreadable, numbers=list(given)):
        for stored in page:
            differences[stored.step] = list(iter_differing_columns(given[stored.step], stored))
    return differences


def iter_differing_columns(row: StepRow | CrateStep, other: StepRow | CrateStep) -> Iterator[str]:
    """Yield the columns in which two rows of the same kind differ.

    The order of keys and whitespace in JSON do not matter; the types of values do.
    """
    if row.created_at != other.created_at:
        yield "created_at"
    for name in DOCUMENTS:
        if not _is_same_json(getattr(row, name), getattr(other, name)):
            yield name


def _is_same_json(text: bytes | str | None, other: bytes | str | None) -> bool:
    return text == other or _normalize(text) == _normalize(other)


def _normalize(text: bytes | str | None) -> Any:
    if text is None:  # Only updated_channels can be NULL, and that means an empty list.
        return b"[]"
    try:
        return msgspec.json.encode(loads_json(text), order="deterministic")
    except (SerializationError, RecursionError):
        return text
