"""Instants as RFC 3339 text, which keeps the nanoseconds that ``datetime`` cannot."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from weavegraph_checkpoints.domain.limits import safe_repr

EPOCH = "1970-01-01T00:00:00Z"

# RFC 3339, section 5.6 (``date-time``); a leap second is second 60.
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def now() -> datetime:
    """Return the present instant, in UTC."""
    return datetime.now(UTC)


def now_text() -> str:
    """Return the present instant as RFC 3339 text, to the microsecond."""
    return to_text(now())


def to_text(instant: datetime) -> str:
    """Return an aware ``datetime`` as RFC 3339 text in UTC (``…Z``).

    Raises ``ValueError`` for a naive one, or one whose UTC year is not 1 to 9999.
    """
    return f"{to_utc(instant).replace(tzinfo=None).isoformat()}Z"


def to_utc(instant: object) -> datetime:
    """Return an aware ``datetime`` in UTC.

    Raises ``ValueError`` for a naive one, or one whose UTC year is not 1 to 9999.
    """
    if isinstance(instant, datetime) and instant.tzinfo is UTC:
        return instant
    if not isinstance(instant, datetime) or instant.utcoffset() is None:
        raise ValueError(f"expected a timezone-aware datetime, not {safe_repr(instant)}")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{instant} is outside the years 1 to 9999 in UTC") from None


def canonical_text(text: str) -> str:
    """Return RFC 3339 text in UTC (``…Z``), every digit of its fraction kept.

    Raises ``ValueError`` for text that is not RFC 3339.
    """
    whole, fraction, leap = _parsed(text)
    seconds = whole.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{seconds[:-2] + '60' if leap else seconds}{fraction}Z"


def from_text(text: str) -> datetime:
    """Return RFC 3339 text as a ``datetime`` in UTC, cut to the microsecond.

    A leap second is the last microsecond before the next minute. Raises
    ``ValueError`` for text that is not RFC 3339.
    """
    whole, fraction, leap = _parsed(text)
    if leap:
        return whole.replace(microsecond=999_999)
    return whole.replace(microsecond=int(fraction[1:7].ljust(6, "0")))


def _parsed(text: str) -> tuple[datetime, str, bool]:
    """Return the instant in whole seconds, its fraction, and if it is a leap second."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {safe_repr(text)}")
    day, minute, second, fraction, zone = match.groups()
    leap = second == "60"
    try:
        local = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}+00:00")
        instant = local - _offset(zone)
    except (ValueError, OverflowError):
        raise ValueError(f"not an RFC 3339 time: {safe_repr(text)}") from None
    return instant, fraction or "", leap


def _offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(zone)
    offset = timedelta(hours=hours, minutes=minutes)
    return offset if zone[0] == "+" else -offset
