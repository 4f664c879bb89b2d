"""Sizes, spans of time, scopes and nodes in words."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from weavegraph_checkpoints.domain import (
    ErrorScope,
    NodeKind,
    NodeScope,
    RunnerScope,
    SchedulerScope,
)

MINUS = "−"
SIGNS = {"\0": "␀", "\x1c": "␜", "\x1d": "␝", "\x1e": "␞", "\x85": "␤", "\u2029": "¶"}
ODD = re.compile("[\0\x1c-\x1e\x85\u2029\u202d\u202e\u2066-\u2069]")


def number(value: int) -> str:
    """Return an integer with its thousands set apart."""
    if -1_000 < value < 1_000:
        return str(value)
    return number_format(value, use_l10n=True, force_grouping=True)


def signed(value: int) -> str:
    """Return an integer with its sign; nothing for 0."""
    if value == 0:
        return ""
    return f"+{number(value)}" if value > 0 else f"{MINUS}{number(-value)}"


def size(value: int) -> str:
    """Return a number of bytes with its unit."""
    if value < 1024:
        return _("%(count)s B") % {"count": value}
    return str(filesizeformat(value))


def signed_size(value: int) -> str:
    """Return a number of bytes with its sign and unit; nothing for 0."""
    if value == 0:
        return ""
    return f"+{size(value)}" if value > 0 else f"{MINUS}{size(-value)}"


def duration(span: timedelta) -> str:
    """Return a span of time in its one or two largest units."""
    if span < timedelta(0):
        return f"{MINUS}{duration(-span)}"
    seconds = span.total_seconds()
    if seconds < 1:
        return _("%(number)s ms") % {"number": round(seconds * 1000)}
    if seconds < 60:
        return _("%(number)s s") % {"number": number_format(round(seconds, 1), use_l10n=True)}
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes}
    days, hours = divmod(hours, 24)
    return ngettext("%(days)s day %(hours)s h", "%(days)s days %(hours)s h", days) % {
        "days": number(days),
        "hours": hours,
    }


def ago(instant: datetime, now: datetime) -> str:
    """Return how long ago an instant was, in its largest unit."""
    minutes = int((now - instant).total_seconds()) // 60
    if minutes < 1:
        return _("just now")
    if minutes < 60:
        return _("%(count)s min ago") % {"count": minutes}
    hours, days = minutes // 60, minutes // 1440
    if hours < 24:
        return _("%(count)s h ago") % {"count": hours}
    return ngettext("%(count)s day ago", "%(count)s days ago", days) % {"count": number(days)}


def scope(value: ErrorScope) -> str:
    """Return where an error came from."""
    if isinstance(value, NodeScope):
        return _("node %(node)s at step %(step)s") % {"node": value.kind, "step": value.step}
    if isinstance(value, SchedulerScope):
        return _("the scheduler at step %(step)s") % {"step": value.step}
    if isinstance(value, RunnerScope):
        return _("the runner of session %(session)s at step %(step)s") % {
            "session": value.session,
            "step": value.step,
        }
    return _("the application")


def node(encoded: str) -> str:
    """Return the name of a node from its text form; a custom "Start" says that it is one."""
    kind = NodeKind.decode(encoded)
    name = str(kind)
    return encoded if kind.is_custom and name in ("", "Start", "End") else name


def visible(text: str) -> str:
    """Return text that is all seen, and keeps to its place.

    A browser drops U+0000. The end of a paragraph, or a mark that isolates a direction of
    writing with no counterpart in the text, would change the direction of what stands
    around it; one that overrides it makes the text read as what it is not. Signs take
    their place.
    """
    if not ODD.search(text):
        return text
    paired = _paired(text)
    return ODD.sub(
        lambda found: found[0] if found.start() in paired else SIGNS.get(found[0], "�"), text
    )


def _paired(text: str) -> set[int]:
    """Return where the marks of isolation are that have a counterpart."""
    opened: list[int] = []
    paired: set[int] = set()
    for found in re.finditer("[\u2066-\u2069]", text):
        if found[0] != "\u2069":
            opened.append(found.start())
        elif opened:
            paired |= {opened.pop(), found.start()}
    return paired


def texts(values: Any) -> tuple[str, ...]:
    """Return the texts of a JSON column that should be a list of them, whoever wrote it."""
    if not isinstance(values, list):
        return ()
    return tuple(value for value in values if isinstance(value, str))
