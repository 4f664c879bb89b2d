"""Threads in which the event streams of an ASGI process share a few database connections.

Under ASGI, Django gives each request a thread of its own, and so a connection of its own. A
stream that kept it would exhaust the connections of a server after a hundred clients.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from itertools import cycle
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar

from asgiref.sync import sync_to_async
from django.db import Error, connections

T = TypeVar("T")

MAX_THREADS = 4
"""How many threads, and so connections per database, the streams of a process use."""
IDLE_SECONDS = 2.0
"""How long a thread keeps its connections while it has nothing to do, in seconds."""


class _Job(NamedTuple):
    function: Callable[[], Any]
    context: Context
    future: Future[Any]

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.context.run(self.function)
        except BaseException as error:
            close_connections()  # The error may be that of a broken connection.
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class PollingThread:
    """Runs functions one after another in one thread, which exists only while it has work.

    The thread keeps its database connections between functions, and closes them when it was
    idle for ``IDLE_SECONDS`` or when a function fails.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the thread and its work, as a forked process must: threads are not forked."""
        self._lock = Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of a function."""
        return await asyncio.wrap_future(self.submit(function))

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run a function as soon as those before it are done.

        Raises ``RuntimeError`` if the process cannot start another thread.
        """
        job = _Job(function, copy_context(), Future())
        with self._lock:
            if self._thread is None:
                thread = Thread(target=self._work, name="weavegraph-events", daemon=True)
                thread.start()
                self._thread = thread
            self._jobs.put(job)
        return job.future

    def join(self) -> None:
        """Wait until the thread has ended, and with it its connections."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                close_connections()
                with self._lock:
                    if self._jobs.empty():
                        self._thread = None
                        return
                continue
            job.run()
            del job  # The result of a stream that has ended.


threads = [PollingThread() for _ in range(MAX_THREADS)]
"""The threads of this process."""
_next_threads = cycle(threads)


def _reset_threads() -> None:
    for thread in threads:
        thread.reset()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_reset_threads)


def close_connections() -> None:
    """Close the connections of this thread, also those that the server has closed."""
    for connection in connections.all(initialized_only=True):
        with suppress(Error):
            connection.close()


async def choose_runner() -> Callable[[Callable[[], T]], Any]:
    """Return an async function that runs functions outside the thread of the request.

    The connections of that thread are closed. If one is in a transaction, as in a
    ``TestCase``, only this thread can read what the transaction wrote: return a function that
    runs functions in it.
    """
    if await sync_to_async(_leave_connections)():
        return next(_next_threads).run
    return _run_in_request_thread


async def _run_in_request_thread(function: Callable[[], T]) -> T:
    return await sync_to_async(function)()


def _leave_connections() -> bool:
    """Close the connections of this thread; return ``False`` if one is in a transaction."""
    opened = connections.all(initialized_only=True)
    if any(connection.in_atomic_block for connection in opened):
        return False
    close_connections()
    return True
