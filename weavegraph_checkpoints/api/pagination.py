"""Pages of sessions in REST framework's own envelope."""

from __future__ import annotations

from typing import Any

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from weavegraph_checkpoints.api.errors import Invalid
from weavegraph_checkpoints.api.views import whole_number
from weavegraph_checkpoints.backends.sessions import SessionRows
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.domain.query import DEFAULT_LIMIT, MAX_LIMIT


class SessionPagination(LimitOffsetPagination):
    """``limit`` (100, at most 1000) and ``offset``, refused where they are no numbers."""

    default_limit = DEFAULT_LIMIT
    max_limit = MAX_LIMIT

    def get_limit(self, request: Request) -> int:
        return min(_number(request, "limit", DEFAULT_LIMIT), MAX_LIMIT)

    def get_offset(self, request: Request) -> int:
        return _number(request, "offset", 0)

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        """Return the page that a request asks for, which is counted in the same statement."""
        self.request = request
        self.limit = self.get_limit(request)
        self.offset = self.get_offset(request)
        rows: SessionRows = queryset
        self.count, page = rows.page(self.offset, self.limit)
        self.display_page_controls = self.count > self.limit
        return page

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        described = {
            "limit": f"At most so many: {DEFAULT_LIMIT} without it, never more than {MAX_LIMIT}.",
            "offset": "Pass over so many.",
        }
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": {"type": "integer", "minimum": 0, "maximum": MAX_STEP},
            }
            for name, description in described.items()
        ]

    def get_next_link(self) -> str | None:
        return super().get_next_link() if self.limit else None

    def get_previous_link(self) -> str | None:
        return super().get_previous_link() if self.limit else None


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    number = default if text is None else whole_number(text)
    if number is None:
        raise Invalid(f"expected a number from 0 to {MAX_STEP} in digits", path=name)
    return number
