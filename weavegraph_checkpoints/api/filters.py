"""Narrows and orders the list of sessions."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from weavegraph_checkpoints.api.parameters import SessionParameters

_ORDERS = {
    "-updated_at": ("-updated_at", "id"),
    "updated_at": ("updated_at", "id"),
    "-id": ("-id",),
    "id": ("id",),
}
_LOOKUPS = {
    "id": "id",
    "status": "status",
    "owner": "owner",
    "updated_after": "updated_at__gte",
    "updated_before": "updated_at__lte",
}


class SessionFilter(BaseFilterBackend):
    """Takes values from the query, and the names of columns from here."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: APIView
    ) -> QuerySet[Any]:
        """Return the sessions that the parameters name. Raises ``Invalid``."""
        given = SessionParameters.of(request)
        wanted: dict[str, Any] = {
            lookup: given[name] for name, lookup in _LOOKUPS.items() if name in given
        }
        queryset = queryset.filter(**wanted).order_by(
            *_ORDERS[given.get("ordering", "-updated_at")]
        )
        return queryset.id_begins_with(given.get("search", ""))  # type: ignore[attr-defined, no-any-return]
