"""What the OpenAPI schema says of each call: parameters, answers, errors and examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)

from weavegraph_checkpoints.api import documents
from weavegraph_checkpoints.api.documents import Described
from weavegraph_checkpoints.api.parameters import (
    DiffParameters,
    SaveParameters,
    SessionParameters,
    StepParameters,
)
from weavegraph_checkpoints.api.serializers import ForkSerializer, SessionSerializer
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.domain.url_ids import ENCODED, PLAIN

F = TypeVar("F", bound=Callable[..., Any])

_URL = "https://example.com/api/sessions/run-1/"

CHECKPOINT: dict[str, Any] = {
    "state": {
        "messages": {"version": 1, "items": [{"role": "user", "content": "Find the bug."}]},
        "extra": {"version": 1, "map": {"budget": 0.25}},
        "errors": {"version": 1, "items": []},
    },
    "frontier": ["Custom:search"],
    "versions_seen": {"Start": {"messages": 1}},
    "concurrency_limit": 4,
    "created_at": "2026-05-04T10:00:01Z",
    "ran_nodes": ["Start"],
    "skipped_nodes": [],
    "updated_channels": ["messages"],
}
"""An example of what a save takes."""

_STORED = {"url": f"{_URL}steps/1/", "session_id": "run-1", "step": 1, **CHECKPOINT}
_SESSION = {
    "id": "run-1",
    "url": _URL,
    "owner": "",
    "status": "resumable",
    "concurrency_limit": 4,
    "created_at": "2026-05-04T10:00:01.250000Z",
    "updated_at": "2026-05-04T10:00:01.250000Z",
    "last_step": 1,
    "revision": 1,
    "last_message_count": 1,
    "last_error_count": 0,
    "last_state_bytes": 160,
    "last_frontier": ["Custom:search"],
    "forked_from": "",
    "forked_at_step": None,
}
_FORK = {
    **_SESSION,
    "id": "run-1/b",
    "url": "https://example.com/api/sessions/~cnVuLTEvYg/",
    "forked_from": "run-1",
    "forked_at_step": 1,
}

ERRORS: dict[int, tuple[str, dict[str, Any]]] = {
    400: (
        "A parameter or the body is refused; `path` names it.",
        {"code": "invalid", "detail": "Expected `str`, got `int`", "path": "$.frontier[0]"},
    ),
    401: (
        "Nobody is signed in, or not as the authentication of the server wants it.",
        {
            "code": "not_authenticated",
            "detail": "Authentication credentials were not provided.",
        },
    ),
    403: (
        "The permission for this call is missing; or nobody is signed in.",
        {
            "code": "permission_denied",
            "detail": "You do not have permission to perform this action.",
        },
    ),
    404: (
        "Nothing is there, or it is someone else's.",
        {"code": "not_found", "detail": "session 'run-1' does not exist"},
    ),
    406: (
        "The answer cannot be given in what `Accept` asks for.",
        {
            "code": "not_acceptable",
            "detail": "Could not satisfy the request Accept header.",
        },
    ),
    413: (
        "The body, or the state in it, is beyond the limit.",
        {
            "code": "too_large",
            "detail": "the state takes 7340100 bytes, more than MAX_STATE_BYTES = 7340032",
            "path": "$.state",
        },
    ),
    415: (
        "The body is not `application/json`.",
        {
            "code": "unsupported_media_type",
            "detail": 'Unsupported media type "text/plain" in request.',
        },
    ),
    429: (
        "Too many requests; `Retry-After` says when to come again.",
        {"code": "throttled", "detail": "Request was throttled. Expected available in 3 seconds."},
    ),
}
"""By status when it is answered, and an example."""

_OF_EVERY_CALL = (400, 401, 403, 406, 429)
_OF_A_BODY = (413, 415)


def _example(value: Any, name: str = "Example") -> list[OpenApiExample]:
    return [OpenApiExample(name, value=value)]


def _answer(document: Any, description: str, example: Any) -> OpenApiResponse:
    return OpenApiResponse(document, description=description, examples=_example(example))


def _errors(*statuses: int) -> dict[int, OpenApiResponse]:
    return {
        status: _answer(documents.Error, *ERRORS[status])
        for status in sorted({*_OF_EVERY_CALL, *statuses})
    }


def _conflict(document: type[Described], description: str, example: Any) -> dict[int, Any]:
    return {409: _answer(document, description, example)}


def _path(name: str, description: str, schema: dict[str, Any], example: Any) -> OpenApiParameter:
    return OpenApiParameter(
        name, schema, OpenApiParameter.PATH, description=description, examples=_example(example)
    )


def _header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=list(statuses)
    )


_IN_SESSION = _path(
    "session",
    "The session's segment: its id where that is made of `A-Za-z0-9._-` alone and does not "
    "begin with a dot, else `~` and the unpadded base64url of its UTF-8.",
    {"type": "string", "pattern": f"^({ENCODED}|{PLAIN})$"},
    "run-1",
)
_AT_STEP = _path("step", "The step.", {"type": "integer", "minimum": 0, "maximum": MAX_STEP}, 1)
_LOCATION = _header("Location", "The address of what was made.", 201)
_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of an earlier answer: 304 while nothing was saved since.",
)


def _call(operation_id: str, **options: Any) -> Callable[[F], F]:
    """Return what describes a call, whatever ``DEFAULT_SCHEMA_CLASS`` the project has."""
    extend = extend_schema(operation_id=operation_id, tags=["checkpoints"], **options)

    def describe(method: F) -> F:
        method.kwargs = {"schema": AutoSchema, **getattr(method, "kwargs", {})}  # type: ignore[attr-defined]
        return extend(method)

    return describe


_list_sessions = _call(
    "list_sessions",
    summary="List sessions",
    description="A page of sessions without their states. Two queries, whatever its size.",
    parameters=[SessionParameters],
    responses={
        200: OpenApiResponse(SessionSerializer(many=True), "A page.", examples=_example(_SESSION)),
        **_errors(),
    },
)
_retrieve_session = _call(
    "load_session",
    summary="One session",
    description="A session without its state.",
    parameters=[_IN_SESSION],
    responses={200: _answer(SessionSerializer, "The session.", _SESSION), **_errors(404)},
)
_delete_session = _call(
    "delete_session",
    summary="Delete a session",
    description="Deletes a session with all its steps.",
    parameters=[_IN_SESSION],
    responses={204: OpenApiResponse(None, "It is gone."), **_errors(404)},
)
_latest = _call(
    "load_latest",
    summary="The checkpoint to resume from",
    description="The highest step of a session. `ran_nodes`, `skipped_nodes` and "
    "`updated_channels` are empty, and `created_at` is when the session was last updated: "
    "it is read from the session alone. Ask with `If-None-Match` to learn cheaply that "
    "nothing has changed.",
    parameters=[
        _IN_SESSION,
        _IF_NONE_MATCH,
        _header("ETag", "Another after each save.", 200, 304),
        _header("Last-Modified", "When the session was last updated.", 200, 304),
        _header("Cache-Control", "`private, no-cache`: ask before using it again.", 200, 304),
    ],
    responses={
        200: _answer(documents.CheckpointDocument, "The checkpoint.", _STORED),
        304: OpenApiResponse(None, "Nothing was saved since."),
        **_errors(404),
    },
)
_fork = _call(
    "fork_session",
    summary="Fork a session",
    description="Copies the steps up to `at_step` into a new session, which keeps the owner "
    "and remembers its origin.",
    parameters=[_IN_SESSION, _LOCATION],
    request=ForkSerializer,
    examples=[
        OpenApiExample("Example", value={"target": "run-1/b", "at_step": 1}, request_only=True)
    ],
    responses={
        201: _answer(SessionSerializer, "The fork.", _FORK),
        **_errors(404, *_OF_A_BODY),
        **_conflict(
            documents.Error,
            "The target exists.",
            {"code": "session_exists", "detail": "session 'run-1/b' exists already"},
        ),
    },
)
_diff = _call(
    "diff_steps",
    summary="Compare two steps",
    description="The RFC 6902 patch between the states of two steps. It tells `1` from `1.0` "
    "and from `true`.",
    parameters=[_IN_SESSION, DiffParameters],
    responses={
        200: _answer(
            documents.Difference,
            "The patch.",
            {
                "from": 1,
                "to": 2,
                "patch": [{"op": "replace", "path": "/extra/map/budget", "value": 0.2}],
            },
        ),
        **_errors(404),
    },
)

sessions = extend_schema_view(
    list=_list_sessions,
    retrieve=_retrieve_session,
    destroy=_delete_session,
    latest=_latest,
    fork=_fork,
    diff=_diff,
)
"""Describes the calls on sessions."""

_list_steps = _call(
    "list_steps",
    summary="List the steps of a session",
    description="A page of the history, newest step first.",
    parameters=[_IN_SESSION, StepParameters],
    responses={
        200: _answer(
            documents.StepPage,
            "A page.",
            {
                "checkpoints": [_STORED],
                "page_info": {
                    "total_count": 1,
                    "page_size": 1,
                    "offset": 0,
                    "has_next_page": False,
                },
            },
        ),
        **_errors(404),
    },
)
_retrieve_step = _call(
    "load_step",
    summary="One checkpoint",
    description="The whole record of one step.",
    parameters=[_IN_SESSION, _AT_STEP],
    responses={
        200: _answer(documents.CheckpointDocument, "The checkpoint.", _STORED),
        **_errors(404),
    },
)
_save_step = _call(
    "save_step",
    summary="Save a checkpoint",
    description="Saves a step, and its session when that is new. A step that is there is "
    "replaced whole. With `expected_last_step`, of any number of writers one succeeds.",
    parameters=[_IN_SESSION, _AT_STEP, SaveParameters, _LOCATION],
    request=documents.CheckpointToSave,
    examples=[OpenApiExample("Example", value=CHECKPOINT, request_only=True)],
    responses={
        201: _answer(
            documents.Saved,
            "The step is new.",
            {"session_id": "run-1", "step": 1, "url": f"{_URL}steps/1/"},
        ),
        200: _answer(
            documents.Saved,
            "The step was there, and is replaced.",
            {"session_id": "run-1", "step": 1, "url": f"{_URL}steps/1/"},
        ),
        **_errors(404, *_OF_A_BODY),
        **_conflict(
            documents.Conflict,
            "The last step is not the expected one.",
            {
                "code": "concurrency_conflict",
                "detail": "session 'run-1': expected last step 1, but it is 2",
                "expected": 1,
                "actual": 2,
            },
        ),
    },
)

steps = extend_schema_view(list=_list_steps, retrieve=_retrieve_step, update=_save_step)
"""Describes the calls on steps."""
