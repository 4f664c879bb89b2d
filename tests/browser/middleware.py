"""Send a strict Content Security Policy with every page."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'"
)
SCHEMA_PAGE = "/api/"
# Swagger UI fetches the schema, and embeds its styles and images in the page.
SCHEMA_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'"
)


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Set the policy of each response."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        is_schema_page = request.path == SCHEMA_PAGE
        response["Content-Security-Policy"] = SCHEMA_PAGE_POLICY if is_schema_page else POLICY
        return response

    return middleware
