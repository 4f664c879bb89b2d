"""The difference between two states, as an RFC 6902 patch that is exact."""

from __future__ import annotations

from typing import Any

import jsonpatch
import msgspec

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain import VersionedState

_MAX_LEVELS = 100
"""What lies deeper is compared, and replaced, as one value."""


def patch_between(source: VersionedState, target: VersionedState) -> list[dict[str, Any]]:
    """Return the patch that makes the JSON of ``target`` of that of ``source``.

    It tells 1 from 1.0 and from true, and 0.0 from -0.0: to the comparison each scalar is
    its own JSON text.
    """
    patch = jsonpatch.make_patch(_texts(_document(source)), _texts(_document(target)))
    return [
        {**operation, "value": _values(operation["value"])} if "value" in operation else operation
        for operation in patch
    ]


def _document(state: VersionedState) -> Any:
    return serde.loads_json(serde.dumps_state(state))


def _texts(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Return a value with each scalar, and each deep value, as its JSON text."""
    if levels and isinstance(value, dict):
        return {key: _texts(item, levels - 1) for key, item in value.items()}
    if levels and isinstance(value, list):
        return [_texts(item, levels - 1) for item in value]
    return msgspec.json.encode(value).decode()


def _values(texts: Any) -> Any:
    """Return what ``_texts`` was made of."""
    if isinstance(texts, dict):
        return {key: _values(item) for key, item in texts.items()}
    if isinstance(texts, list):
        return [_values(item) for item in texts]
    return serde.loads_json(texts)
