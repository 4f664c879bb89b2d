"""Downloads: one step as its persisted JSON, and a session as JSON lines."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin.views.base import BaseSessionView, BaseStepView
from weavegraph_checkpoints.exceptions import SerializationError

STEP_NUMBERS_BATCH_SIZE = 1_000


class DownloadStepView(BaseStepView):
    """Download a step, exactly as ``serde.dumps`` writes it."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        checkpoint = self.get_checkpoint_or_404()
        return HttpResponse(
            serde.dumps(checkpoint, is_stored=True),
            content_type="application/json",
            headers=get_attachment_headers(self.session_id, f"-{checkpoint.step}.json"),
        )


class DownloadSessionView(BaseSessionView):
    """Download all steps of a session, oldest first, one per line."""

    def get(self, request: HttpRequest, **kwargs: object) -> StreamingHttpResponse:
        lines = self.iter_lines()
        return StreamingHttpResponse(
            aiter_lines(lines) if isinstance(request, ASGIRequest) else lines,
            content_type="application/jsonl",
            headers=get_attachment_headers(self.session_id, ".jsonl"),
        )

    def iter_lines(self) -> Iterator[bytes]:
        """Yield the steps, reading one state at a time; skip deleted steps."""
        last = -1
        numbers = self.steps.order_by("step").step_numbers()
        while batch := list(numbers.filter(step__gt=last)[:STEP_NUMBERS_BATCH_SIZE]):
            yield from filter(None, map(self.get_line, batch))
            last = batch[-1]

    def get_line(self, step: int) -> bytes | None:
        """Return the line of a step; if it cannot be decoded, the line says why."""
        try:
            checkpoint = self.model_admin.load_checkpoint(self.object, step)
        except SerializationError as error:
            broken = {"session_id": self.session_id, "step": step, "broken": str(error)}
            return msgspec.json.encode(broken) + b"\n"
        return None if checkpoint is None else serde.dumps(checkpoint, is_stored=True) + b"\n"


def get_attachment_headers(session_id: str, suffix: str) -> dict[str, str]:
    """Return the headers of a file to save, named after the session."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", session_id)[:60].strip(".-_") or "session"
    return {
        "Content-Disposition": f'attachment; filename="{name}{suffix}"',
        "X-Content-Type-Options": "nosniff",
    }


async def aiter_lines(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines one by one; Django would collect a synchronous iterator first."""
    get_next = sync_to_async(lambda: next(lines, None))
    while (line := await get_next()) is not None:
        yield line
