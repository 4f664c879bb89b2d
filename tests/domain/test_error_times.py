from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import an_error_event, instants, text, when_texts
from weavegraph_checkpoints import ErrorEvent, InvalidCheckpoint, WeaveError


def when_of(when: Any) -> str:
    return an_error_event(when=when).when


def test_without_when_an_error_is_of_now() -> None:
    before = datetime.now(UTC)
    event = ErrorEvent(error=WeaveError(message="x"))
    assert before <= event.when_datetime <= datetime.now(UTC)
    assert event.when.endswith("Z")


def test_an_aware_datetime_is_kept_as_text_in_utc() -> None:
    tokyo = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert when_of(tokyo) == "2026-01-01T18:04:05.678901Z"
    assert when_of(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"


@given(instant=instants())
def test_any_aware_datetime_comes_back(instant: datetime) -> None:
    event = an_error_event(when=instant)
    assert event.when_datetime == instant
    assert event.when_datetime.tzinfo is UTC
    assert when_of(event.when) == event.when


@given(when=when_texts())
def test_text_in_utc_is_kept_digit_for_digit(when: str) -> None:
    assert when_of(when) == when


def test_nanoseconds_survive_and_are_cut_in_the_datetime() -> None:
    event = an_error_event(when="1969-12-31T23:59:59.123456789Z")
    assert event.when == "1969-12-31T23:59:59.123456789Z"
    assert event.when_datetime == datetime(1969, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)


def test_trailing_zeros_of_the_fraction_are_kept() -> None:
    assert when_of("2026-01-02T03:04:05.120Z") == "2026-01-02T03:04:05.120Z"
    assert an_error_event(when="2026-01-02T03:04:05.1Z").when_datetime.microsecond == 100_000


@given(
    instant=instants().map(lambda instant: instant.replace(microsecond=0)),
    fraction=st.just("") | st.from_regex(r"\.[0-9]{1,12}", fullmatch=True),
    separator=st.sampled_from("Tt "),
)
def test_text_of_any_offset_is_turned_to_utc(
    instant: datetime, fraction: str, separator: str
) -> None:
    local = instant.replace(tzinfo=None).isoformat(separator)
    offset = instant.strftime("%z")
    utc = instant.astimezone(UTC).replace(tzinfo=None).isoformat()
    assert when_of(f"{local}{fraction}{offset[:3]}:{offset[3:5]}") == f"{utc}{fraction}Z"


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("2026-01-02T03:04:05z", "2026-01-02T03:04:05Z"),
        ("2026-01-02t03:04:05.5z", "2026-01-02T03:04:05.5Z"),
        ("2026-01-02 03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05Z"),
        ("2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00Z"),
        ("2026-01-01T00:00:00.000000001-23:59", "2026-01-01T23:59:00.000000001Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_every_form_of_rfc_3339_is_read(given_text: str, kept: str) -> None:
    assert when_of(given_text) == kept


def test_a_leap_second_is_kept_and_is_the_last_microsecond_as_a_datetime() -> None:
    event = an_error_event(when="2016-12-31T23:59:60.25Z")
    assert event.when == "2016-12-31T23:59:60.25Z"
    assert event.when_datetime == datetime(2016, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_a_leap_second_of_another_offset_is_turned_to_utc() -> None:
    assert when_of("1990-12-31T15:59:60-08:00") == "1990-12-31T23:59:60Z"


@pytest.mark.parametrize(
    "when",
    [
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05+01:00:00",
        "2026-01-02T03:04:05 Z",
        "2026-01-02T03:04:05Z\n",
        " 2026-01-02T03:04:05Z",
        "20260102T030405Z",
        "2026-W01-1T00:00:00Z",
        "+2026-01-02T03:04:05Z",
        "12026-01-02T03:04:05Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:60:00Z",
        "2026-01-01T23:59:61Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00-00:60",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-01-02T03:04:05Z",
        "2026-01-02T03:04:05.٥Z",
    ],
)
def test_other_text_is_refused(when: str) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        when_of(when)
    assert refusal.value.path == "$.when"


@given(when=text())
def test_arbitrary_text_is_refused_or_stays_as_it_is_kept(when: str) -> None:
    try:
        kept = when_of(when)
    except InvalidCheckpoint:
        return
    assert when_of(kept) == kept


@pytest.mark.parametrize(
    "when",
    [
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_an_offset_that_leaves_the_years_is_refused(when: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        when_of(when)
    assert refusal.value.path == "$.when"


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 1, 2),
        date(2026, 1, 2),
        time(3, 4, tzinfo=UTC),
        1767322800,
        1767322800.5,
        None,
        b"2026-01-02T03:04:05Z",
    ],
)
def test_a_naive_datetime_and_every_other_type_are_refused(when: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        when_of(when)
    assert refusal.value.path == "$.when"
