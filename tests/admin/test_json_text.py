from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.assertions import assert_same
from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.json_text import (
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    format_json_text,
)


def format_text(text: str) -> str | None:
    return format_json_text(text, PageBudget())


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("[]", "[]"),
        (" {} ", "{}"),
        ('{"a":1}', '{\n  "a": 1\n}'),
        ('[ 1 ,\n {"b":[ ]} ]', '[\n  1,\n  {\n    "b": []\n  }\n]'),
        (
            '[1e23,1.0,-0.0,1E+2,18446744073709551616]',
            "[\n  1e23,\n  1.0,\n  -0.0,\n  1E+2,\n  18446744073709551616\n]",
        ),
        ('{"a":1,"a":2}', '{\n  "a": 1,\n  "a": 2\n}'),
        (r'["\u65e5\u672c","\ud83d\ude00"]', '[\n  "日本",\n  "😀"\n]'),
        (r'["a\nb\"\\u0041"]', '[\n  "a\\nb\\"\\\\u0041"\n]'),
        (r'["\u0000\u001f"]', '[\n  "\\u0000\\u001f"\n]'),
        ('["[{}]","\\"]"]', '[\n  "[{}]",\n  "\\"]"\n]'),
    ],
)  # fmt: skip
def test_objects_and_arrays_are_formatted_without_changing_a_value(
    text: str, formatted: str
) -> None:
    assert format_text(text) == formatted


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "text", "1", "null", '"text"', "{", "[", "[1", "{1:2}", "{'a': 1}", "[1,]", "[01]",
        "[NaN]", "[Infinity]", "[tru]", "[1] [2]", '{"a":1}\n{"a":2}', "[File: a.py (1 line)]",
        "{{ template }}", '["\t"]', '["\\x"]', r'["\ud800"]', "\ufeff[1]", "[" * 60_000,
        "[" * 900 + "]" * 900, '["unclosed]', "]", "}{", "[//]", "/* */ {}",
    ],
)  # fmt: skip
def test_any_other_text_is_not_formatted(text: str) -> None:
    assert format_text(text) is None


def test_depth_and_size_are_limited() -> None:
    deepest = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH
    assert format_text(deepest) is not None
    assert format_text(f"[{deepest}]") is None
    longest = f'["{"x" * (MAX_JSON_BYTES - 4)}"]'
    assert format_text(longest) is not None
    assert format_text(longest + " ") is None
    assert format_text(f'["{"é" * (MAX_JSON_BYTES // 2)}"]') is None


def test_no_page_formats_more_than_its_budget() -> None:
    budget = PageBudget()
    text = f'["{"x" * (MAX_JSON_BYTES - 4)}"]'
    formatted = [format_json_text(text, budget) is not None for _ in range(20)]
    assert formatted == [True] * 15 + [False] * 5
    assert not budget.is_exceeded


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_any_json_has_the_same_value_when_formatted(
    value: Any, ascii_only: bool, indent: Any
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    formatted = format_text(text)
    if isinstance(value, dict | list):
        assert formatted is not None
        assert_same(json.loads(formatted), value)
    else:
        assert formatted is None


@given(st.text(st.sampled_from('[]{}",:1\\u0d8 \n'), max_size=30))
def test_any_text_can_be_tried(text: str) -> None:
    formatted = format_text(text)
    if formatted is not None:
        assert_same(json.loads(formatted), json.loads(text))
