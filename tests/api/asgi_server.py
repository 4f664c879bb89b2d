"""Uvicorn, which serves the project of the tests in a process or in a thread."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60


@contextmanager
def serve_in_thread() -> Iterator[str]:
    """Serve from a thread of this process, with its settings; yield the URL."""
    import uvicorn
    from django.core.asgi import get_asgi_application

    server = uvicorn.Server(
        uvicorn.Config(get_asgi_application(), port=0, lifespan="off", log_level="error")
    )
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    (listening,) = server.servers[0].sockets
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    server.force_exit = True
    thread.join(START_SECONDS)
    assert not thread.is_alive()


@contextmanager
def serve_in_process(**environment: str) -> Iterator[tuple[str, int]]:
    """Serve from a process of its own, on the databases of the tests; yield URL and process id."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--lifespan=off", "--log-level=error"]
    options: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **environment}}
    with subprocess.Popen(
        [*command, f"--port={port}", f"{__name__}:create_application", "--factory"],
        **options,
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_it_answers(url)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def create_application() -> Any:
    """Return the ASGI application of a server process, which answers to every host name."""
    from django.conf import settings
    from django.core.asgi import get_asgi_application

    application = get_asgi_application()
    settings.ALLOWED_HOSTS = ["*"]
    return application


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urlopen(f"{url}/api/sessions/", timeout=START_SECONDS).close()
        except HTTPError as error:
            error.close()
            return
        except OSError:
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.1)
