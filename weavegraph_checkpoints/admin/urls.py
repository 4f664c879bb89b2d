"""Where the pages are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from django.contrib.admin.utils import quote, unquote
from django.urls import NoReverseMatch, reverse

from weavegraph_checkpoints.domain.url_ids import to_segment

PREFIX = "weavegraph_checkpoints_session"
DOTS = {"_2E": ".", "_2E_2E": ".."}
"""What Django's own ``unquote`` leaves alone."""


def quoted(session_id: str) -> str:
    """Return a session's id as one segment of an admin URL, as Django quotes it.

    The dots of ``.`` and ``..``, which a browser would resolve, are quoted too.
    """
    return session_id.replace(".", "_2E") if session_id in DOTS.values() else str(quote(session_id))


def unquoted(segment: str) -> str:
    """Return the id of a session from a segment of an admin URL."""
    return DOTS.get(segment) or str(unquote(segment))


class Addresses:
    """The URLs of the pages in one admin site."""

    def __init__(self, site_name: str) -> None:
        self.site_name = site_name

    def of(self, page: str, *args: object, query: Mapping[str, object] | None = None) -> str:
        """Return the URL of a page; a session's id comes first among ``args``."""
        parts = [quoted(part) if isinstance(part, str) else part for part in args]
        url = reverse(f"admin:{PREFIX}_{page}", args=parts, current_app=self.site_name)
        return f"{url}?{urlencode(query)}" if query else url

    def sessions(self) -> str:
        """Return the URL of the list of sessions."""
        return self.of("changelist")

    def session(self, session_id: str, **query: object) -> str:
        """Return the URL of one session."""
        return self.of("change", session_id, query=query)

    def step(self, session_id: str, step: int, **query: object) -> str:
        """Return the URL of one step."""
        return self.of("step", session_id, step, query=query)

    def steps(self, session_id: str, steps: Iterable[int]) -> dict[int, str]:
        """Return the URL of each of several steps of a session."""
        before, _, after = self.of("step", session_id, 0).rpartition("0")
        return {step: f"{before}{step}{after}" for step in steps}

    def compare(self, session_id: str, before: int, after: int, other: str = "") -> str:
        """Return the URL of the comparison of two steps, the second of ``other`` if given."""
        query: dict[str, object] = {"from": before, "to": after}
        return self.of("compare", session_id, query=query | ({"other": other} if other else {}))


def patch_address(session_id: str, before: int, after: int) -> str | None:
    """Return where REST gives a comparison as JSON Patch, ``None`` where it is not mounted."""
    try:
        url = reverse("weavegraph-session-diff", args=[to_segment(session_id)])
    except NoReverseMatch:
        return None
    return f"{url}?{urlencode({'from': before, 'to': after})}"


def file_name(session_id: str, ending: str) -> str:
    """Return a clean name for a download."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", session_id)[:60].strip(".-_")
    return f"{clean or 'session'}{ending}"
