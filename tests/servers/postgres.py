"""A PostgreSQL server of one's own."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError

from tests.servers.base import DATABASE, Server, program


class PostgresServer(Server):
    """As durable as by default; ``options`` are those of ``postgres``."""

    user = "weavegraph"
    account = "postgres"

    def install(self) -> None:
        where = [] if self.log_directory is None else [f"--waldir={self.log_directory / 'wal'}"]
        self.run(
            "initdb",
            f"--pgdata={self.data}",
            f"--username={self.user}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--wal-segsize=4",
            *where,
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "max_wal_size": "64MB",
            "min_wal_size": "16MB",
        }
        pairs = [f"--{name}={value}" for name, value in settings.items()]
        return [program("postgres"), "-D", str(self.data), *pairs, *self.options]

    def connect(self, name: str = "") -> Any:
        import psycopg

        try:
            return psycopg.connect(
                host="127.0.0.1",
                port=self.port,
                user=self.user,
                dbname=name or "postgres",
                autocommit=True,
                connect_timeout=10,
            )
        except psycopg.OperationalError as error:
            raise OperationalError(*error.args) from error

    def create_database(self, name: str = DATABASE) -> None:
        self.execute(f"CREATE DATABASE {name}")
