"""Temporary database servers, each in a new directory and on a free port."""

from __future__ import annotations

from tests.servers.base import Server, find_program, skip_without, temporary_server
from tests.servers.galera import GaleraNode, galera_cluster, skip_without_galera
from tests.servers.mariadb import MariaDBServer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresReplica, PostgresServer

__all__ = [
    "GaleraNode",
    "MariaDBServer",
    "PgBouncer",
    "PostgresReplica",
    "PostgresServer",
    "Server",
    "find_program",
    "galera_cluster",
    "skip_without",
    "skip_without_galera",
    "temporary_server",
]
