"""A temporary MariaDB server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import OperationalError

from tests.servers.base import DATABASE, Server, find_program


class MariaDBServer(Server):
    """A server with the default durability; ``options`` are those of ``mariadbd``."""

    user = "root"
    account = "mysql"

    @property
    def socket(self) -> Path:
        return self.directory / "socket"

    def install(self) -> None:
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.data}",
            f"--tmpdir={self.directory}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *(option for option in self.options if option.startswith("--innodb-log")),
        )

    def command(self) -> list[str]:
        return [
            find_program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.data}",
            # A server that starts removes what others have in the temporary directory they share.
            f"--tmpdir={self.directory}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M",
            "--performance-schema=OFF",
            *self.options,
        ]

    def connect(self, name: str = "") -> Any:
        import MySQLdb

        try:
            return MySQLdb.connect(
                unix_socket=str(self.socket), user=self.user, database=name, autocommit=True
            )
        except MySQLdb.OperationalError as error:
            raise OperationalError(*error.args) from error

    def create_database(self, name: str = DATABASE) -> None:
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
