"""Limit/offset pagination of the list of sessions."""

from __future__ import annotations

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request

from weavegraph_checkpoints.api.filters import PageParameters
from weavegraph_checkpoints.domain.query import DEFAULT_LIMIT, MAX_LIMIT


class SessionPagination(LimitOffsetPagination):
    """Like ``LimitOffsetPagination``, but refuse an invalid ``limit`` or ``offset``."""

    default_limit = DEFAULT_LIMIT
    max_limit = MAX_LIMIT

    def get_limit(self, request: Request) -> int:
        limit: int = PageParameters.parse(request).get("limit", DEFAULT_LIMIT)
        return min(limit, MAX_LIMIT)

    def get_offset(self, request: Request) -> int:
        offset: int = PageParameters.parse(request).get("offset", 0)
        return offset

    def get_next_link(self) -> str | None:
        return super().get_next_link() if self.limit else None

    def get_previous_link(self) -> str | None:
        return super().get_previous_link() if self.limit else None
