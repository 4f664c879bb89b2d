"""Open event streams with Django's test clients, and parse them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import AsyncClient, Client

EVENTS = "weavegraph_checkpoints.api.events"
FEED = "weavegraph_checkpoints.api.event_feed"


@dataclass(frozen=True)
class Event:
    """An event as a browser dispatches it."""

    id: str
    name: str
    data: Any


@dataclass
class Stream:
    """A stream as the standard says that a client reads it."""

    events: list[Event] = field(default_factory=list)
    comments: int = 0
    last_id: str = ""
    """What the client sends as ``Last-Event-ID`` when it reconnects."""

    @property
    def steps(self) -> list[int]:
        """The steps of the events."""
        return [int(event.id) for event in self.events if event.name == "checkpoint"]

    @property
    def end(self) -> str:
        """The reason of the end; "" if the stream was cut off."""
        reasons = [event.data["reason"] for event in self.events if event.name == "end"]
        assert reasons in ([], [self.events[-1].data.get("reason")])
        return reasons[0] if reasons else ""


def parse_stream(text: bytes) -> Stream:
    """Parse a stream as https://html.spec.whatwg.org/multipage/server-sent-events.html says."""
    stream, event_id, name, data = Stream(), "", "", ""
    whole, _, _ = text.rpartition(b"\n\n")  # What follows has not arrived completely.
    for line in [*whole.decode().split("\n"), ""]:
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            stream.last_id = event_id
            if data:
                stream.events.append(Event(stream.last_id, name, json.loads(data)))
            name = data = ""
        elif not key:
            stream.comments += 1
        elif key == "id":
            event_id = value
        elif key == "event":
            name = value
        else:
            assert key == "data", line
            data += value
    return stream


class Listener:
    """Reads streams from WSGI or ASGI, with a clock that a test controls.

    Whenever the server would sleep, the next of the ``actions`` of a test happens instead, and
    the clock moves on.
    """

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind = kind
        self.now = 1000.0
        self.sleeps: list[float] = []
        self.actions: list[Callable[[], Any]] = []
        monkeypatch.setattr(f"{FEED}.monotonic", lambda: self.now)
        monkeypatch.setattr(f"{EVENTS}.time", SimpleNamespace(sleep=self._sleep))
        asynchronous = SimpleNamespace(sleep=sync_to_async(self._sleep))
        monkeypatch.setattr(f"{EVENTS}.asyncio", asynchronous)

    def _sleep(self, seconds: float) -> None:
        if seconds:
            self.sleeps.append(seconds)
            self.now += seconds
            if self.actions:
                self.actions.pop(0)()

    def get(self, client: Client, path: str, **headers: str) -> Any:
        """Return the response; that of ASGI has been read."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.kind == "wsgi":
            return client.get(path, headers=sent)
        return async_to_sync(self._get)(client, path, sent)

    async def _get(self, client: Client, path: str, headers: dict[str, str]) -> Any:
        asynchronous = AsyncClient(raise_request_exception=client.raise_request_exception)
        asynchronous.cookies = client.cookies
        response = await asynchronous.get(path, headers=headers)
        if response.streaming:
            assert response.is_async
            response.streaming_content = iter([chunk async for chunk in response])
        return response

    def listen(
        self, client: Client, path: str, *actions: Callable[[], Any], **headers: str
    ) -> Stream:
        """Read a stream to its end, while actions happen one per look-up of the server."""
        self.actions, self.sleeps = list(actions), []
        response = self.get(client, path, **headers)
        assert response.status_code == 200, response.content
        stream = parse_stream(b"".join(response.streaming_content))
        assert not self.actions
        return stream
