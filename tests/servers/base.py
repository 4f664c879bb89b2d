"""What the servers share: they are installed, started, killed and started again."""

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

STUCK_AFTER_SECONDS_SECONDS = 60
DATABASE = "weavegraph"


class Server(ABC):
    """A server whose data lie in a directory."""

    user: ClassVar[str]
    """The superuser of the databases, who has no password."""
    account: ClassVar[str]
    """The account of the system that runs it where the tests are run by root."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "log"
        self.options = options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def install(self) -> None:
        """Make the data directory."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return how it is started."""

    @abstractmethod
    def connect(self, name: str = "") -> Any:
        """Return a connection of the driver, as the superuser, with autocommit.

        Raises Django's ``OperationalError``.
        """

    def start(self) -> None:
        """Start it, again if need be, and wait until it answers."""
        deadline = time.monotonic() + STUCK_AFTER_SECONDS_SECONDS
        while True:
            if self.process is None or self.process.poll() is not None:
                with self.log.open("ab") as log:
                    self.process = subprocess.Popen(
                        self.command(), stdout=log, stderr=log, **self._as_account()
                    )
            try:
                self.connect().close()
            except OperationalError:
                assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-5000:]
                time.sleep(0.02)
            else:
                return

    def kill(self, *, whole: bool = True) -> None:
        """Kill it with SIGKILL, and its children at once if it is to die as a ``whole``."""
        if self.process is not None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            doomed = children.read_text().split() if children.exists() and whole else []
            self.process.kill()
            for pid in doomed:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self.process.wait(STUCK_AFTER_SECONDS_SECONDS)

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
        """Make an empty database."""

    @contextmanager
    def alias(self, name: str, **changes: Any) -> Iterator[str]:
        """Make the server's database of checkpoints an alias of Django's."""
        place = {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": self.user, "PASSWORD": ""}
        like = connections.settings["default"]
        connections.settings[name] = {**like, "NAME": DATABASE, **place, **changes}
        try:
            yield name
        finally:
            connections[name].close()
            del connections[name], connections.settings[name]

    def run(self, name: str, *arguments: str) -> None:
        """Run a program of the server to its end."""
        done = subprocess.run(
            [program(name), *arguments], capture_output=True, timeout=120, **self._as_account()
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def own(self, place: Path) -> None:
        """Give a directory to the account."""
        if os.getuid() == 0:
            shutil.chown(place, self.account, self.account)

    def _as_account(self) -> dict[str, Any]:
        """Return what makes a process that of the account; no server likes to be root."""
        if os.getuid() != 0:
            return {}
        return {"user": self.account, "group": self.account, "extra_groups": [], "cwd": "/"}


AServer = TypeVar("AServer", bound=Server)


@contextmanager
def private(
    kind: type[AServer], *options: str, directory: Path | None = None, **attributes: Any
) -> Iterator[AServer]:
    """Start a server, in a new directory or in one that is empty, and end it with its data."""
    made = directory or Path(tempfile.mkdtemp(prefix="weavegraph-server-"))
    server = kind(made, *options)
    for name, value in attributes.items():
        assert hasattr(server, name)
        setattr(server, name, value)
    try:
        server.own(made)
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


def program(name: str) -> str:
    """Return the path of a program; those of servers are often not on the user's path."""
    found = _find(name)
    assert found is not None, f"{name} is not installed"
    return found


def skip_without(name: str, package: str) -> None:
    """Skip the test where a program is missing, and name Debian's package."""
    if _find(name) is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")


def _find(name: str) -> str | None:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    places = [*map(str, reversed(versions)), os.environ["PATH"], "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))
