"""Downloads: one step as it is persisted, and a session as JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin.base import HistoryAdmin, step_parameter
from weavegraph_checkpoints.admin.urls import file_name
from weavegraph_checkpoints.admin.views.session import not_there
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.querysets import StepQuerySet

Response = TypeVar("Response", HttpResponse, StreamingHttpResponse)

NUMBERS_A_READ = 1_000


def raw_step(
    request: HttpRequest, admin: HistoryAdmin, object_id: str, number: int
) -> HttpResponse:
    """Return a step as a file: exactly what ``serde.dumps`` writes."""
    session = admin.session_or_404(request, object_id)
    checkpoint = None
    if step_parameter(str(number)) is not None:
        try:
            checkpoint = admin.reader_of(session).load(session.pk, number)
        except SerializationError as error:
            raise Http404(str(error)) from error
    if checkpoint is None:
        raise Http404(not_there(number, []))
    response = HttpResponse(serde.dumps(checkpoint), content_type="application/json")
    return as_file(response, file_name(session.pk, f"-{number}.json"))


def session_lines(
    request: HttpRequest, admin: HistoryAdmin, object_id: str
) -> StreamingHttpResponse:
    """Return all steps of a session, the oldest first, one a line, as they are read."""
    session = admin.session_or_404(request, object_id)
    lines = _lines(admin.steps_of(session), admin.reader_of(session), session.pk)
    response = StreamingHttpResponse(
        _asynchronously(lines) if isinstance(request, ASGIRequest) else lines,
        content_type="application/jsonl",
    )
    return as_file(response, file_name(session.pk, ".jsonl"))


def as_file(response: Response, name: str) -> Response:
    """Make a response a file to save, which no browser shows."""
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _lines(steps: StepQuerySet, reader: DjangoCheckpointer, session_id: str) -> Iterator[bytes]:
    reached = -1
    numbers = steps.order_by("step").numbers()
    while part := list(numbers.filter(step__gt=reached)[:NUMBERS_A_READ]):
        for number in part:
            line = _line(reader, session_id, number)
            if line is not None:
                yield line + b"\n"
        reached = part[-1]


def _line(reader: DjangoCheckpointer, session_id: str, number: int) -> bytes | None:
    """Return a step; of a broken one what is wrong, of one that is gone nothing."""
    try:
        checkpoint = reader.load(session_id, number)
    except SerializationError as error:
        broken = {"session_id": session_id, "step": number, "broken": str(error)}
        return msgspec.json.encode(broken)
    return None if checkpoint is None else serde.dumps(checkpoint)


async def _asynchronously(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines one by one, where Django would otherwise gather them all first."""
    following = sync_to_async(lambda: next(lines, None))
    while (line := await following()) is not None:
        yield line
