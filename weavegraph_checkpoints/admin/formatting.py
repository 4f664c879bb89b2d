"""Format numbers, durations, timestamps, nodes, error scopes and statuses for the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma, naturaltime
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from weavegraph_checkpoints.domain import (
    ErrorScope,
    NodeKind,
    NodeScope,
    RunnerScope,
    SchedulerScope,
)
from weavegraph_checkpoints.domain.escaping import escape_control_chars

MINUS = "−"
STATUS_SYMBOLS = {"finished": "●", "resumable": "▶", "empty": "○"}


def format_signed(value: int | None, format_value: Callable[[int], str] = intcomma) -> str:
    """Return a number with its sign, or an empty string for 0 and ``None``."""
    if not value:
        return ""
    return f"{'+' if value > 0 else MINUS}{format_value(abs(value))}"


def format_duration(duration: timedelta) -> str:
    """Return a duration in its one or two largest units, from milliseconds to days."""
    if duration < timedelta(0):
        return f"{MINUS}{format_duration(-duration)}"
    total = duration.total_seconds()
    if total < 1:
        return _("%(number)s ms") % {"number": round(total * 1000)}
    if total < 60:
        return _("%(number)s s") % {"number": number_format(round(total, 1), use_l10n=True)}
    minutes, seconds = divmod(round(total), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return _("%(days)s d %(hours)s h") % {"days": intcomma(days), "hours": hours}
    if hours:
        return _("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes}
    return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": seconds}


def format_scope(scope: ErrorScope) -> str:
    """Return where an error occurred."""
    if isinstance(scope, NodeScope):
        return _("node %(node)s at step %(step)s") % {"node": scope.kind, "step": scope.step}
    if isinstance(scope, SchedulerScope):
        return _("the scheduler at step %(step)s") % {"step": scope.step}
    if isinstance(scope, RunnerScope):
        return _("the runner of session %(session)s at step %(step)s") % {
            "session": scope.session,
            "step": scope.step,
        }
    return _("the application")


def format_node(encoded: str) -> str:
    """Return the name of an encoded node, escaped.

    The encoded form is kept where the name alone is ambiguous, as in ``Custom:Start``.
    """
    kind = NodeKind.decode(encoded)
    name = str(kind)
    is_ambiguous = kind.is_custom and name in ("", "Start", "End")
    return escape_control_chars(encoded if is_ambiguous else name)


def split_name(name: str) -> list[str]:
    """Return the parts of a name, between which a narrow column breaks it."""
    return re.split(r"(?<=[_:])(?=[^_:])", name)


def get_strings(value: Any) -> tuple[str, ...]:
    """Return the strings of a JSON column that should be a list of strings."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _to_local(timestamp: datetime) -> datetime:
    try:
        return timezone.localtime(timestamp)
    except OverflowError:
        return timestamp.astimezone(UTC)


def format_timestamp(timestamp: datetime) -> str:
    """Return a timestamp to the millisecond, in the current time zone."""
    local = _to_local(timestamp)
    return f"{local.replace(tzinfo=None).isoformat(' ', 'milliseconds')} {_get_zone(local)}"


def _is_repeated(local: datetime) -> bool:
    """Return whether another instant has the same local time, as when clocks are set back."""
    return local.replace(fold=1 - local.fold).utcoffset() != local.utcoffset()


def _get_zone(local: datetime) -> str:
    """Return the name of the time zone, or the UTC offset if the name is ambiguous too."""
    is_ambiguous = (
        _is_repeated(local) and local.replace(fold=1 - local.fold).tzname() == local.tzname()
    )
    return f"{local:%z}" if is_ambiguous else f"{local:%Z}"


def format_age_html(timestamp: datetime) -> SafeString:
    """Return how long ago a timestamp was, with the exact timestamp as its title."""
    return _format_time_html(timestamp, naturaltime(timestamp))


def format_time_html(timestamp: datetime, *, with_date: bool) -> SafeString:
    """Return a timestamp to the second, with the exact timestamp as its title.

    In the hour that is repeated when clocks are set back, the text includes the time zone.
    """
    date, time, zone = format_timestamp(timestamp).split(" ")
    parts = [date] if with_date else []
    parts.append(time.partition(".")[0])
    if _is_repeated(_to_local(timestamp)):
        parts.append(zone)
    return _format_time_html(timestamp, " ".join(parts))


def _format_time_html(timestamp: datetime, text: str) -> SafeString:
    return format_html(
        '<time class="weave-time" datetime="{}" title="{}">{}</time>',
        timestamp.isoformat(),
        format_timestamp(timestamp),
        text,
    )


def format_status(status: str, label: str) -> SafeString:
    """Return the label of a session's status, with its symbol."""
    return format_html(
        '<span class="weave-status"><span aria-hidden="true">{}</span> {}</span>',
        STATUS_SYMBOLS.get(status, "?"),
        label,
    )


def format_number_html(text: str) -> SafeString:
    """Return a number in digits of equal width, to align it in a column."""
    return format_html('<span class="weave-number">{}</span>', text)


def format_labelled(label: Any, content: SafeString) -> SafeString:
    """Return a cell with its label, which only cards show: they have no column heads."""
    return format_html('<span class="weave-card-label">{}</span> {}', label, content)
