"""The server-sent events of a session: one per new step."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.viewsets import ViewSetMixin

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.api import openapi_events
from weavegraph_checkpoints.api.event_feed import BEFORE_ALL_STEPS, EventFeed
from weavegraph_checkpoints.api.exceptions import InvalidRequest
from weavegraph_checkpoints.api.filters import Parameters
from weavegraph_checkpoints.api.polling import choose_runner
from weavegraph_checkpoints.api.renderers import JSONRenderer
from weavegraph_checkpoints.api.views import BaseView
from weavegraph_checkpoints.domain.limits import MAX_STEP, parse_non_negative_int

EVENT_STREAM = "text/event-stream"
MIN_POLL_SECONDS = 0.2
MAX_POLL_SECONDS = 10.0
DEFAULT_POLL_SECONDS = 1.0
LAST_EVENT_ID = "Last-Event-ID"

_DECIMAL = re.compile(r"\d{1,2}(\.\d{1,20})?", re.ASCII)
_CURSOR_MESSAGE = f"expected an integer from {BEFORE_ALL_STEPS} to {MAX_STEP}"


def parse_cursor(text: Any) -> int | None:
    """Return a step number, ``BEFORE_ALL_STEPS``, or ``None`` for other text."""
    return BEFORE_ALL_STEPS if text == str(BEFORE_ALL_STEPS) else parse_non_negative_int(text)


class CursorField(serializers.IntegerField):
    """A step number, or -1 for the beginning of a session."""

    default_error_messages = {"invalid": _CURSOR_MESSAGE}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": BEFORE_ALL_STEPS, "max_value": MAX_STEP, **kwargs})

    def to_internal_value(self, data: Any) -> int:
        value = parse_cursor(data)
        if value is None:
            self.fail("invalid")
        return value


class PollField(serializers.FloatField):
    """A number of seconds in decimal digits."""

    default_error_messages = {
        "invalid": f"expected a number of seconds from {MIN_POLL_SECONDS} to {MAX_POLL_SECONDS}"
    }

    def __init__(self, **kwargs: Any) -> None:
        limits = {"min_value": MIN_POLL_SECONDS, "max_value": MAX_POLL_SECONDS}
        super().__init__(**{**limits, **kwargs})

    def to_internal_value(self, data: Any) -> float:
        if not _DECIMAL.fullmatch(data):
            self.fail("invalid")
        return float(data)


class EventParameters(Parameters):
    """Where a stream begins, and how often it looks for new steps."""

    after_step = CursorField(
        required=False,
        help_text="Send the steps after this one, -1 for all steps; by default, those saved from "
        f"now on. `{LAST_EVENT_ID}` takes precedence.",
    )
    poll = PollField(
        required=False,
        help_text="Seconds between two look-ups of the session: "
        f"{DEFAULT_POLL_SECONDS:g} by default, {MIN_POLL_SECONDS:g} to {MAX_POLL_SECONDS:g}.",
    )


class EventStreamRenderer(BaseRenderer):
    """Tells content negotiation that the view produces an event stream."""

    media_type = EVENT_STREAM
    format = "sse"


class EventViewSet(ViewSetMixin, BaseView):
    """The events of a session."""

    def get_renderers(self) -> list[BaseRenderer]:
        return [EventStreamRenderer()]

    def perform_content_negotiation(
        self, request: Request, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        """Refuse a GET that does not accept an event stream; errors are JSON."""
        if request.method == "GET":
            super().perform_content_negotiation(request, force)
        return JSONRenderer(), JSONRenderer.media_type

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the response; ask proxies to pass each event on at once."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if response["Content-Type"] == EVENT_STREAM:
            response["Cache-Control"] += ", no-transform"
            response["X-Accel-Buffering"] = "no"
            # Django's GZipMiddleware would hold events back, and leaves other encodings alone.
            response["Content-Encoding"] = "identity"
        return response

    @openapi_events.stream(EventParameters)
    def stream(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send an event for each new step."""
        parameters = EventParameters.parse(request)
        feed = EventFeed(
            self,
            cursor=_parse_last_event_id(request, parameters.get("after_step")),
            poll_seconds=parameters.get("poll", DEFAULT_POLL_SECONDS),
            max_seconds=conf.events_max_seconds(),
        )
        if request.method == "HEAD":
            return HttpResponse(content_type=EVENT_STREAM)
        is_async = isinstance(request._request, ASGIRequest)
        content = iterate_async(feed) if is_async else iterate(feed)
        return StreamingHttpResponse(content, content_type=EVENT_STREAM)


def _parse_last_event_id(request: Request, default: int | None) -> int | None:
    """Return the cursor in ``Last-Event-ID``, which a browser sends when it reconnects."""
    text = request.headers.get(LAST_EVENT_ID, "")
    if not text:
        return default
    cursor = parse_cursor(text)
    if cursor is None:
        raise InvalidRequest(_CURSOR_MESSAGE, path=LAST_EVENT_ID)
    return cursor


def iterate(feed: EventFeed) -> Iterator[bytes]:
    """Yield a stream in the thread of the request."""
    yield feed.open()
    delay: float | None = 0
    while delay is not None:
        time.sleep(delay)
        data, delay = feed.advance()
        if data:
            yield data


async def iterate_async(feed: EventFeed) -> AsyncIterator[bytes]:
    """Yield a stream without occupying a thread or a connection between two look-ups."""
    yield feed.open()
    run = await choose_runner()
    delay: float | None = 0
    while delay is not None:
        await asyncio.sleep(delay)
        data, delay = await run(feed.advance)
        if data:
            yield data
