"""Check the sizes of the columns of a checkpoint that is about to be saved.

Reading checks no sizes: rows that other programs wrote are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from itertools import chain

import msgspec

from weavegraph_checkpoints.domain.checkpoint import Checkpoint
from weavegraph_checkpoints.domain.limits import (
    BYTES_PER_CONTAINER,
    MAX_CHANNELS,
    MAX_ERROR_BYTES,
    MAX_NAME_LENGTH,
    MAX_NAMES_BYTES,
    MAX_NODES,
    MAX_VERSIONS_SEEN,
    MAX_VERSIONS_SEEN_BYTES,
    MIN_CONTAINERS,
)
from weavegraph_checkpoints.exceptions import LimitExceeded
from weavegraph_checkpoints.serde.values import event_document

MAX_COUNTS = {
    "frontier": MAX_NODES,
    "ran_nodes": MAX_NODES,
    "skipped_nodes": MAX_NODES,
    "updated_channels": MAX_CHANNELS,
}
"""The maximum number of names in each column that is a list."""

_ALWAYS_VALID_LENGTH = min(MAX_NODES, MAX_CHANNELS, MAX_NAME_LENGTH, MAX_VERSIONS_SEEN)
"""JSON of up to as many characters exceeds none of the limits."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def check_sizes(
    checkpoint: Checkpoint,
    columns: Mapping[str, str],
    state_bytes: int,
    max_state_bytes: int | None,
) -> None:
    """Raise ``LimitExceeded`` for the first column that is too large.

    ``columns`` are the JSON columns other than the state, ``state_bytes`` is the size of its
    JSON. A state may have more lists and objects beside its messages the greater
    ``max_state_bytes`` is, as the memory that it takes grows with them; ``None`` is no limit.
    """
    for name, text in columns.items():
        if len(text) > _ALWAYS_VALID_LENGTH:
            _check_column(checkpoint, name, len(text.encode()))
    is_large = max_state_bytes is not None and state_bytes > 2 * _max_containers(max_state_bytes)
    if state_bytes <= MAX_ERROR_BYTES and not is_large:
        return
    state = checkpoint.state
    errors = msgspec.json.encode(list(map(event_document, state.errors.items)))
    for position, size in enumerate(map(len, _ITEMS.decode(errors))):
        if size > MAX_ERROR_BYTES:
            path = f"$.state.errors.items[{position}]"
            _check("the error has", size, "bytes", MAX_ERROR_BYTES, path)
    if max_state_bytes is not None and is_large:
        values = errors + msgspec.json.encode(state.extra.map)
        _check_containers(values, 0, max_state_bytes, "$.state")


def check_body_containers(data: bytes, max_state_bytes: int | None) -> None:
    """Raise ``LimitExceeded`` if decoding a checkpoint could take too much memory.

    Count the lists and objects of its JSON, but not its messages. Invalid JSON may pass.
    """
    if max_state_bytes is not None:
        known = data.count(b'"content"') + MAX_VERSIONS_SEEN
        _check_containers(data, known, max_state_bytes, "$")


def _check_containers(data: bytes, known: int, max_state_bytes: int, path: str) -> None:
    """Raise ``LimitExceeded`` unless JSON has few enough lists and objects beside the known."""
    limit = _max_containers(max_state_bytes)
    if len(data) <= 2 * limit or _count_containers(data) - known <= limit:
        return
    count = _count_containers(_STRING.sub(b"", data)) - known
    _check("the state has", count, "lists and objects", limit, path)


def _max_containers(max_state_bytes: int) -> int:
    return MIN_CONTAINERS + max_state_bytes // BYTES_PER_CONTAINER


def _count_containers(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def check_counts(document: object) -> None:
    """Raise ``LimitExceeded`` if a list of a checkpoint, or ``versions_seen``, is too long."""
    for name, maximum in MAX_COUNTS.items():
        names: Sized = getattr(document, name)
        _check(f"{name} has", len(names), "names", maximum, f"$.{name}")
    seen: Mapping[str, Sized] = document.versions_seen  # type: ignore[attr-defined]
    count = len(seen) + sum(map(len, seen.values()))
    unit = "nodes and versions"
    _check("versions_seen has", count, unit, MAX_VERSIONS_SEEN, "$.versions_seen")


def _check_column(checkpoint: Checkpoint, name: str, size: int) -> None:
    path = f"$.{name}"
    check_counts(checkpoint)
    if name == "versions_seen":
        seen = checkpoint.versions_seen
        for key in chain(seen, *seen.values()):
            _check("a key has", len(key), "characters", MAX_NAME_LENGTH, path)
        _check(f"{name} has", size, "bytes", MAX_VERSIONS_SEEN_BYTES, path)
        return
    for position, value in enumerate(getattr(checkpoint, name)):
        length = len(str(value))
        _check("the name has", length, "characters", MAX_NAME_LENGTH, f"{path}[{position}]")
    _check(f"{name} has", size, "bytes", MAX_NAMES_BYTES, path)


def _check(subject: str, size: int, unit: str, maximum: int, path: str) -> None:
    if size > maximum:
        raise LimitExceeded(f"{subject} {size} {unit}, the limit is {maximum}", path)
