"""The URLs of the admin pages, and session ids quoted for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, parse_qsl, urlencode

from django.contrib.admin.utils import quote, unquote
from django.urls import NoReverseMatch, reverse

from weavegraph_checkpoints.domain.url_ids import encode_session_id

DOT_SEGMENTS = {"_2E": ".", "_2E_2E": ".."}
"""Quoted dots, which Django's ``unquote`` does not decode."""


PRESERVED_FILTERS_VAR = "_changelist_filters"
"""Django's name of the parameter that preserves the filters of a list."""
LABEL_VAR = "label"
"""The parameter of the list that filters by a label."""
PAGES_WITHOUT_FILTERS = ("raw", "download", "value")
"""Downloads do not link to the list; templates add the query of ``value``."""


def get_list_filters(preserved_filters: str) -> str:
    """Return the query string of the list from the result of ``get_preserved_filters``."""
    return parse_qs(preserved_filters).get(PRESERVED_FILTERS_VAR, [""])[0]


def get_filters_suffix(list_filters: str) -> str:
    """Return what preserves the filters of a list at the end of a query string."""
    return f"&{urlencode({PRESERVED_FILTERS_VAR: list_filters})}" if list_filters else ""


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
    """Reverse the pages of one model in one admin site.

    ``list_filters``, the query string of the list that the user came from, is part of the URLs
    of the list and of the pages that link to it, as in Django's own pages.
    """

    def __init__(
        self,
        site_name: str,
        url_prefix: str = "weavegraph_checkpoints_session",
        list_filters: str = "",
    ) -> None:
        self.site_name = site_name
        self.url_prefix = url_prefix
        self.list_filters = list_filters

    def get_url(self, page: str, *args: object, query: Mapping[str, object] | None = None) -> str:
        """Return the URL of a page; quote the session id, the first of ``args``."""
        parts = [quote_session_id(part) if isinstance(part, str) else part for part in args]
        url = reverse(f"admin:{self.url_prefix}_{page}", args=parts, current_app=self.site_name)
        pairs: list[tuple[str, object]] = list((query or {}).items())
        if self.list_filters and page == "changelist":
            pairs = [*parse_qsl(self.list_filters, keep_blank_values=True)]
        elif self.list_filters and page not in PAGES_WITHOUT_FILTERS:
            pairs.append((PRESERVED_FILTERS_VAR, self.list_filters))
        return f"{url}?{urlencode(pairs)}" if pairs else url

    def get_changelist_url(self) -> str:
        """Return the URL of the list of sessions."""
        return self.get_url("changelist")

    def get_label_url(self, key: str, value: str) -> str:
        """Return the URL of the list of the sessions that have a label."""
        url = reverse(f"admin:{self.url_prefix}_changelist", current_app=self.site_name)
        return f"{url}?{urlencode({LABEL_VAR: f'{key}:{value}'})}"

    def get_session_url(self, session_id: str, **query: object) -> str:
        """Return the URL of one session."""
        return self.get_url("change", session_id, query=query)

    def get_step_url(self, session_id: str, step: int, **query: object) -> str:
        """Return the URL of one step."""
        return self.get_url("step", session_id, step, query=query)

    def get_step_urls(self, session_id: str, steps: Iterable[int]) -> dict[int, str]:
        """Return the URL of each step, by its number, with a single ``reverse()``."""
        before, _, after = self.get_step_url(session_id, 0).rpartition("/0/")
        return {step: f"{before}/{step}/{after}" for step in steps}

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
