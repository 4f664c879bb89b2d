"""1 000 open event streams in one uvicorn process: its memory, threads and connections."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from tests.api.asgi_server import serve_in_process
from tests.api.clients import session_url
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
STREAMS = int(os.environ.get("WEAVEGRAPH_TEST_STREAMS", "1000"))
OPENED_AT_ONCE = 20
MAX_KILOBYTES_PER_STREAM = 250


class Streams:
    """Open connections to the event stream of the session ``run``."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port
        lines = [f"GET {session_url('run', 'events/')}?poll=5 HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.request = "\r\n".join([*lines, "", ""]).encode()
        self.opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.limit = asyncio.Semaphore(OPENED_AT_ONCE)

    async def open(self, count: int) -> None:
        """Open streams, until each has begun."""
        await asyncio.gather(*(self._open() for _ in range(count)))

    async def _open(self) -> None:
        async with self.limit:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readuntil(b"id: 1\n\n")
            self.opened.append((reader, writer))

    async def wait_for(self, step: int) -> None:
        """Wait until each stream has sent a step."""
        text = b"id: %d\nevent: checkpoint\n" % step
        await asyncio.gather(*(reader.readuntil(text) for reader, _writer in self.opened))

    def close(self) -> None:
        for _reader, writer in self.opened:
            writer.transport.abort()


def read_status(pid: int, name: str) -> int:
    """Return a number of ``/proc/<pid>/status``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def count_connections(pid: int) -> int:
    """Return how many connections a process has to the database of the tests."""
    if connection.vendor == "sqlite":
        name = os.path.realpath(connection.settings_dict["NAME"])
        opened = [os.path.realpath(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
        return opened.count(name)
    queries = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "mysql": "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    }
    with connection.cursor() as cursor:
        cursor.execute(queries[connection.vendor])
        return int(cursor.fetchone()[0])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_1000_streams_in_one_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * STREAMS + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"the limit of open files is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    save_history(DjangoCheckpointer(), "run", [1])
    headers = build_auth_header("view_session")
    with serve_in_process() as (url, pid):
        asyncio.run(_measure(url, pid, headers))
        wait_until(lambda: count_connections(pid) == 0)
        wait_until(lambda: read_status(pid, "Threads") < 50)


async def _measure(url: str, pid: int, headers: dict[str, str]) -> None:
    streams = Streams(url, headers)
    await streams.open(20)
    memory, threads = read_status(pid, "VmRSS"), read_status(pid, "Threads")
    await streams.open(STREAMS - 20)
    connections = []
    for _ in range(40):
        await asyncio.sleep(0.1)
        connections.append(await asyncio.to_thread(_count_in_thread, pid))
    kilobytes = (read_status(pid, "VmRSS") - memory) / (STREAMS - 20)
    began = time.monotonic()
    await asyncio.to_thread(_save_in_thread, 2)
    await streams.wait_for(2)
    seconds = time.monotonic() - began
    logger.info(
        f"{connection.vendor}: {STREAMS} streams, {kilobytes:.0f} kB each, "
        f"{read_status(pid, 'VmRSS') / 1024:.0f} MB, {read_status(pid, 'Threads')} threads "
        f"({threads} with 20 streams), at most {max(connections)} connections; "
        f"all have a new step after {seconds:.1f} s (poll=5)"
    )
    streams.close()
    assert max(connections) <= MAX_THREADS
    assert kilobytes < MAX_KILOBYTES_PER_STREAM


def _count_in_thread(pid: int) -> int:
    try:
        return count_connections(pid)
    finally:
        connection.close()


def _save_in_thread(step: int) -> None:
    save_history(DjangoCheckpointer(), "run", [step])
    connection.close()
