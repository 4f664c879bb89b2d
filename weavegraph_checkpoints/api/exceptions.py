"""The errors of the API, and the handler that answers each as ``{"code", "detail", "path"?}``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


class SessionProtected(ApiError):
    """Objects of other models forbid to delete a session."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "session_protected"


class ConcurrencyConflict(ApiError):
    """Another writer saved first."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "concurrency_conflict"


class TooLarge(ApiError):
    """A request body or a state exceeds its limit."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


@contextmanager
def refuse_invalid_json() -> Iterator[None]:
    """Raise ``InvalidRequest`` instead of a ``SerializationError`` of the request body."""
    try:
        yield
    except service.SerializationError as error:
        raise InvalidRequest(error.message, path=error.path) from None


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
        case service.StateTooLarge() | service.LimitExceeded():
            return TooLarge(error.message, path=error.path)
        case service.InvalidCheckpoint() | service.InvalidQuery():
            return InvalidRequest(error.message, path=error.path)
        case service.InvalidLabel():
            return InvalidRequest(error.message, path=f"$.{error.path}")
        case service.SessionNotFound():
            return NotFound(str(error))
        case service.SessionExists():
            return SessionExists(str(error))
        case service.SessionProtected():
            return SessionProtected(str(error))
        case service.ConcurrencyConflict():
            return ConcurrencyConflict(str(error), expected=error.expected, actual=error.actual)
        case RequestDataTooBig():
            return TooLarge("the request body is larger than the server accepts")
        case SuspiciousOperation():
            return InvalidRequest("the request is malformed")
    return error


def _format_error(response: Response) -> dict[str, str]:
    data = response.data if isinstance(response.data, dict) else {"detail": response.data}
    if response.status_code != status.HTTP_400_BAD_REQUEST:
        return {"code": data["detail"].code, "detail": str(data["detail"])}
    name, messages = next(iter(data.items()))
    detail = messages[0] if isinstance(messages, list) else messages
    body = {"code": InvalidRequest.default_code, "detail": str(detail)}
    return body if name == "detail" else {**body, "path": name}
