"""Format values for the pages: numbers, sizes, times, nodes, scopes and statuses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import compress, product
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from weavegraph_checkpoints.domain import (
    ErrorScope,
    NodeKind,
    NodeScope,
    RunnerScope,
    SchedulerScope,
)
from weavegraph_checkpoints.models import Session

MINUS = "−"
SIGNS = {"\0": "␀", "\x1c": "␜", "\x1d": "␝", "\x1e": "␞", "\x85": "␤", "\u2029": "¶"}
ODD = re.compile("[\0\x1c-\x1e\x85\u2029\u202d\u202e\u2066-\u2069]")


def format_number(value: int) -> str:
    """Return an integer with its thousands set apart."""
    if -1_000 < value < 1_000:
        return str(value)
    return number_format(value, use_l10n=True, force_grouping=True)


def format_signed_number(value: int) -> str:
    """Return an integer with its sign; nothing for 0."""
    if value == 0:
        return ""
    return f"+{format_number(value)}" if value > 0 else f"{MINUS}{format_number(-value)}"


def format_size(value: int) -> str:
    """Return a number of bytes with its unit."""
    if value < 1024:
        return _("%(count)s B") % {"count": value}
    return str(filesizeformat(value))


def format_signed_size(value: int) -> str:
    """Return a number of bytes with its sign and unit; nothing for 0."""
    if value == 0:
        return ""
    return f"+{format_size(value)}" if value > 0 else f"{MINUS}{format_size(-value)}"


def format_duration(span: timedelta) -> str:
    """Return a span of time in its one or two largest units."""
    if span < timedelta(0):
        return f"{MINUS}{format_duration(-span)}"
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
        "days": format_number(days),
        "hours": hours,
    }


def format_age(instant: datetime, now: datetime) -> str:
    """Return how long ago an instant was, in its largest unit."""
    minutes = int((now - instant).total_seconds()) // 60
    if minutes < 1:
        return _("just now")
    if minutes < 60:
        return _("%(count)s min ago") % {"count": minutes}
    hours, days = minutes // 60, minutes // 1440
    if hours < 24:
        return _("%(count)s h ago") % {"count": hours}
    return ngettext("%(count)s day ago", "%(count)s days ago", days) % {
        "count": format_number(days)
    }


def format_scope(value: ErrorScope) -> str:
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


def format_node(encoded: str) -> str:
    """Return the name of a node from its text form; a custom "Start" says that it is one."""
    kind = NodeKind.decode(encoded)
    name = str(kind)
    return encoded if kind.is_custom and name in ("", "Start", "End") else name


def escape_control_chars(text: str) -> str:
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


def get_texts(values: Any) -> tuple[str, ...]:
    """Return the texts of a JSON column that should be a list of them, whoever wrote it."""
    if not isinstance(values, list):
        return ()
    return tuple(value for value in values if isinstance(value, str))


GLYPHS = {"finished": "●", "resumable": "▶", "empty": "○"}
STATUSES = dict(Session.Status.choices)


def format_timestamp(instant: datetime) -> str:
    """Return an instant to the millisecond, in the present time zone."""
    try:
        local = timezone.localtime(instant)
    except OverflowError:
        local = instant.astimezone(UTC)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03} {local:%Z}"


def format_age_html(instant: datetime) -> SafeString:
    """Return how long ago an instant was, with the instant itself as its title."""
    return format_html(
        '<time class="weave-moment" datetime="{}" title="{}">{}</time>',
        instant.isoformat(),
        format_timestamp(instant),
        format_age(instant, timezone.now()),
    )


def format_time_html(instant: datetime, *, with_date: bool) -> SafeString:
    """Return an instant to the second, with the whole of it as its title."""
    text = format_timestamp(instant)
    seconds = text.partition(".")[0]
    return format_html(
        '<time class="weave-moment" datetime="{}" title="{}">{}</time>',
        instant.isoformat(),
        text,
        seconds if with_date else seconds.rpartition(" ")[2],
    )


def format_status(session: Session) -> SafeString:
    """Return where a session stands, as a sign and a word."""
    return format_html(
        '<span class="weave-status"><span aria-hidden="true">{}</span> {}</span>',
        GLYPHS.get(session.status, "?"),
        STATUSES.get(session.status, session.status),
    )


def build_weave_symbols() -> dict[tuple[bool, ...], SafeString]:
    """Return what a cell of the weave shows: by whether a node ran, was skipped, comes next."""
    named = (("ran", "●", _("ran")), ("skipped", "○", _("skipped")), ("next", "▷", _("next")))
    signs = [
        format_html(
            '<span class="weave-{}"><span aria-hidden="true">{}</span>'
            '<span class="weave-hidden">{}</span></span>',
            *each,
        )
        for each in named
    ]
    return {
        case: format_html_join("", "{}", ((sign,) for sign in compress(signs, case)))
        for case in product((False, True), repeat=len(signs))
    }


def format_number_html(text: str) -> SafeString:
    """Return a number that lines up with those above and below."""
    return format_html('<span class="weave-number">{}</span>', text)
