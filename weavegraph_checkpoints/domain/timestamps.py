"""Timestamps as RFC 3339 text, which keeps nanoseconds; ``datetime`` cannot."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from weavegraph_checkpoints.domain.limits import safe_repr

EPOCH = "1970-01-01T00:00:00Z"

# RFC 3339, section 5.6 (``date-time``); a leap second is second 60.
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
# What most timestamps are already.
_NORMALIZED = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.\d+)?Z", re.ASCII
)


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def format_now() -> str:
    """Return the current time as RFC 3339 text, to the microsecond."""
    return format_timestamp(now())


def format_timestamp(value: datetime) -> str:
    """Return an aware ``datetime`` as RFC 3339 text in UTC (``…Z``).

    Raise ``ValueError`` for a naive one, or one whose UTC year is not 1 to 9999.
    """
    return f"{to_utc(value).replace(tzinfo=None).isoformat()}Z"


def to_utc(value: object) -> datetime:
    """Return an aware ``datetime`` in UTC.

    Raise ``ValueError`` for a naive one, or one whose UTC year is not 1 to 9999.
    """
    if isinstance(value, datetime) and value.tzinfo is UTC:
        return value
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError(f"expected a timezone-aware datetime, not {safe_repr(value)}")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value} is outside the years 1 to 9999 in UTC") from None


def normalize_timestamp(text: str) -> str:
    """Return RFC 3339 text in UTC (``…Z``), with every digit of its fraction.

    Raise ``ValueError`` for text that is not RFC 3339.
    """
    if match := _NORMALIZED.fullmatch(text):
        with suppress(ValueError):
            datetime.fromisoformat(match[1])
            return text
    whole, fraction, is_leap = _parse(text)
    seconds = whole.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{seconds[:-2] + '60' if is_leap else seconds}{fraction}Z"


def parse_timestamp(text: str) -> datetime:
    """Return RFC 3339 text as a ``datetime`` in UTC, truncated to the microsecond.

    A leap second becomes the last microsecond before the next minute. Raise
    ``ValueError`` for text that is not RFC 3339.
    """
    whole, fraction, is_leap = _parse(text)
    if is_leap:
        return whole.replace(microsecond=999_999)
    return whole.replace(microsecond=int(fraction[1:7].ljust(6, "0")))


def _parse(text: str) -> tuple[datetime, str, bool]:
    """Return the time in whole seconds, its fraction, and whether it is a leap second."""
    match = _RFC_3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day, minute, second, fraction, zone = match.groups()
        is_leap = second == "60"
        local = datetime.fromisoformat(f"{day}T{minute}:{'59' if is_leap else second}+00:00")
        return local - _parse_offset(zone), fraction or "", is_leap
    except (ValueError, OverflowError):
        raise ValueError(f"not an RFC 3339 timestamp: {safe_repr(text)}") from None


def _parse_offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(zone)
    offset = timedelta(hours=hours, minutes=minutes)
    return offset if zone[0] == "+" else -offset
