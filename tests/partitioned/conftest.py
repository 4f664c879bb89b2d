"""The clients of the suites of the REST API and the admin."""

from __future__ import annotations

from tests.admin.conftest import admin_client, make_client
from tests.api.conftest import api, checkpointer

__all__ = ["admin_client", "api", "checkpointer", "make_client"]
