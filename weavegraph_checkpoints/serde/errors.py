"""Turns what msgspec says of bad JSON into errors that name the path."""

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


def malformed(error: Exception, data: bytes | str, path: str) -> SerializationError:
    """Return the error for JSON that could not be decoded; ``path`` is its root."""
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
        below = _resolved(below, data, message)
    return SerializationError(message, path + below[1:])


def refused(error: Exception, document: object, path: str) -> SerializationError:
    """Return the error for a document that could not be encoded."""
    if isinstance(error, UnicodeEncodeError):
        document = msgspec.to_builtins(document)
        return SerializationError(
            "text with a lone surrogate", next(_surrogates(document, path), path)
        )
    return SerializationError(str(error), path)


def _surrogates(value: Any, path: str) -> Iterator[str]:
    """Yield the path of each text that cannot be UTF-8; of a bad key, its object's."""
    if isinstance(value, str):
        if not is_storable_text(value.replace("\0", "")):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if not is_storable_text(key.replace("\0", "")):
                yield path
            yield from _surrogates(item, join_json_path(path, key))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _surrogates(item, join_json_path(path, position))


def _integer(digits: str) -> int | float:
    """Return an integer, or infinity for one that is too long to be read."""
    return int(digits) if len(digits.lstrip("-")) < 4300 else inf


def _resolved(path: str, data: bytes | str, message: str) -> str:
    """Return ``path`` with the keys that msgspec shows as ``[...]``."""
    try:
        document = json.loads(data, parse_int=_integer)
    except (ValueError, RecursionError):
        return path
    tokens = [match.group(0, 1, 2) for match in _TOKEN.finditer(path)]
    expected = _EXPECTED.match(message)
    wanted = None if expected is None else _PYTHON_TYPES.get(expected.group(1))
    for candidate, value in _candidates(document, "$", tokens):
        if value in (inf, -inf) if wanted is None else type(value) is not wanted:
            return candidate
    return path


def _candidates(value: Any, path: str, tokens: list[tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
    """Yield each path and value that ``tokens`` match, in document order."""
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
        yield from _candidates(value[key], join_json_path(path, key), tokens[1:])
