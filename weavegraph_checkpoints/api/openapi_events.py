"""The OpenAPI schema of the event stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from msgspec import Meta

from weavegraph_checkpoints.api.openapi import _SESSION_PARAMETER, _action, _errors
from weavegraph_checkpoints.api.openapi_components import Document
from weavegraph_checkpoints.domain.limits import MAX_STEP

EXAMPLE = {
    "id": "2",
    "event": "checkpoint",
    "data": '{"session_id":"run-1","url":"https://example.com/api/sessions/run-1/steps/2/","step":2,'
    '"created_at":"2026-05-04T10:00:03Z","frontier":["End"],"ran_nodes":["Custom:search"],'
    '"skipped_nodes":[],"updated_channels":["messages"],"message_count":2,"error_count":0,'
    '"state_bytes":230}',
}
"""An event of a stream."""


class StreamEvent(Document, frozen=True, kw_only=True):
    """An event of a stream."""

    id: Annotated[str, Meta(description="The last step that was sent, -1 if there is none.")]
    event: Literal["checkpoint", "end"]
    data: Annotated[
        str,
        Meta(description="JSON: the step without its state, or the `reason` of the end."),
    ]


def stream(parameters: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that describes the action with these query parameters."""
    content = OpenApiResponse(
        StreamEvent,
        description="A stream of events; the schema is that of one event.",
        examples=[OpenApiExample("Example", value=EXAMPLE)],
    )
    errors = _errors(404)
    return _action(
        "stream_events",
        summary="Follow a session",
        description="Send a server-sent event `checkpoint` for each new step, whose `id` is the "
        "step. Ends with the event `end`, whose `reason` is `finished`, `deleted`, `forbidden` "
        "or, after `EVENTS_MAX_SECONDS`, `timeout`. A client that reconnects with "
        "`Last-Event-ID` misses no step and gets none twice.",
        parameters=[
            _SESSION_PARAMETER,
            parameters,
            OpenApiParameter(
                "Last-Event-ID",
                {"type": "integer", "minimum": -1, "maximum": MAX_STEP},
                OpenApiParameter.HEADER,
                description="The `id` of the last event of an earlier response.",
            ),
        ],
        responses={
            (200, "text/event-stream"): content,
            **{(status, "application/json"): each for status, each in errors.items()},
        },
    )
