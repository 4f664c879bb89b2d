"""The few elements that the list and the pages share."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import compress, product

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin import words
from weavegraph_checkpoints.models import Session

GLYPHS = {"finished": "●", "resumable": "▶", "empty": "○"}
STATUSES = dict(Session.Status.choices)


def exact(instant: datetime) -> str:
    """Return an instant to the millisecond, in the present time zone."""
    try:
        local = timezone.localtime(instant)
    except OverflowError:
        local = instant.astimezone(UTC)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03} {local:%Z}"


def moment(instant: datetime) -> SafeString:
    """Return how long ago an instant was, with the instant itself as its title."""
    return format_html(
        '<time class="weave-moment" datetime="{}" title="{}">{}</time>',
        instant.isoformat(),
        exact(instant),
        words.ago(instant, timezone.now()),
    )


def clock(instant: datetime, *, with_date: bool) -> SafeString:
    """Return an instant to the second, with the whole of it as its title."""
    text = exact(instant)
    seconds = text.partition(".")[0]
    return format_html(
        '<time class="weave-moment" datetime="{}" title="{}">{}</time>',
        instant.isoformat(),
        text,
        seconds if with_date else seconds.rpartition(" ")[2],
    )


def status(session: Session) -> SafeString:
    """Return where a session stands, as a sign and a word."""
    return format_html(
        '<span class="weave-status"><span aria-hidden="true">{}</span> {}</span>',
        GLYPHS.get(session.status, "?"),
        STATUSES.get(session.status, session.status),
    )


def marks() -> dict[tuple[bool, ...], SafeString]:
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


def number(text: str) -> SafeString:
    """Return a number that lines up with those above and below."""
    return format_html('<span class="weave-number">{}</span>', text)
