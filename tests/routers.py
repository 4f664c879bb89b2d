"""Routers for tests."""

from __future__ import annotations

from typing import Any


class NowhereRouter:
    """Create the tables of the app on no database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "weavegraph_checkpoints" else None


class DefaultOnlyRouter:
    """Create the tables of the app only on ``default``."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "default" if app_label == "weavegraph_checkpoints" else None
