"""The users of the tests of the admin."""

from __future__ import annotations

from tests.admin.conftest import admin_client, make_client

__all__ = ["admin_client", "make_client"]
