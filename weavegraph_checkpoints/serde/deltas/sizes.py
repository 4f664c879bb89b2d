"""The length of the JSON of a state, computed from its parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from weavegraph_checkpoints.serde.codec import ENCODER

Versions = tuple[int, int, int]
"""The versions of the messages, of ``extra`` and of the errors."""

_EMPTY_STATE_BYTES = len(
    b'{"messages":{"version":,"items":[]},"extra":{"version":,"map":{}},'
    b'"errors":{"version":,"items":[]}}'
)


def count_items_bytes(items: Sequence[object]) -> int:
    """Return the length of the JSON of each item, together."""
    return len(ENCODER.encode(items)) - 1 - len(items) if items else 0


def count_state_bytes(
    versions: Versions,
    messages: Collection[object],
    messages_bytes: int,
    extra: Mapping[str, bytes],
    errors: Collection[bytes],
) -> int:
    """Return the length of ``dumps_state``.

    ``messages_bytes`` is the length of the JSON of each message, together.
    """
    return (
        _EMPTY_STATE_BYTES
        + sum(map(len, map(str, versions)))
        + messages_bytes
        + max(0, len(messages) - 1)
        + count_items_bytes(list(extra))
        + sum(map(len, extra.values()))
        + len(extra)
        + max(0, len(extra) - 1)
        + sum(map(len, errors))
        + max(0, len(errors) - 1)
    )
