"""Convert the errors of msgspec into ``SerializationError`` with a path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import inf
from typing import Any

import msgspec

from weavegraph_checkpoints.domain.limits import is_storable_text
from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.exceptions import InvalidCheckpoint, SerializationError

_WHERE = re.compile(r" - at `(\$.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`\Z")
_EXPECTED = re.compile(r"Expected `(\w+)")
_TOKEN = re.compile(r"\[\.\.\.\]|\[(\d+)\]|\.(\w+)")
_PYTHON_TYPES = {"int": int, "object": dict, "str": str, "array": list}


def name_step(
    error: InvalidCheckpoint | SerializationError, session_id: str, step: int
) -> SerializationError:
    """Return the error with the session and step of the stored row in its message."""
    return SerializationError(f"session {session_id!r}, step {step}: {error.message}", error.path)


def from_decode_error(error: Exception, data: bytes | str, path: str) -> SerializationError:
    """Return the error for invalid JSON; ``path`` is its root."""
    if isinstance(error, RecursionError):
        return SerializationError("nested too deep", path)
    if isinstance(error, UnicodeError):
        return SerializationError(f"not valid UTF-8: {error}", path)
    message = str(error)
    where = _WHERE.search(message)
    below = "$" if where is None else where.group(1)
    message = message if where is None else message[: where.start()]
    if isinstance(error.__cause__, InvalidCheckpoint):
        below += error.__cause__.path[1:]
        message = error.__cause__.message
    missing = _MISSING.match(message)
    if missing is not None:
        below = join_json_path(below, missing.group(1))
    elif "[...]" in below:
        below = _resolve_path(below, data, message)
    return SerializationError(message, path + below[1:])


def from_encode_error(error: Exception, document: object, path: str) -> SerializationError:
    """Return the error for a document that cannot be encoded; ``path`` is its root."""
    if isinstance(error, UnicodeEncodeError):
        document = msgspec.to_builtins(document)
        return SerializationError(
            "text with a lone surrogate", next(_iter_surrogates(document, path), path)
        )
    return SerializationError(str(error), path)


def _iter_surrogates(value: Any, path: str) -> Iterator[str]:
    """Yield the path of each text with a lone surrogate; for a key, the path of its object."""
    if isinstance(value, str):
        if not is_storable_text(value.replace("\0", "")):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if not is_storable_text(key.replace("\0", "")):
                yield path
            yield from _iter_surrogates(item, join_json_path(path, key))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _iter_surrogates(item, join_json_path(path, position))


def _parse_int(digits: str) -> int | float:
    """Return an integer, or infinity if it has more digits than Python parses."""
    return int(digits) if len(digits.lstrip("-")) < 4300 else inf


def _resolve_path(path: str, data: bytes | str, message: str) -> str:
    """Return ``path`` with the keys that msgspec abbreviates to ``[...]``."""
    try:
        document = json.loads(data, parse_int=_parse_int)
    except (ValueError, RecursionError):
        return path
    tokens = [match.group(0, 1, 2) for match in _TOKEN.finditer(path)]
    expected = _EXPECTED.match(message)
    wanted = None if expected is None else _PYTHON_TYPES.get(expected.group(1))
    for candidate, value in _find_all(document, "$", tokens):
        if value in (inf, -inf) if wanted is None else type(value) is not wanted:
            return candidate
    return path


def _find_all(value: Any, path: str, tokens: list[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    """Yield the paths and values that match ``tokens``, in document order."""
    if not tokens:
        yield path, value
        return
    whole, index, name = tokens[0]
    keys: list[Any] = []
    if whole == "[...]" and isinstance(value, dict):
        keys = list(value)
    elif index is not None and isinstance(value, list):
        keys = [int(index)]
    elif name is not None and isinstance(value, dict):
        keys = [name]
    for key in keys:
        yield from _find_all(value[key], join_json_path(path, key), tokens[1:])
