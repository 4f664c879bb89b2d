from __future__ import annotations

from tests.settings.base import *  # noqa: F403
from tests.settings.base import server_databases

DATABASES = server_databases("TEST_MARIADB_URL", CHARSET="utf8mb4")
