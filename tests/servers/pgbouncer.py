"""A temporary PgBouncer, in transaction mode."""

from __future__ import annotations

from typing import Any

from tests.servers.base import find_program
from tests.servers.postgres import PostgresServer

POOL_SIZE = 3


class PgBouncer(PostgresServer):
    """A pool of ``POOL_SIZE`` connections to the server ``upstream``."""

    upstream: PostgresServer | None = None

    def install(self) -> None:
        assert self.upstream is not None
        users = self.directory / "users"
        users.write_text(f'"{self.user}" ""\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": users,
            "admin_users": self.user,
            "pool_mode": "transaction",
            "default_pool_size": POOL_SIZE,
            "max_client_conn": 200,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = f"[databases]\n* = host=127.0.0.1 port={self.upstream.port}\n[pgbouncer]\n"
        self.configuration.write_text(databases + "\n".join(lines) + "\n")

    @property
    def configuration(self) -> Any:
        return self.directory / "pgbouncer.ini"

    def command(self) -> list[str]:
        return [find_program("pgbouncer"), str(self.configuration)]
