from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from weavegraph_checkpoints import AppScope, NodeScope, RunnerScope, SchedulerScope
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_duration,
    format_node,
    format_scope,
    format_signed,
    format_time_html,
    format_timestamp,
    get_strings,
    split_name,
)
from weavegraph_checkpoints.domain.escaping import escape_control_chars


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (61, "1 min 1 s"),
        (3_600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
        (200_000, "2 d 7 h"),
        (-61, "−1 min 1 s"),
    ],
)
def test_a_duration_is_formatted_in_its_largest_units(seconds: float, expected: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == expected


def test_extreme_durations_are_formatted() -> None:
    assert format_duration(timedelta.max).startswith("1,000,000,000 d")
    assert format_duration(timedelta.min).startswith("−")


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_any_timestamp_has_an_age_and_its_exact_value(year: int) -> None:
    html = format_age_html(datetime(year, 1, 1, 12, tzinfo=UTC))
    assert f'title="{year:04}-01-01 12:00:00.000 UTC"' in html
    assert html.endswith("</time>")


def test_the_age_of_a_recent_timestamp_is_in_minutes() -> None:
    html = format_age_html(timezone.now() - timedelta(seconds=185))
    assert ">3\xa0minutes ago</time>" in html


def test_signed_numbers_and_sizes() -> None:
    assert [format_signed(value) for value in (0, 3, -12_000)] == ["", "+3", "−12,000"]
    assert [format_signed(value, filesizeformat) for value in (None, 2_048, -1)] == [
        "",
        "+2.0\xa0KB",
        "−1\xa0byte",
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
def test_a_scope_is_formatted(scope: object, expected: str) -> None:
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
def test_a_node_is_formatted_as_its_name(encoded: str, expected: str) -> None:
    assert format_node(encoded) == expected


def test_other_values_than_lists_of_strings_are_skipped() -> None:
    assert get_strings(["a", 1, None, "b"]) == ("a", "b")
    assert get_strings({"a": 1}) == get_strings(None) == ()


def test_the_null_character_is_escaped() -> None:
    assert escape_control_chars("a\0b") == r"a\u0000b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u2066b\u2069c", "a\u2066b\u2069c"),
        ("a\u2067b\u2068c\u2069", "a\\u2067b\u2068c\u2069"),
        ("\u2069a\u202eb\u202dc\u200fd", "\\u2069a\\u202eb\\u202dc\u200fd"),
        ("a\u2029b\x85c\x1ed", r"a\u2029b\u0085c\u001ed"),
    ],
)
def test_text_cannot_reorder_the_page_around_it(text: str, expected: str) -> None:
    assert escape_control_chars(text) == expected


def test_of_very_many_isolates_none_is_kept() -> None:
    assert escape_control_chars("\u2066\u2069" * 500) == "\u2066\u2069" * 500
    assert escape_control_chars("\u2066\u2069" * 501) == r"\u2066\u2069" * 501
    assert escape_control_chars("\u2066a\0" * 1001) == r"\u2066a\u0000" * 1001


@given(st.text(alphabet="a\u2066\u2067\u2068\u2069\0"))
def test_all_isolates_are_closed_within_the_text(text: str) -> None:
    depth, lowest = 0, 0
    for mark in escape_control_chars(text):
        depth += (mark in "\u2066\u2067\u2068") - (mark == "\u2069")
        lowest = min(lowest, depth)
    assert (depth, lowest) == (0, 0)


@pytest.mark.parametrize(
    ("zone", "utc", "text"),
    [
        ("Europe/Berlin", "2026-10-25T00:30:00", "02:30:00 CEST"),
        ("Europe/Berlin", "2026-10-25T01:30:00", "02:30:00 CET"),
        ("Europe/Berlin", "2026-10-25T02:00:00", "03:00:00"),
        ("Europe/Berlin", "2026-10-24T23:59:59", "01:59:59"),
        ("Europe/Berlin", "2026-03-29T01:30:00", "03:30:00"),
        ("America/New_York", "2026-11-01T06:30:00", "01:30:00 EST"),
        ("Australia/Lord_Howe", "2026-04-04T14:45:00", "01:45:00 +11"),
        ("Australia/Lord_Howe", "2026-04-04T15:15:00", "01:45:00 +1030"),
        # Both hours have the name MSK.
        ("Europe/Moscow", "2014-10-25T21:30:00", "01:30:00 +0400"),
        ("Europe/Moscow", "2014-10-25T22:30:00", "01:30:00 +0300"),
        ("America/New_York", "0001-01-01T00:00:00", "00:00:00"),
        ("Asia/Tokyo", "9999-12-31T23:59:59", "23:59:59"),
        ("UTC", "2026-10-25T00:30:00", "00:30:00"),
    ],
)
def test_the_repeated_hour_shows_its_zone(zone: str, utc: str, text: str) -> None:
    timestamp = datetime.fromisoformat(f"{utc}+00:00")
    with timezone.override(zone):
        date = format_timestamp(timestamp)[:10]
        assert f">{text}</time>" in format_time_html(timestamp, with_date=False)
        assert f">{date} {text}</time>" in format_time_html(timestamp, with_date=True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("tool:search_flight", ["tool:", "search_", "flight"]),
        ("__init__", ["__", "init__"]),
        ("a::b", ["a::", "b"]),
        ("plan", ["plan"]),
        ("", [""]),
    ],
)
def test_a_name_is_split_after_its_separators(name: str, parts: list[str]) -> None:
    assert split_name(name) == parts


@given(st.text())
def test_the_parts_of_a_name_are_the_name(name: str) -> None:
    assert "".join(split_name(name)) == name
