"""The threads that look up sessions for event streams."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from threading import Event, Thread, get_ident
from typing import Any

import pytest
from django.db import InterfaceError, connection, connections

from weavegraph_checkpoints.api import polling
from weavegraph_checkpoints.api.polling import PollingThread

SECONDS = 10


@pytest.fixture
def polling_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[PollingThread]:
    monkeypatch.setattr(polling, "IDLE_SECONDS", 0.05)
    thread = PollingThread()
    yield thread
    thread.join()


def test_functions_run_in_one_thread_in_order(polling_thread: PollingThread) -> None:
    results: list[int] = []
    futures = [
        polling_thread.submit(lambda number=number: results.append(number) or get_ident())
        for number in range(50)
    ]
    idents = {future.result(SECONDS) for future in futures}
    assert results == list(range(50))
    assert len(idents) == 1
    assert get_ident() not in idents


def test_an_idle_thread_ends_and_another_begins(polling_thread: PollingThread) -> None:
    for _ in range(3):
        assert polling_thread.submit(lambda: "done").result(SECONDS) == "done"
        polling_thread.join()


def test_an_error_is_that_of_its_function_alone(polling_thread: PollingThread) -> None:
    blocked = Event()
    first = polling_thread.submit(lambda: blocked.wait(SECONDS))
    fails = polling_thread.submit(lambda: 1 / 0)
    works = polling_thread.submit(lambda: "works")
    blocked.set()
    assert first.result(SECONDS)
    with pytest.raises(ZeroDivisionError):
        fails.result(SECONDS)
    assert works.result(SECONDS) == "works"


def test_a_cancelled_function_does_not_run(polling_thread: PollingThread) -> None:
    blocked, calls = Event(), []
    first = polling_thread.submit(lambda: blocked.wait(SECONDS))
    cancelled = polling_thread.submit(lambda: calls.append("ran"))
    assert cancelled.cancel()
    blocked.set()
    assert first.result(SECONDS)
    polling_thread.join()
    assert calls == []


def test_a_process_that_cannot_start_a_thread_can_later(
    polling_thread: PollingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            polling_thread.submit(lambda: calls.append("refused"))
    polling_thread.submit(lambda: calls.append("accepted")).result(SECONDS)
    polling_thread.join()
    assert calls == ["accepted"]


class BrokenConnection:
    """A connection that the server has closed, and whose driver says so."""

    in_atomic_block = False

    def close(self) -> None:
        raise InterfaceError("connection already closed")


@pytest.mark.django_db(transaction=True)
def test_connections_that_cannot_be_closed_stop_nobody(
    polling_thread: PollingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []

    def fail() -> None:
        connection.ensure_connection()
        opened = [BrokenConnection(), *connections.all(initialized_only=True)]
        monkeypatch.setattr(connections, "all", lambda **_: opened)
        closed.append(connections["default"])
        raise InterfaceError("the server is gone")

    with pytest.raises(InterfaceError, match="gone"):
        polling_thread.submit(fail).result(SECONDS)
    assert closed[0].connection is None
    assert polling_thread.submit(lambda: "works").result(SECONDS) == "works"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS cannot fork with threads")
def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it is forked while its parent looks something up."""
    monkeypatch.setattr(polling, "IDLE_SECONDS", 0.05)
    (thread, *_) = polling.threads
    blocked, begun = Event(), Event()

    def block() -> bool:
        begun.set()
        return blocked.wait(SECONDS)

    job = thread.submit(block)
    assert begun.wait(SECONDS)
    with thread._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)  # Its end, if it waits for a lock that nobody holds.
            try:
                os._exit(thread.submit(lambda: 42).result(SECONDS))
            finally:
                os._exit(1)
    _, status = os.waitpid(child, 0)
    blocked.set()
    assert os.waitstatus_to_exitcode(status) == 42
    assert job.result(SECONDS)
    thread.join()
