"""Every error in one shape: ``{"code", "detail", "path"?}``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from weavegraph_checkpoints.exceptions import (
    ConcurrencyConflict,
    InvalidCheckpoint,
    InvalidQuery,
    SessionExists,
    SessionNotFound,
    StateTooLarge,
)


class ApiError(exceptions.APIException):
    """An error with what its answer says besides ``detail``."""

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.members = members


class Invalid(ApiError):
    """A parameter or a body that is refused; ``path`` names it, or a place in it."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"


class NotFound(ApiError):
    """Nothing is there, or it is someone else's."""

    status_code = status.HTTP_404_NOT_FOUND
    default_code = "not_found"


class Exists(ApiError):
    """The target of a fork is taken."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "session_exists"


class Conflict(ApiError):
    """Another writer saved first."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "concurrency_conflict"


class TooLarge(ApiError):
    """A body or a state beyond its limit."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


def no_session(session_id: str) -> NotFound:
    """Return the error for a session that is missing or someone else's."""
    return NotFound(str(SessionNotFound(session_id)))


_TRANSLATIONS: dict[type[Exception], Callable[[Any], ApiError]] = {
    ConcurrencyConflict: lambda error: Conflict(
        str(error), expected=error.expected, actual=error.actual
    ),
    InvalidCheckpoint: lambda error: Invalid(error.message, path=error.path),
    InvalidQuery: lambda error: Invalid(error.message, path=error.path),
    RequestDataTooBig: lambda error: TooLarge("the body is larger than the server reads"),
    SessionExists: lambda error: Exists(str(error)),
    SessionNotFound: lambda error: NotFound(str(error)),
    StateTooLarge: lambda error: TooLarge(error.message, path=error.path),
    SuspiciousOperation: lambda error: Invalid("the request is malformed"),
}
"""How an error is answered; the most special class counts."""


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an error as REST framework does, in the one shape of this API.

    ``None`` for an error that is the server's: it is raised, logged, and answered by
    Django with 500.
    """
    for cls in type(error).__mro__:
        if cls in _TRANSLATIONS:
            error = _TRANSLATIONS[cls](error)
            break
    response = exception_handler(error, context)
    if response is not None:
        response.data = _body(error, response)
    return response


def _body(error: Exception, response: Response) -> dict[str, Any]:
    if response.status_code == status.HTTP_400_BAD_REQUEST:
        path, detail = next(_details(response.data, ""))
        members = {"path": path} if path else {}
        return {"code": Invalid.default_code, "detail": detail, **members, **_members(error)}
    code = response.data["detail"].code
    return {"code": code, "detail": str(response.data["detail"]), **_members(error)}


def _members(error: Exception) -> Mapping[str, Any]:
    return error.members if isinstance(error, ApiError) else {}


def _details(data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each message in the detail of an error."""
    if isinstance(data, Mapping):
        for name, inner in data.items():
            own = name in ("detail", "non_field_errors")
            yield from _details(inner, path if own else f"{path}.{name}" if path else name)
    elif isinstance(data, list):
        for inner in data:
            yield from _details(inner, path)
    else:
        yield path, str(data)
