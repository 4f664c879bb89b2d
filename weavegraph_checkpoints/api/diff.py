"""The difference between two states, as a lossless RFC 6902 patch."""

from __future__ import annotations

from typing import Any

import jsonpatch
import msgspec

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain import VersionedState

_MAX_LEVELS = 100
"""Values nested deeper are compared, and replaced, as a whole."""


def build_patch(source: VersionedState, target: VersionedState) -> list[dict[str, Any]]:
    """Return the patch that turns the JSON of ``source`` into that of ``target``.

    It distinguishes 1 from 1.0 and from true, and 0.0 from -0.0: scalars are compared by
    their JSON text.
    """
    patch = jsonpatch.make_patch(_encode_scalars(source), _encode_scalars(target))
    return [
        {**operation, "value": _decode_scalars(operation["value"])}
        if "value" in operation
        else operation
        for operation in patch
    ]


def _encode_scalars(state: VersionedState) -> Any:
    return _encode_value(serde.loads_json(serde.dumps_state(state)), _MAX_LEVELS)


def _encode_value(value: Any, levels: int) -> Any:
    """Return a value in which each scalar, and each value below ``levels``, is its JSON text."""
    if levels and isinstance(value, dict):
        return {key: _encode_value(item, levels - 1) for key, item in value.items()}
    if levels and isinstance(value, list):
        return [_encode_value(item, levels - 1) for item in value]
    return msgspec.json.encode(value).decode()


def _decode_scalars(value: Any) -> Any:
    """Return the value that ``_encode_value`` encoded."""
    if isinstance(value, dict):
        return {key: _decode_scalars(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode_scalars(item) for item in value]
    return serde.loads_json(value)
