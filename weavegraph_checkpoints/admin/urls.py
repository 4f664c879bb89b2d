"""The URLs of the admin pages, and session ids quoted for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from django.contrib.admin.utils import quote, unquote
from django.urls import NoReverseMatch, reverse

from weavegraph_checkpoints.domain.url_ids import encode_session_id

DOT_SEGMENTS = {"_2E": ".", "_2E_2E": ".."}
"""Quoted dots, which Django's ``unquote`` does not decode."""


def quote_session_id(session_id: str) -> str:
    """Return a session id as one segment of an admin URL.

    Quote as Django does, and also the dots of ``.`` and ``..``, which browsers resolve.
    """
    if session_id in DOT_SEGMENTS.values():
        return session_id.replace(".", "_2E")
    return str(quote(session_id))


def unquote_session_id(segment: str) -> str:
    """Return the session id from a segment of an admin URL."""
    return DOT_SEGMENTS.get(segment) or str(unquote(segment))


class SessionURLs:
    """Reverse the pages of one model in one admin site."""

    def __init__(self, site_name: str, url_prefix: str = "weavegraph_checkpoints_session") -> None:
        self.site_name = site_name
        self.url_prefix = url_prefix

    def get_url(self, page: str, *args: object, query: Mapping[str, object] | None = None) -> str:
        """Return the URL of a page; quote the session id, the first of ``args``."""
        parts = [quote_session_id(part) if isinstance(part, str) else part for part in args]
        url = reverse(f"admin:{self.url_prefix}_{page}", args=parts, current_app=self.site_name)
        return f"{url}?{urlencode(query)}" if query else url

    def get_changelist_url(self) -> str:
        """Return the URL of the list of sessions."""
        return self.get_url("changelist")

    def get_session_url(self, session_id: str, **query: object) -> str:
        """Return the URL of one session."""
        return self.get_url("change", session_id, query=query)

    def get_step_url(self, session_id: str, step: int, **query: object) -> str:
        """Return the URL of one step."""
        return self.get_url("step", session_id, step, query=query)

    def get_step_urls(self, session_id: str, steps: Iterable[int]) -> dict[int, str]:
        """Return the URL of each step, by its number, with a single ``reverse()``."""
        before, _, after = self.get_step_url(session_id, 0).rpartition("0")
        return {step: f"{before}{step}{after}" for step in steps}

    def get_compare_url(self, session_id: str, before: int, after: int, other: str = "") -> str:
        """Return the URL that compares two steps, ``after`` in session ``other`` if given."""
        query: dict[str, object] = {"from": before, "to": after}
        return self.get_url(
            "compare", session_id, query=query | ({"other": other} if other else {})
        )

    def get_patch_url(self, session_id: str, before: int, after: int) -> str | None:
        """Return the REST URL of the JSON Patch, ``None`` if the REST API is not mounted."""
        try:
            url = reverse("weavegraph-session-diff", args=[encode_session_id(session_id)])
        except NoReverseMatch:
            return None
        return f"{url}?{urlencode({'from': before, 'to': after})}"
