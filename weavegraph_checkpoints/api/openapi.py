"""The OpenAPI schema of each action: parameters, responses, errors and examples."""

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

from weavegraph_checkpoints.api import openapi_components as components
from weavegraph_checkpoints.api.filters import (
    DiffParameters,
    PageParameters,
    SaveParameters,
    SessionParameters,
    StepParameters,
)
from weavegraph_checkpoints.api.openapi_examples import (
    EXAMPLE_CHECKPOINT,
    EXAMPLE_FORK,
    EXAMPLE_LOADED_CHECKPOINT,
    EXAMPLE_PATCH,
    EXAMPLE_SAVED,
    EXAMPLE_SESSION,
)
from weavegraph_checkpoints.api.serializers import SessionSerializer
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.domain.url_ids import ENCODED, PLAIN

F = TypeVar("F", bound=Callable[..., Any])

# By status: when it is returned, and the code and the detail of an example.
_ERRORS: dict[int, tuple[str, str, str]] = {
    400: (
        "A parameter or the request body is invalid; `path` names it.",
        "invalid",
        "Expected `str`, got `int`",
    ),
    401: (
        "The credentials are missing or invalid.",
        "not_authenticated",
        "Authentication credentials were not provided.",
    ),
    403: (
        "The user lacks the permission, or is not authenticated.",
        "permission_denied",
        "You do not have permission to perform this action.",
    ),
    404: (
        "The session or step does not exist, or belongs to another owner.",
        "not_found",
        "session 'run-1' does not exist",
    ),
    406: (
        "The API cannot produce a format that `Accept` requests.",
        "not_acceptable",
        "Could not satisfy the request Accept header.",
    ),
    413: (
        "The request body, or a field in it, is too large; `path` names the field.",
        "too_large",
        "the state has 7340100 bytes, more than MAX_STATE_BYTES = 7340032",
    ),
    415: (
        "The request body is not `application/json`, or is compressed.",
        "unsupported_media_type",
        'Unsupported media type "text/plain" in request.',
    ),
    429: (
        "Too many requests; `Retry-After` says when to retry.",
        "throttled",
        "Request was throttled. Expected available in 3 seconds.",
    ),
}
_EXAMPLE_PATHS = {400: "$.frontier[0]", 413: "$.state"}
_COMMON_ERRORS = (400, 401, 403, 406, 429)
_BODY_ERRORS = (413, 415)


def _example(value: Any) -> list[OpenApiExample]:
    return [OpenApiExample("Example", value=value)]


def _response(schema: Any, description: str, example: Any) -> OpenApiResponse:
    return OpenApiResponse(schema, description=description, examples=_example(example))


def _errors(*statuses: int) -> dict[int, OpenApiResponse]:
    responses = {}
    for status in sorted({*_COMMON_ERRORS, *statuses}):
        description, code, detail = _ERRORS[status]
        example = {"code": code, "detail": detail}
        if status in _EXAMPLE_PATHS:
            example["path"] = _EXAMPLE_PATHS[status]
        responses[status] = _response(components.Error, description, example)
    return responses


def _header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    """Describe a header of the request, or of the responses with these statuses."""
    response = list(statuses) or False
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=response
    )


_SESSION_PARAMETER = OpenApiParameter(
    "session",
    {"type": "string", "pattern": f"^({ENCODED}|{PLAIN})$"},
    OpenApiParameter.PATH,
    description="The session id if it consists of `A-Za-z0-9._-` and does not start with a dot; "
    "otherwise `~` and the unpadded base64url of its UTF-8.",
    examples=_example("run-1"),
)
_STEP_PARAMETER = OpenApiParameter(
    "step",
    {"type": "integer", "minimum": 0, "maximum": MAX_STEP},
    OpenApiParameter.PATH,
    description="The step.",
    examples=_example(1),
)
_LOCATION = _header("Location", "The URL of the new session or step.", 201)


def _action(operation_id: str, **options: Any) -> Callable[[F], F]:
    """Return a decorator that describes an action, whatever ``DEFAULT_SCHEMA_CLASS`` is."""
    extend = extend_schema(
        operation_id=f"weavegraph_{operation_id}", tags=["weavegraph checkpoints"], **options
    )

    def describe(method: F) -> F:
        method.kwargs = {"schema": AutoSchema, **getattr(method, "kwargs", {})}  # type: ignore[attr-defined]
        return extend(method)

    return describe


sessions = extend_schema_view(
    list=_action(
        "list_sessions",
        summary="List sessions",
        description="Return a page of sessions without their states. Three queries, whatever "
        "its size, and one more to find sessions by labels.",
        parameters=[SessionParameters, PageParameters],
        responses={
            200: _response(SessionSerializer(many=True), "A page of sessions.", EXAMPLE_SESSION),
            **_errors(),
        },
    ),
    retrieve=_action(
        "load_session",
        summary="Get a session",
        description="Return a session without its state.",
        parameters=[_SESSION_PARAMETER],
        responses={
            200: _response(SessionSerializer, "The session.", EXAMPLE_SESSION),
            **_errors(404),
        },
    ),
    partial_update=_action(
        "update_session",
        summary="Change the labels of a session",
        description="Change the labels of a session by a merge patch (RFC 7396): labels in it are "
        "set, those that are null are removed, and all others are kept. `updated_at` and "
        "`revision` do not change. Nothing else of a session can be changed.",
        parameters=[_SESSION_PARAMETER],
        request=dict.fromkeys(
            ("application/json", "application/merge-patch+json"),
            components.build_inline_schema(components.SessionPatch),
        ),
        examples=[OpenApiExample("Example", value=EXAMPLE_PATCH, request_only=True)],
        responses={
            200: _response(SessionSerializer, "The session.", EXAMPLE_SESSION),
            **_errors(404, *_BODY_ERRORS),
        },
    ),
    destroy=_action(
        "delete_session",
        summary="Delete a session",
        description="Delete a session with all its steps and labels.",
        parameters=[_SESSION_PARAMETER],
        responses={
            204: OpenApiResponse(None, "The session was deleted."),
            **_errors(404),
            409: _response(
                components.Error,
                "Objects of other models forbid to delete the session.",
                {
                    "code": "session_protected",
                    "detail": "session 'run-1' is protected by shop.Order",
                },
            ),
        },
    ),
    latest=_action(
        "load_latest",
        summary="Get the checkpoint to resume from",
        description="Return the highest step of a session. It is read from the session alone: "
        "`ran_nodes`, `skipped_nodes` and `updated_channels` are empty, and `created_at` is when "
        "the session was last updated. Poll with `If-None-Match`: while nothing has changed, no "
        "state is read.",
        parameters=[
            _SESSION_PARAMETER,
            _header("If-None-Match", "The `ETag` of an earlier response."),
            _header("ETag", "Changes on every save.", 200, 304),
        ],
        responses={
            200: _response(components.Checkpoint, "The checkpoint.", EXAMPLE_LOADED_CHECKPOINT),
            304: OpenApiResponse(None, "Nothing was saved since."),
            **_errors(404),
        },
    ),
    fork=_action(
        "fork_session",
        summary="Fork a session",
        description="Copy the labels, and the steps up to `at_step`, into a new session with the "
        "same owner.",
        parameters=[_SESSION_PARAMETER, _LOCATION],
        request=components.Fork,
        examples=[
            OpenApiExample("Example", value={"target": "fork", "at_step": 1}, request_only=True)
        ],
        responses={
            201: _response(SessionSerializer, "The new session.", EXAMPLE_FORK),
            **_errors(404, *_BODY_ERRORS),
            409: _response(
                components.Error,
                "The target already exists.",
                {"code": "session_exists", "detail": "session 'fork' already exists"},
            ),
        },
    ),
    diff=_action(
        "diff_steps",
        summary="Compare two steps",
        description="Return the RFC 6902 patch between the states of two steps. It distinguishes "
        "`1` from `1.0` and from `true`. In very large states, changed values are replaced whole.",
        parameters=[_SESSION_PARAMETER, DiffParameters],
        responses={
            200: _response(
                components.Difference,
                "The patch.",
                {
                    "from": 1,
                    "to": 2,
                    "patch": [{"op": "replace", "path": "/extra/map/budget", "value": 0.2}],
                },
            ),
            **_errors(404),
        },
    ),
)
"""Decorator that describes the actions of ``SessionViewSet``."""

steps = extend_schema_view(
    list=_action(
        "list_steps",
        summary="List the steps of a session",
        description="Return a page of the history, newest step first.",
        parameters=[_SESSION_PARAMETER, StepParameters],
        responses={
            200: _response(
                components.StepPage,
                "A page of steps.",
                {
                    "checkpoints": [EXAMPLE_LOADED_CHECKPOINT],
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
    ),
    retrieve=_action(
        "load_step",
        summary="Get a checkpoint",
        description="Return the complete record of one step.",
        parameters=[_SESSION_PARAMETER, _STEP_PARAMETER],
        responses={
            200: _response(components.Checkpoint, "The checkpoint.", EXAMPLE_LOADED_CHECKPOINT),
            **_errors(404),
        },
    ),
    update=_action(
        "save_step",
        summary="Save a checkpoint",
        description="Save a step, and create its session if necessary. An existing step is "
        "replaced completely. Of any number of writers with the same `expected_last_step`, one "
        "succeeds.",
        parameters=[_SESSION_PARAMETER, _STEP_PARAMETER, SaveParameters, _LOCATION],
        request=components.CheckpointToSave,
        examples=[OpenApiExample("Example", value=EXAMPLE_CHECKPOINT, request_only=True)],
        responses={
            201: _response(components.SavedCheckpoint, "The step is new.", EXAMPLE_SAVED),
            200: _response(components.SavedCheckpoint, "The step was replaced.", EXAMPLE_SAVED),
            **_errors(404, *_BODY_ERRORS),
            409: _response(
                components.Conflict,
                "The last step is not the expected one.",
                {
                    "code": "concurrency_conflict",
                    "detail": "session 'run-1': expected last step 1, but it is 2",
                    "expected": 1,
                    "actual": 2,
                },
            ),
        },
    ),
)
"""Decorator that describes the actions of ``StepViewSet``."""
