"""Functions for the setting ``API_OWNER``."""

from __future__ import annotations

from typing import Any


def by_name(request: Any) -> str | None:
    """Whose name begins with ``admin`` sees all; others what is theirs."""
    name: str = request.user.get_username()
    return None if name.startswith("admin") else name


def no_text(request: Any) -> Any:
    """What no owner can be."""
    return 7
