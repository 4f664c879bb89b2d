"""Whether a step that comes in is the one that is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.interchange.sources import BYTES_A_PAGE
from weavegraph_checkpoints.interchange.sql import (
    IDS_A_STATEMENT,
    HeldStep,
    InterchangeStatements,
)
from weavegraph_checkpoints.serde import loads_json

_DOCUMENTS = ("frontier", "versions_seen", "ran_nodes", "skipped_nodes")


def differences(
    statements: InterchangeStatements, session_id: str, rows: Sequence[StepRow]
) -> dict[int, str]:
    """Return what differs (or "") in each of some steps of a session that is stored."""
    incoming = {row.step: row for row in rows}
    sizes = statements.sizes(session_id, list(incoming))
    return {
        held.step: ", ".join(_differing(incoming[held.step], held))
        for group in _groups(sizes)
        for held in statements.held_steps(session_id, group)
    }


def _groups(sizes: dict[int, int]) -> Iterator[list[int]]:
    group: list[int] = []
    total = 0
    for step, size in sizes.items():
        if group and (len(group) == IDS_A_STATEMENT or total + size > BYTES_A_PAGE):
            yield group
            group, total = [], 0
        group.append(step)
        total += size
    if group:
        yield group


def _differing(row: StepRow, held: HeldStep) -> Iterator[str]:
    if row.created_at != held.created_at:
        yield "created_at"
    if not same_json(row.state.decode(), held.state):
        yield "state"
    for name in _DOCUMENTS:
        if not same_json(getattr(row, name), getattr(held, name)):
            yield name
    # Both read as no channel.
    if not same_json(row.updated_channels or "[]", held.updated_channels or "[]"):
        yield "updated_channels"


def same_json(one: str, other: str) -> bool:
    """Say whether two documents are equal in value and in type; the order of keys is free."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(text: str) -> Any:
    try:
        return msgspec.json.encode(loads_json(text), order="deterministic")
    except (SerializationError, RecursionError):
        return text
