"""Compare values and their types: 1, 1.0 and True differ, and so do 0.0 and -0.0."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import msgspec

from weavegraph_checkpoints import Checkpoint, ErrorEvent, VersionedState, WeaveError


def assert_same(actual: Any, expected: Any) -> None:
    """Fail with the path of the first difference in value or type."""
    assert difference(actual, expected) is None


def difference(actual: Any, expected: Any, path: str = "$") -> str | None:
    """Return the path and a description of the first difference, or ``None``; ignore key order."""
    if type(actual) is not type(expected):
        return f"{path}: {type(actual).__name__} instead of {type(expected).__name__}"
    if isinstance(actual, float):
        equal = struct.pack("d", actual) == struct.pack("d", expected)
        return None if equal else f"{path}: {actual!r} instead of {expected!r}"
    if isinstance(actual, dict | list | tuple) or fields_of(actual):
        return _difference_inside(_entries(actual), _entries(expected), path)
    return None if actual == expected else f"{path}: {actual!r} instead of {expected!r}"


def fields_of(value: Any) -> tuple[str, ...]:
    """Return the names of the fields of a struct or of a dataclass."""
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()


def as_read(value: Any) -> Any:
    """Return a JSON value as it is loaded: tuples become lists."""
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_read(item) for item in value]
    return value


def state_as_read(state: VersionedState) -> VersionedState:
    """Return a state as it is loaded: tuples in its free values become lists."""
    extra = msgspec.structs.replace(state.extra, map=as_read(state.extra.map))
    items = tuple(_event_as_read(event) for event in state.errors.items)
    errors = msgspec.structs.replace(state.errors, items=items)
    return msgspec.structs.replace(state, extra=extra, errors=errors)


def checkpoint_as_read(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint as it is loaded: see ``state_as_read``."""
    return dataclasses.replace(checkpoint, state=state_as_read(checkpoint.state))


def _event_as_read(event: ErrorEvent) -> ErrorEvent:
    return msgspec.structs.replace(
        event, error=_error_as_read(event.error), context=as_read(event.context)
    )


def _error_as_read(error: WeaveError) -> WeaveError:
    cause = None if error.cause is None else _error_as_read(error.cause)
    return msgspec.structs.replace(error, cause=cause, details=as_read(error.details))


def _entries(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    return {name: getattr(value, name) for name in fields_of(value)}


def _difference_inside(actual: dict[Any, Any], expected: dict[Any, Any], path: str) -> str | None:
    if actual.keys() != expected.keys():
        return f"{path}: keys {list(actual)!r} instead of {list(expected)!r}"
    for key, item in actual.items():
        found = difference(item, expected[key], f"{path}[{key!r}]")
        if found is not None:
            return found
    return None
