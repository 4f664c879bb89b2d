"""The errors of the API, and the handler that answers each as ``{"code", "detail", "path"?}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound
from rest_framework.response import Response
from rest_framework.views import exception_handler

from weavegraph_checkpoints import exceptions as service


class ApiError(APIException):
    """An error whose response has the members ``extra`` in addition to ``detail``."""

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.extra = extra


class InvalidRequest(ApiError):
    """A parameter or a request body is invalid; ``path`` names the parameter or the field."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"


class SessionExists(ApiError):
    """The target of a fork already exists."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "session_exists"


class ConcurrencyConflict(ApiError):
    """Another writer saved first."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "concurrency_conflict"


class TooLarge(ApiError):
    """A request body or a state exceeds its limit."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the response to an error.

    Return ``None`` for a server error: Django logs it and responds with status 500.
    """
    error = _to_api_exception(error)
    response = exception_handler(error, context)
    if response is not None:
        extra = error.extra if isinstance(error, ApiError) else {}
        response.data = {**_format_error(response), **extra}
    return response


def _to_api_exception(error: Exception) -> Exception:
    """Return the API's exception for an error of the service or of Django."""
    match error:
        case service.StateTooLarge():
            return TooLarge(error.message, path=error.path)
        case service.InvalidCheckpoint() | service.InvalidQuery():
            return InvalidRequest(error.message, path=error.path)
        case service.SessionNotFound():
            return NotFound(str(error))
        case service.SessionExists():
            return SessionExists(str(error))
        case service.ConcurrencyConflict():
            return ConcurrencyConflict(str(error), expected=error.expected, actual=error.actual)
        case RequestDataTooBig():
            return TooLarge("the request body is larger than the server accepts")
        case SuspiciousOperation():
            return InvalidRequest("the request is malformed")
    return error


def _format_error(response: Response) -> dict[str, str]:
    if response.status_code == status.HTTP_400_BAD_REQUEST:
        path, detail = next(_iter_messages(response.data, ""))
        body = {"code": InvalidRequest.default_code, "detail": detail}
        return {**body, "path": path} if path else body
    detail = response.data["detail"]
    return {"code": detail.code, "detail": str(detail)}


def _iter_messages(data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each message in the data of an error response."""
    if isinstance(data, Mapping):
        for name, inner in data.items():
            has_no_field = name in ("detail", "non_field_errors")
            yield from _iter_messages(
                inner, path if has_no_field else f"{path}.{name}" if path else name
            )
    elif isinstance(data, list):
        for inner in data:
            yield from _iter_messages(inner, path)
    else:
        yield path, str(data)
