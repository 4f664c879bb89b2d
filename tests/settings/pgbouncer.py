"""PostgreSQL behind PgBouncer in transaction mode, at TEST_POSTGRES_URL."""

from __future__ import annotations

from tests.settings.base import *  # noqa: F403
from tests.settings.base import BEHIND_PGBOUNCER, server_databases

DATABASES = {
    alias: database | BEHIND_PGBOUNCER
    for alias, database in server_databases("TEST_POSTGRES_URL").items()
}
