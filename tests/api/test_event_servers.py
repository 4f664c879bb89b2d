"""Event streams of real servers: uvicorn, and Django's own for WSGI."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread, active_count
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connections

from tests.api.asgi_server import serve_in_thread
from tests.api.clients import session_url
from tests.api.database_connections import count_connections, kill_connections
from tests.api.event_streams import Stream, parse_stream
from tests.api.live import build_auth_header
from tests.builders import save_history
from weavegraph_checkpoints.api import polling
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

FAST = f"{session_url('run', 'events/')}?poll=0.2"


@pytest.fixture(params=["wsgi", "asgi"])
def server(request: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[str]:
    """The URL of a server."""
    settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setattr(polling, "IDLE_SECONDS", 0.1)
    if request.param == "wsgi":
        yield request.getfixturevalue("live_server").url
        return
    with serve_in_thread() as url:
        yield url
    for thread in polling.threads:
        thread.join()


@pytest.fixture
def login() -> dict[str, str]:
    return build_auth_header("view_session")


class Connection:
    """A connection to the stream of a session, read in the background."""

    def __init__(self, server: str, path: str, headers: dict[str, str]) -> None:
        address = urlsplit(server)
        self.http = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        self.http.request("GET", path, headers=headers)
        self.socket: Any = self.http.sock
        self.response = self.http.getresponse()
        assert self.response.status == 200
        assert self.response.headers["Content-Type"] == "text/event-stream"
        self.received = b""
        self.thread = Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            while part := self.response.read1():
                self.received += part
        except (OSError, ValueError, http.client.HTTPException):
            pass  # The test closed the connection.

    @property
    def stream(self) -> Stream:
        return parse_stream(self.received)

    def wait_for(self, step: int) -> None:
        wait_until(lambda: step in self.stream.steps)

    def wait_for_steps(self, count: int) -> None:
        wait_until(lambda: len(self.stream.steps) >= count)

    def wait_for_end(self) -> str:
        self.thread.join(60)
        return self.stream.end

    def close(self) -> None:
        """Close the connection, as a network that fails does."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(60)
        self.response.close()
        self.http.close()
        self.socket.close()


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def save(*steps: int, **fields: Any) -> None:
    save_history(DjangoCheckpointer(), "run", steps, **fields)


def test_steps_arrive_when_they_are_saved(server: str, login: dict[str, str]) -> None:
    save(1)
    connection = Connection(server, FAST, login)
    wait_until(lambda: connection.stream.last_id == "1")
    for step in (2, 3):
        save(step)
        connection.wait_for(step)
    save(4, frontier=[])
    assert connection.wait_for_end() == "finished"
    assert connection.stream.steps == [2, 3, 4]
    connection.close()


def test_reconnecting_misses_nothing_and_repeats_nothing(
    server: str, login: dict[str, str]
) -> None:
    save(0)
    seen: list[int] = []
    known = "0"
    writer = Thread(target=_save_slowly, args=(range(1, 60),), daemon=True)
    writer.start()
    while len(seen) < 59:
        connection = Connection(server, FAST, {**login, "Last-Event-ID": known})
        connection.wait_for_steps(min(7, 59 - len(seen)))
        connection.close()
        stream = connection.stream
        seen += stream.steps
        known = stream.last_id
    writer.join()
    assert seen == list(range(1, 60))


def _save_slowly(steps: range) -> None:
    for step in steps:
        save(step)
        time.sleep(0.02)
    connections.close_all()


def test_a_session_that_is_deleted_and_created_again(server: str, login: dict[str, str]) -> None:
    save(1)
    connection = Connection(server, FAST, login)
    wait_until(lambda: connection.stream.last_id)
    DjangoCheckpointer().delete_session("run")
    save(1, 2, 3)
    assert connection.wait_for_end() == "deleted"
    assert connection.stream.steps == []
    connection.close()


def test_a_user_who_loses_the_permission(server: str, login: dict[str, str]) -> None:
    save(1)
    connection = Connection(server, FAST, login)
    save(2)
    connection.wait_for(2)
    User.objects.get().user_permissions.clear()
    save(3)
    assert connection.wait_for_end() == "forbidden"
    assert connection.stream.steps == [2]
    connection.close()


def test_the_end_after_events_max_seconds(
    server: str, login: dict[str, str], settings: Any
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": 1}
    save(1)
    began = time.monotonic()
    connection = Connection(server, FAST, login)
    assert connection.wait_for_end() == "timeout"
    assert time.monotonic() - began >= 1
    connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_streams_that_clients_leave_end(
    server: str, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under WSGI a server notices it when it writes; a heartbeat is such a moment."""
    monkeypatch.setattr("weavegraph_checkpoints.api.event_feed.HEARTBEAT_SECONDS", 0.3)
    save(1)
    before, used = active_count(), count_connections(os.getpid())
    opened = [Connection(server, FAST, login) for _ in range(5)]
    wait_until(lambda: all(each.stream.last_id for each in opened))
    assert active_count() >= before + 10  # Those that read, and those that serve.
    wait_until(lambda: count_connections(os.getpid()) > used)
    for each in opened:
        each.close()
    wait_until(lambda: active_count() <= before)
    wait_until(lambda: count_connections(os.getpid()) <= used)


@pytest.mark.vendor("postgresql", "mysql")
def test_a_database_server_that_restarts(
    server: str, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that it cuts off resume; those that used no connection notice nothing."""
    monkeypatch.setattr(polling, "IDLE_SECONDS", 2.0)
    save(1)
    opened = [Connection(server, FAST, login) for _ in range(2 * polling.MAX_THREADS)]
    save(2)
    for each in opened:
        each.wait_for(2)
    kill_connections()
    wait_until(lambda: any(not each.thread.is_alive() for each in opened))
    save(3, frontier=[])
    for each in opened:
        end, steps = each.wait_for_end(), each.stream.steps
        each.close()
        if not end:
            again = Connection(server, FAST, {**login, "Last-Event-ID": each.stream.last_id})
            end, steps = again.wait_for_end(), steps + again.stream.steps
            again.close()
        assert (end, steps) == ("finished", [2, 3])


def test_a_database_that_fails_ends_the_connection(
    server: str, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reconnects; there is no event ``end``."""
    from django.db import OperationalError

    from weavegraph_checkpoints.api.event_feed import EventFeed

    save(1)
    connection = Connection(server, FAST, login)
    save(2)
    connection.wait_for(2)
    works = EventFeed._read_progress

    def fail(feed: EventFeed) -> Any:
        raise OperationalError("the server is gone")

    monkeypatch.setattr(EventFeed, "_read_progress", fail)
    assert connection.wait_for_end() == ""
    monkeypatch.setattr(EventFeed, "_read_progress", works)
    known = connection.stream.last_id
    connection.close()
    again = Connection(server, FAST, {**login, "Last-Event-ID": known})
    save(3, frontier=[])
    assert again.wait_for_end() == "finished"
    assert again.stream.steps == [3]
    again.close()
