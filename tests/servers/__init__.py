"""Database servers of one's own, in a new directory each and on a free port."""

from __future__ import annotations

from tests.servers.base import Server, private, program, skip_without
from tests.servers.mariadb import MariaDBServer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresReplica, PostgresServer

__all__ = [
    "MariaDBServer",
    "PgBouncer",
    "PostgresReplica",
    "PostgresServer",
    "Server",
    "private",
    "program",
    "skip_without",
]
