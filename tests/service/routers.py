"""Routers of projects that keep the checkpoints in more than one database."""

from __future__ import annotations

from typing import Any


class Split:
    """Writes go to ``other``, reads to ``default``, as with a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "default" if model._meta.app_label == "weavegraph_checkpoints" else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "other" if model._meta.app_label == "weavegraph_checkpoints" else None
