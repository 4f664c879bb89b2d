"""JSON values that contain a given value at any depth, with the path to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from tests.strategies import a_checkpoint, an_error_event, json_scalars, text
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, WeaveError

Key = str | int

FEWER_EXAMPLES = settings(max_examples=max(1, settings().max_examples // 3))
"""For properties that are tested once for each kind of value."""


def build_path(root: str, keys: Sequence[Key]) -> str:
    """Return the path of a value: names as ``.name``, other keys as JSON in brackets."""
    path = root
    for key in keys:
        if isinstance(key, str) and re.fullmatch("[A-Za-z_][A-Za-z_0-9]*", key):
            path += f".{key}"
        else:
            path += f"[{json.dumps(key)}]"
    return path


@st.composite
def values_containing(
    draw: st.DrawFn, thing: Any, *, tuples: bool = True, max_depth: int = 6
) -> tuple[Any, list[Key]]:
    """Return a JSON value that contains ``thing``, and the keys that lead to it."""
    value, keys = thing, list[Key]()
    for _ in range(draw(st.integers(0, max_depth))):
        around = draw(st.lists(json_scalars(), max_size=3))
        position = draw(st.integers(0, len(around)))
        if draw(st.booleans()):
            value = [*around[:position], value, *around[position:]]
            value = tuple(value) if tuples and draw(st.booleans()) else value
            keys.insert(0, position)
        else:
            names = draw(
                st.lists(text(), min_size=len(around) + 1, max_size=len(around) + 1, unique=True)
            )
            around.insert(position, value)
            value = dict(zip(names, around, strict=True))
            keys.insert(0, names[position])
    return value, keys


def nest(levels: int, kind: str = "list", inside: Any = 0) -> tuple[Any, list[Key]]:
    """Return ``inside`` in ``levels`` containers, and the keys that lead to it."""
    value = inside
    keys: list[Key] = []
    for level in range(levels):
        if kind == "object" or (kind == "mixed" and level % 2):
            value, key = {"k": value}, "k"
        else:
            value, key = ((value,) if kind == "tuple" else [value]), 0
        keys.insert(0, key)
    return value, keys


def _in_extra(value: Any) -> VersionedState:
    return VersionedState.new(extra={"first": 1, "a b": value, "last": 2})


def _in_context(value: Any) -> VersionedState:
    return VersionedState.new(errors=[an_error_event(), an_error_event(context=value)])


def _in_details(value: Any) -> VersionedState:
    error = WeaveError(message="x", details=value)
    return VersionedState.new(messages=[Message.user("a")], errors=[an_error_event(error=error)])


def _in_cause(value: Any) -> VersionedState:
    error = WeaveError(message="root", details=value)
    for depth in range(3):
        error = WeaveError(message=str(depth), cause=error, details=depth)
    return VersionedState.new(errors=[an_error_event(error=error)])


FREE_VALUE_PATHS: dict[str, Callable[[Any], VersionedState]] = {
    '.extra.map["a b"]': _in_extra,
    ".errors.items[1].context": _in_context,
    ".errors.items[0].error.details": _in_details,
    ".errors.items[0].error.cause.cause.cause.details": _in_cause,
}
"""All fields of a state that take any JSON value, by path; each builds a state."""


def build_checkpoint(place: str, value: Any) -> Checkpoint:
    """Return a checkpoint with ``value`` at a path of ``FREE_VALUE_PATHS``."""
    return a_checkpoint(state=FREE_VALUE_PATHS[place](value))
