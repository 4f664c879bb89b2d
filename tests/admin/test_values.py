from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from tests.strategies import json_values
from weavegraph_checkpoints.admin.presenters.values import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_LINES,
    build_json_pointer,
    build_value_tree,
    format_json,
    format_json_prefix,
    resolve_json_pointer,
)


def build_nested_list(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def test_similar_values_look_different() -> None:
    lines = build_value_tree([1, 1.0, "1", True, "true", None, "", 0.0, -0.0, [], {}], ())
    assert [line.text for line in lines] == [
        "1",
        "1.0",
        '"1"',
        "true",
        '"true"',
        "null",
        '""',
        "0.0",
        "-0.0",
        "[]",
        "{}",
    ]


def test_three_levels_are_expanded() -> None:
    lines = build_value_tree({"a": {"b": {"c": {"d": 1}}}}, ("extra", "map"))
    assert [(line.kind, line.label, line.is_open) for line in lines if line.label] == [
        ("open", '"a"', True),
        ("open", '"b"', True),
        ("open", '"c"', False),
        ("leaf", '"d"', False),
    ]
    assert lines[2].pointer == "/extra/map/a/b/c"


def test_nesting_is_limited_and_balanced() -> None:
    lines = build_value_tree(build_nested_list(200), ())
    assert sum(line.kind == "open" for line in lines) == MAX_DEPTH - 1
    assert sum(line.kind == "close" for line in lines) == MAX_DEPTH - 1
    assert [line.kind for line in lines].count("link") == 1


def test_entries_after_the_first_200_are_linked() -> None:
    *shown, more = build_value_tree(list(range(500)), ("a",))
    assert len(shown) == MAX_ENTRIES
    assert (more.kind, more.count, more.text, more.pointer) == ("more", 300, "200", "/a")
    *shown, more = build_value_tree(list(range(500)), ("a",), offset=200)
    assert (shown[0].label, more.count, more.text) == ("200", 100, "400")
    assert len(build_value_tree(list(range(500)), ("a",), offset=400)) == 100


@pytest.mark.parametrize(
    "value",
    [list(range(1_000_000, 1_050_000)), {f"{n:06}": n for n in range(100_000, 150_000)}],
    ids=["array", "object"],
)
def test_the_length_of_a_large_value_is_estimated(value: Any) -> None:
    nested = {"only": [value]}
    text, omitted = format_json_prefix(nested, 100)
    size = len(msgspec.json.encode(nested))
    assert text == format_json(nested)[:100]
    assert 0.9 * size < len(text) + omitted < 1.1 * size


def test_the_number_of_lines_is_limited() -> None:
    lines = build_value_tree([[list(range(150)) for _ in range(150)] for _ in range(150)], ())
    assert sum(line.kind in ("open", "leaf", "link") for line in lines) <= MAX_LINES
    assert len(lines) < 2 * MAX_LINES + 100
    assert lines[-1].kind == "more"


def test_a_long_text_is_truncated_and_linked() -> None:
    (line,) = build_value_tree({"a": "x" * 9_000}, ())
    assert (line.kind, line.count, len(line.text)) == ("link", 9_002, 200)


@given(value=json_values(tuples=False))
def test_the_pointers_of_a_tree_resolve(value: Any) -> None:
    lines = build_value_tree(value, ())
    assert sum(line.kind == "open" for line in lines) == sum(line.kind == "close" for line in lines)
    for line in lines:
        if line.kind == "open":
            found = resolve_json_pointer(value, line.pointer)
            assert found is not None
            path, part = found
            assert build_json_pointer(path) == line.pointer
            assert len(part) == line.count


@pytest.mark.parametrize(
    "pointer",
    ["a", "/b", "/a/3", "/a/-1", "/a/01x", "/a/x", "/a/٣", "/a/" + "9" * 5000, "/a/0/0", "//"],
)
def test_an_unknown_pointer_is_none(pointer: str) -> None:
    assert resolve_json_pointer({"a": [1, 2, 3], "~/": 1}, pointer) is None


def test_pointers_escape_slashes_and_tildes() -> None:
    assert build_json_pointer(("~/", 0)) == "/~0~1/0"
    assert resolve_json_pointer({"~/": [5]}, "/~0~1/0") == (("~/", 0), 5)
    assert resolve_json_pointer([1], "") == ((), [1])


def test_only_control_characters_are_escaped() -> None:
    assert format_json("日本\0\n") == '"日本\\u0000\\n"'
    assert format_json("\u202ea\u2067") == '"\\u202ea\\u2067"'
