"""Narrows and orders the list of sessions."""

from __future__ import annotations

from typing import Any

from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from weavegraph_checkpoints.api.parameters import SessionParameters
from weavegraph_checkpoints.backends.sessions import SessionRows
from weavegraph_checkpoints.querysets import ids_beginning_with

_ORDERS = {
    "-updated_at": "updated_at DESC, id",
    "updated_at": "updated_at, id",
    "-id": "id DESC",
    "id": "id",
}
_CONDITIONS = {
    "id": "id = %s",
    "status": "status = %s",
    "owner": "owner = %s",
    "updated_after": "updated_at >= %s",
    "updated_before": "updated_at <= %s",
}


class SessionFilter(BaseFilterBackend):
    """Takes values from the query, and all SQL from here."""

    def filter_queryset(self, request: Request, queryset: Any, view: APIView) -> Any:
        """Return the sessions that the parameters name. Raises ``Invalid``."""
        given = SessionParameters.of(request)
        rows: SessionRows = queryset
        rows = rows.narrowed(
            *((sql, given[name]) for name, sql in _CONDITIONS.items() if name in given)
        )
        first, after = ids_beginning_with(given.get("search", ""))
        if first:
            rows = rows.narrowed(("id >= %s", first))
        if after is not None:
            rows = rows.narrowed(("id < %s", after))
        return rows.ordered(_ORDERS[given.get("ordering", "-updated_at")])
