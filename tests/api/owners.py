"""Functions for the setting ``API_OWNER``."""

from __future__ import annotations

from typing import Any


def get_owner_by_name(request: Any) -> str | None:
    """Return the user name, or ``None`` if it starts with ``admin``."""
    name: str = request.user.get_username()
    return None if name.startswith("admin") else name


def get_invalid_owner(request: Any) -> Any:
    """Return a value that is no valid owner."""
    return 7
