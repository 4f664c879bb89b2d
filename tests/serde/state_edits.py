"""Strategies for states that are made of another by small and large edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.strategies import (
    EDGE_TEXTS,
    MAX_VERSION,
    error_events,
    json_objects,
    json_values,
    messages,
    text,
    within,
)
from weavegraph_checkpoints import (
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    VersionedState,
)

LONG_TEXTS = st.sampled_from([*EDGE_TEXTS, "é\n", '\\"', "\u0001日", "ab"]).map(lambda x: x * 60)
"""Texts that are long enough to be spliced, with escape sequences and characters of any width."""


def long_values() -> st.SearchStrategy[Any]:
    """Return JSON values whose changes are written by member or by splice."""
    return st.recursive(
        LONG_TEXTS | st.lists(json_values(max_leaves=3), min_size=20, max_size=40),
        lambda inner: st.dictionaries(text(max_size=3), inner | json_values(), max_size=4),
        max_leaves=4,
    )


def large_states() -> st.SearchStrategy[VersionedState]:
    """Return states with many messages, equal ones among them, and long values."""
    return st.builds(
        build_state,
        st.lists(messages() | st.sampled_from([Message.user("ok"), Message.user("")]), max_size=12),
        st.dictionaries(text(max_size=3), long_values() | json_values(), max_size=5),
        st.lists(error_events(), max_size=3),
        st.tuples(within(MAX_VERSION), within(MAX_VERSION), within(MAX_VERSION)),
    )


def build_state(
    items: list[Any], extra: dict[str, Any], errors: list[Any], versions: tuple[int, int, int]
) -> VersionedState:
    return VersionedState(
        messages=MessagesChannel(version=versions[0], items=items),
        extra=ExtrasChannel(version=versions[1], map=extra),
        errors=ErrorsChannel(version=versions[2], items=errors),
    )


@st.composite
def edited_states(draw: st.DrawFn, state: VersionedState) -> VersionedState:
    """Return a state that is made of another by a few edits of each channel."""
    items = list(state.messages.items)
    errors = list(state.errors.items)
    extra = dict(state.extra.map)
    for _ in range(draw(st.integers(0, 4))):
        edit_list(draw, items, messages())
    for _ in range(draw(st.integers(0, 2))):
        edit_list(draw, errors, error_events())
    for _ in range(draw(st.integers(0, 4))):
        extra = edit_object(draw, extra)
    versions = draw(st.tuples(within(MAX_VERSION), within(MAX_VERSION), within(MAX_VERSION)))
    return build_state(items, extra, errors, versions)


def edit_list(draw: st.DrawFn, items: list[Any], new: st.SearchStrategy[Any]) -> None:
    """Append, insert, drop, replace, cut, move, duplicate or rebuild items, in place."""
    start, stop = sorted((draw(st.integers(0, len(items))), draw(st.integers(0, len(items)))))
    part = items[start:stop]
    edits: dict[str, Callable[[], list[Any]]] = {
        "append": lambda: [*items, *draw(st.lists(new, min_size=1, max_size=3))],
        "insert": lambda: [*items[:start], draw(new), *items[start:]],
        "drop": lambda: items[:start] + items[start + 1 :],
        "replace": lambda: [*items[:start], draw(new), *items[start + 1 :]],
        "cut": lambda: items[:start] + items[stop:],
        "keep": lambda: part,
        "move": lambda: items[:start] + items[stop:] + part,
        "duplicate": lambda: [*items, *part],
        "rebuild": lambda: draw(st.lists(new, max_size=4)),
    }
    items[:] = edits[draw(st.sampled_from(list(edits)))]()


def edit_object(draw: st.DrawFn, members: dict[str, Any]) -> dict[str, Any]:
    """Return an object with a member set, dropped, grown, or nested, or in another order."""
    values = long_values() | json_values()
    if not members:
        return draw(json_objects())
    key = draw(st.sampled_from(list(members)))
    edits: dict[str, Callable[[], dict[str, Any]]] = {
        "set": lambda: {**members, key: draw(values)},
        "add": lambda: {**members, draw(text(max_size=3)): draw(values)},
        "drop": lambda: {name: value for name, value in members.items() if name != key},
        "grow": lambda: {**members, key: grow(draw, members[key])},
        "nest": lambda: {**members, key: {"inside": members[key]}},
        "reorder": lambda: dict(draw(st.permutations(list(members.items())))),
        "move to the end": lambda: {
            **{name: value for name, value in members.items() if name != key},
            key: members[key],
        },
    }
    return edits[draw(st.sampled_from(list(edits)))]()


def grow(draw: st.DrawFn, value: Any) -> Any:
    """Return a value with something more, or less, in it."""
    if isinstance(value, str):
        at = draw(st.integers(0, len(value)))
        return value[:at] + draw(text()) + value[at + draw(st.integers(0, 2)) :]
    if isinstance(value, list | tuple):
        items = list(value)
        edit_list(draw, items, json_values(max_leaves=3))
        return items
    if isinstance(value, dict):
        return edit_object(draw, value)
    return [value]
