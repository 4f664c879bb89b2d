"""A MariaDB server of one's own, whose binary log is on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import OperationalError

USER = "without_super"


@contextmanager
def private_server() -> Iterator[Path]:
    """Start a server in a new directory, and end it; gives the path of its socket."""
    directory = Path(tempfile.mkdtemp(prefix="weavegraph-mariadb-"))
    try:
        _install(directory)
        with _running(directory):
            yield directory / "socket"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def execute(socket: Path, *statements: str) -> None:
    """Run statements as the administrator."""
    with contextlib.closing(_connect(socket)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _install(directory: Path) -> None:
    _run(
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={directory / 'data'}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *_as_self(),
    )


@contextmanager
def _running(directory: Path) -> Iterator[None]:
    server = subprocess.Popen(
        [
            _program("mariadbd"),
            "--no-defaults",
            f"--datadir={directory / 'data'}",
            f"--socket={directory / 'socket'}",
            f"--pid-file={directory / 'pid'}",
            f"--log-error={directory / 'log'}",
            f"--log-bin={directory / 'binlog'}",
            "--skip-networking",
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
            "--performance-schema=OFF",
            *_as_self(),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(server, directory)
        yield
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            _connect(directory / "socket").close()
        except OperationalError:
            log = directory / "log"
            text = log.read_text() if log.exists() else ""
            assert server.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        else:
            return


def _connect(socket: Path) -> Any:
    import MySQLdb

    try:
        return MySQLdb.connect(unix_socket=str(socket), user="root")
    except MySQLdb.OperationalError as error:
        raise OperationalError(*error.args) from error


def _as_self() -> list[str]:
    return ["--user=root"] if os.getuid() == 0 else []


def _run(program: str, *arguments: str) -> None:
    subprocess.run([_program(program), *arguments], check=True, capture_output=True, timeout=60)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    assert found is not None, f"{name} is not installed"
    return found
