"""The database servers that tests may use in addition to the database under test."""

from __future__ import annotations

import os
from importlib.util import find_spec

_SERVERS = {
    "postgresql": ("TEST_POSTGRES_URL", "psycopg"),
    "mysql": ("TEST_MARIADB_URL", "MySQLdb"),
}


def get_server_url(vendor: str) -> str:
    """Return the URL of a server; ``""`` if it is not set or the driver is not installed."""
    variable, driver = _SERVERS[vendor]
    return os.environ.get(variable, "") if find_spec(driver) else ""
