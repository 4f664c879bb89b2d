"""Whose sessions a request to the REST API may use: the setting ``API_OWNER``.

Staff see every session. Everybody else sees, saves and forks their own alone; to them, a
session of someone else is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rest_framework.request import Request


def owner_of(request: Request) -> str | None:
    """Return the name of the user, or ``None`` for one who sees all."""
    return None if request.user.is_staff else request.user.get_username()
