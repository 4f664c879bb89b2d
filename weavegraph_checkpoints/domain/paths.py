"""Paths into a JSON document: ``$.state.messages.items[0].role``."""

from __future__ import annotations

import json
import re

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def join_json_path(path: str, key: str | int) -> str:
    """Return the path of a key of an object, or of an index of an array."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}"
    return f"{path}[{json.dumps(key)}]"
