from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavegraph_checkpoints import AppScope, NodeScope, RunnerScope, SchedulerScope
from weavegraph_checkpoints.admin.formatting import (
    escape_control_chars,
    format_age,
    format_duration,
    format_node,
    format_scope,
    format_signed_number,
    format_signed_size,
    get_texts,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (61, "1 min 1 s"),
        (3_600, "1 h 0 min"),
        (90_000, "1 day 1 h"),
        (200_000, "2 days 7 h"),
        (-61, "−1 min 1 s"),
    ],
)
def test_a_span_is_told_in_its_largest_units(seconds: float, expected: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == expected


def test_the_longest_span_is_told() -> None:
    assert format_duration(timedelta.max).startswith("1,000,000,000 days")
    assert format_duration(timedelta.min).startswith("−")


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (5, "just now"),
        (-5, "just now"),
        (180, "3 min ago"),
        (7_200, "2 h ago"),
        (90_000, "1 day ago"),
    ],
)
def test_an_instant_is_told_by_its_age(ago: int, expected: str) -> None:
    assert format_age(NOW - timedelta(seconds=ago), NOW) == expected


def test_numbers_and_sizes_have_signs() -> None:
    assert [format_signed_number(value) for value in (0, 3, -12_000)] == ["", "+3", "−12,000"]
    assert [format_signed_size(value) for value in (0, 2_048, -1)] == [
        "",
        "+2.0\xa0KB",
        "−1 B",
    ]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (NodeScope(kind="plan", step=3), "node plan at step 3"),
        (SchedulerScope(step=4), "the scheduler at step 4"),
        (RunnerScope(session="s", step=5), "the runner of session s at step 5"),
        (AppScope(), "the application"),
    ],
)
def test_a_scope_is_told(scope: object, expected: str) -> None:
    assert format_scope(scope) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        ("Start", "Start"),
        ("Custom:plan", "plan"),
        ("Custom:Start", "Custom:Start"),
        ("Custom:", "Custom:"),
    ],
)
def test_a_node_is_told_by_its_name(encoded: str, expected: str) -> None:
    assert format_node(encoded) == expected


def test_a_column_that_is_no_list_of_texts_has_none() -> None:
    assert get_texts(["a", 1, None, "b"]) == ("a", "b")
    assert get_texts({"a": 1}) == get_texts(None) == ()


def test_the_null_character_is_visible() -> None:
    assert escape_control_chars("a\0b") == "a␀b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u2066b\u2069c", "a\u2066b\u2069c"),
        ("a\u2067b\u2068c\u2069", "a�b\u2068c\u2069"),
        ("\u2069a\u202eb\u202dc\u200fd", "�a�b�c\u200fd"),
        ("a\u2029b\x85c\x1ed", "a¶b␤c␞d"),
    ],
)
def test_no_text_turns_what_stands_around_it(text: str, expected: str) -> None:
    assert escape_control_chars(text) == expected


@given(st.text(alphabet="a\u2066\u2067\u2068\u2069\0"))
def test_every_isolation_ends_where_the_text_does(text: str) -> None:
    depth, lowest = 0, 0
    for mark in escape_control_chars(text):
        depth += (mark in "\u2066\u2067\u2068") - (mark == "\u2069")
        lowest = min(lowest, depth)
    assert (depth, lowest) == (0, 0)
