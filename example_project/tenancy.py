"""The function for the setting ``API_OWNER``: whose sessions a REST request may use.

Staff see every session. Other users see, save and fork only their own; to them, another
user's session does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rest_framework.request import Request


def owner_of(request: Request) -> str | None:
    """Return the name of the user, or ``None`` for staff, who see all sessions."""
    return None if request.user.is_staff else request.user.get_username()
