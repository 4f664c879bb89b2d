"""The base class of temporary servers: install, start, kill and restart."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from django.db import OperationalError, connections

TIMEOUT_SECONDS = 60
DATABASE = "weavegraph"


class Server(ABC):
    """A server with its data in a directory."""

    user: ClassVar[str]
    """The superuser of the server, without a password."""
    account: ClassVar[str]
    """The system account that runs the server if root runs the tests."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "log"
        self.options = options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def install(self) -> None:
        """Create the data directory."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line of the server."""

    @abstractmethod
    def connect(self, name: str = "") -> Any:
        """Return a connection of the driver, as the superuser and with autocommit.

        Raise Django's ``OperationalError`` if the server cannot be reached.
        """

    def start(self) -> None:
        """Start or restart the server, and wait until it accepts connections."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            if self.process is None or self.process.poll() is not None:
                with self.log.open("ab") as log:
                    self.process = subprocess.Popen(
                        self.command(), stdout=log, stderr=log, **self._account_options()
                    )
            try:
                self.connect().close()
            except OperationalError:
                assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-5000:]
                time.sleep(0.02)
            else:
                return

    def has_ended(self) -> bool:
        """Return whether the server was started, and ends or has ended by itself."""
        if self.process is None:
            return False
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return self.process.poll() is not None

    def kill(self, *, whole: bool = True, wait: bool = True) -> None:
        """Kill the server with SIGKILL, and its child processes too if ``whole`` is true."""
        if self.process is not None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            doomed = children.read_text().split() if children.exists() and whole else []
            self.process.kill()
            for pid in doomed:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            if wait:
                self.process.wait(TIMEOUT_SECONDS)

    def execute(self, *statements: str, name: str = "") -> list[tuple[Any, ...]]:
        """Run statements as the superuser; return the rows of the last."""
        connection = self.connect(name)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    @abstractmethod
    def create_database(self, name: str = DATABASE) -> None:
        """Create an empty database."""

    @contextmanager
    def alias(self, name: str, **changes: Any) -> Iterator[str]:
        """Add the database of the server to Django's connections under an alias."""
        address = {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": self.user, "PASSWORD": ""}
        like = connections.settings["default"]
        connections.settings[name] = {**like, "NAME": DATABASE, **address, **changes}
        try:
            yield name
        finally:
            connections[name].close()
            del connections[name], connections.settings[name]

    def run(self, name: str, *arguments: str) -> None:
        """Run a program of the server, and wait for it."""
        done = subprocess.run(
            [self.find(name), *arguments],
            capture_output=True,
            timeout=120,
            **self._account_options(),
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def find(self, name: str) -> str:
        """Return the path of a program of the server."""
        return find_program(name)

    def change_owner(self, directory: Path) -> None:
        """Make ``account`` the owner of a directory, if root runs the tests."""
        if os.getuid() == 0:
            shutil.chown(directory, self.account, self.account)

    def _account_options(self) -> dict[str, Any]:
        """Return the options of ``subprocess`` that run a process as ``account``."""
        if os.getuid() != 0:
            return {}
        return {"user": self.account, "group": self.account, "extra_groups": [], "cwd": "/"}


ServerType = TypeVar("ServerType", bound=Server)


@contextmanager
def temporary_server(
    kind: type[ServerType], *options: str, directory: Path | None = None, **attributes: Any
) -> Iterator[ServerType]:
    """Start a server in a new or an empty directory; kill it at the end."""
    made = directory or Path(tempfile.mkdtemp(prefix="weavegraph-server-"))
    server = kind(made, *options)
    for name, value in attributes.items():
        assert hasattr(server, name)
        setattr(server, name, value)
    try:
        server.change_owner(made)
        server.install()
        server.start()
        yield server
    finally:
        server.kill()
        if directory is None:
            shutil.rmtree(made, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_program(name: str) -> str:
    """Return the path of a program; programs of servers are often not on PATH."""
    found = _which(name)
    assert found is not None, f"{name} is not installed"
    return found


def skip_without(name: str, package: str) -> None:
    """Skip the test if a program is not installed, and name its Debian package."""
    if _which(name) is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")


def _which(name: str) -> str | None:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    places = [*map(str, reversed(versions)), os.environ["PATH"], "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))
