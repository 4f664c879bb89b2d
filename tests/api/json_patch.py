"""An independent implementation of RFC 6902."""

from __future__ import annotations

from typing import Any


def apply_patch(document: Any, patch: list[dict[str, Any]]) -> Any:
    """Apply every operation to the document, in place, and return it."""
    for operation in patch:
        kind, path = operation["op"], operation["path"]
        if kind == "move":
            value = _remove(document, operation["from"])
        elif kind == "remove":
            _remove(document, path)
            continue
        else:
            value = operation["value"]
        if path == "":
            assert kind == "replace"
            document = value
        elif kind == "replace":
            parent, key = _parent(document, path)
            assert key in parent if isinstance(parent, dict) else key < len(parent)
            parent[key] = value
        else:
            _add(document, path, value)
    return document


def _parent(document: Any, path: str) -> tuple[Any, Any]:
    assert path.startswith("/")
    *keys, last = (key.replace("~1", "/").replace("~0", "~") for key in path[1:].split("/"))
    for key in keys:
        document = document[int(key) if isinstance(document, list) else key]
    if isinstance(document, list):
        return document, len(document) if last == "-" else int(last)
    return document, last


def _remove(document: Any, path: str) -> Any:
    parent, key = _parent(document, path)
    return parent.pop(key)


def _add(document: Any, path: str, value: Any) -> None:
    parent, key = _parent(document, path)
    if isinstance(parent, list):
        assert key <= len(parent)
        parent.insert(key, value)
    else:
        parent[key] = value
