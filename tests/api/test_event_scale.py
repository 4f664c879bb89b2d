"""Many open event streams in one uvicorn process: memory, threads, connections and latency.

``WEAVEGRAPH_TEST_STREAMS=1000`` repeats the figures of ``docs/rest-events.md``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from tests.api.asgi_server import serve_in_process
from tests.api.clients import session_url
from tests.api.database_connections import count_connections
from tests.api.live import build_auth_header
from tests.builders import save_history
from weavegraph_checkpoints.api.polling import MAX_THREADS
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = [
    pytest.mark.budget,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(600),
]

logger = logging.getLogger(__name__)
STREAMS = int(os.environ.get("WEAVEGRAPH_TEST_STREAMS", "100"))
FIRST_STREAMS = 20
"""How many streams are opened before the memory is measured: imports are not theirs."""
STREAMS_PER_SESSION = 10
OPENED_AT_ONCE = 20
SAVES = STREAMS // 5
SAVES_PER_SECOND = 20
MAX_KILOBYTES_PER_STREAM = 250
OTHER_THREADS = 50
"""The threads of the server that are none of a stream."""


class Streams:
    """Open event streams, a few per session, and when their events arrived."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port
        self.headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.limit = asyncio.Semaphore(OPENED_AT_ONCE)
        self.writers: list[asyncio.StreamWriter] = []
        self.readers: list[asyncio.Task[None]] = []
        self.saved_at: dict[tuple[str, int], float] = {}
        self.arrivals: list[tuple[str, int, float]] = []

    async def open(self, numbers: range) -> None:
        """Open streams, until each has begun."""
        await asyncio.gather(*(self._open(get_session_id(number)) for number in numbers))

    async def _open(self, session_id: str) -> None:
        async with self.limit:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            path = session_url(session_id, "events/")
            request = f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{self.headers}\r\n"
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readuntil(b"id: 1\n\n")
        self.writers.append(writer)
        self.readers.append(asyncio.create_task(self._read(session_id, reader)))

    async def _read(self, session_id: str, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"id: "):
                self.arrivals.append((session_id, int(line[4:]), time.monotonic()))

    async def save(self, count: int) -> None:
        """Save steps of the sessions in turn, at random moments."""
        sessions, pauses = list(get_session_ids()), random.Random(1)
        for number in range(count):
            await asyncio.sleep(pauses.expovariate(SAVES_PER_SECOND))
            session_id, step = sessions[number % len(sessions)], 2 + number // len(sessions)
            await in_thread(lambda key=(session_id, step): save(*key))
            self.saved_at[session_id, step] = time.monotonic()

    async def wait_for_all(self) -> list[float]:
        """Return after how many seconds each stream had each new step, once all have."""
        expected = Counter(dict.fromkeys(self.saved_at, STREAMS_PER_SESSION))
        async with asyncio.timeout(120):
            while len(self.arrivals) < expected.total():
                await asyncio.sleep(0.1)
        assert Counter(each[:2] for each in self.arrivals) == expected
        return [at - self.saved_at[session_id, step] for session_id, step, at in self.arrivals]

    async def close(self) -> None:
        for task in self.readers:
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*self.readers, return_exceptions=True)


def get_session_id(number: int) -> str:
    return f"run-{number // STREAMS_PER_SESSION}"


def get_session_ids() -> Iterator[str]:
    return map(get_session_id, range(0, STREAMS, STREAMS_PER_SESSION))


def save(session_id: str, step: int) -> None:
    save_history(DjangoCheckpointer(), session_id, [step])


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function in another thread, without leaving a connection of it."""

    def run() -> Any:
        try:
            return function()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


def read_status(pid: int, name: str) -> int:
    """Return a number of ``/proc/<pid>/status``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def read_cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"the limit of open files is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_many_streams_in_one_process() -> None:
    allow_open_files(3 * STREAMS + 100)
    for session_id in get_session_ids():
        save(session_id, 1)
    headers = build_auth_header("view_session")
    connection.close()
    with serve_in_process() as (url, pid):
        asyncio.run(_measure(url, pid, headers))
        wait_until(lambda: count_connections(pid) == 0)
        wait_until(lambda: read_status(pid, "Threads") < OTHER_THREADS)


async def _measure(url: str, pid: int, headers: dict[str, str]) -> None:
    streams = Streams(url, headers)
    await streams.open(range(FIRST_STREAMS))
    memory = read_status(pid, "VmRSS")
    await streams.open(range(FIRST_STREAMS, STREAMS))
    kilobytes = (read_status(pid, "VmRSS") - memory) / (STREAMS - FIRST_STREAMS)
    began, cpu_seconds = time.monotonic(), read_cpu_seconds(pid)
    await streams.save(SAVES)
    cpu = (read_cpu_seconds(pid) - cpu_seconds) / (time.monotonic() - began)
    latencies = await streams.wait_for_all()
    # Each stream has left the connection of its request; a server may still be closing some.
    await in_thread(lambda: wait_until(lambda: count_connections(pid) <= MAX_THREADS))
    connections = []
    for _ in range(10):
        connections.append(await in_thread(lambda: count_connections(pid)))
        await asyncio.sleep(0.1)
    logger.info(
        f"{connection.vendor}: {STREAMS} streams, {kilobytes:.0f} kB each, "
        f"{read_status(pid, 'VmRSS') / 1024:.0f} MB, {read_status(pid, 'Threads')} threads, "
        f"at most {max(connections)} connections, {cpu:.0%} of a CPU; from save to event "
        f"{median(latencies):.2f} s (median), {quantiles(latencies, n=100)[-1]:.2f} s (p99)"
    )
    threads = read_status(pid, "Threads")
    await streams.close()
    assert max(connections) <= MAX_THREADS
    assert kilobytes < MAX_KILOBYTES_PER_STREAM
    assert threads <= STREAMS + OTHER_THREADS
