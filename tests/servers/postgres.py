"""A temporary PostgreSQL server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.db import OperationalError

from tests.servers.base import DATABASE, TIMEOUT_SECONDS, Server


class PostgresServer(Server):
    """A server with the default durability; ``options`` are those of ``postgres``."""

    user = "weavegraph"
    account = "postgres"
    log_directory: Path | None = None
    """The directory of the write-ahead log, if it is not in the data directory."""
    programs: Path | None = None
    """The directory of ``postgres`` and ``initdb``, if it is not that of the installed version."""

    def install(self) -> None:
        wal_options = []
        if self.log_directory is not None:
            self.change_owner(self.log_directory)
            wal_options.append(f"--waldir={self.log_directory / 'wal'}")
        wal_options = (
            [] if self.log_directory is None else [f"--waldir={self.log_directory / 'wal'}"]
        )
        self.run(
            "initdb",
            f"--pgdata={self.data}",
            f"--username={self.user}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--wal-segsize=4",
            *wal_options,
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
        return [self.find("postgres"), "-D", str(self.data), *pairs, *self.options]

    def find(self, name: str) -> str:
        """See ``Server.find``."""
        return str(self.programs / name) if self.programs else super().find(name)

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


class PostgresReplica(PostgresServer):
    """A streaming replica of another server."""

    primary: PostgresServer | None = None

    def install(self) -> None:
        assert self.primary is not None
        self.run(
            "pg_basebackup",
            f"--pgdata={self.data}",
            "--host=127.0.0.1",
            f"--port={self.primary.port}",
            f"--username={self.user}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )

    def catch_up(self) -> None:
        """Wait until it has replayed everything that the primary has written."""
        assert self.primary is not None
        ((written,),) = self.primary.execute("SELECT pg_current_wal_lsn()")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        replayed = f"SELECT COALESCE(pg_last_wal_replay_lsn() >= '{written}', FALSE)"
        while self.execute(replayed) != [(True,)]:
            assert time.monotonic() < deadline, "the replica is still behind"
            time.sleep(0.02)

    def promote(self) -> None:
        """Make it a primary."""
        assert self.execute("SELECT pg_promote()") == [(True,)]
