"""Routers for tests."""

from __future__ import annotations

from typing import Any


class NowhereRouter:
    """Keeps our tables off every database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "weavegraph_checkpoints" else None


class DefaultOnlyRouter:
    """Keeps our tables on ``default`` alone."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "default" if app_label == "weavegraph_checkpoints" else None
