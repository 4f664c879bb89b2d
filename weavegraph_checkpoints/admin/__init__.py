"""The admin: sessions are browsed, never edited."""

from __future__ import annotations

from weavegraph_checkpoints.admin.admin import SessionAdmin

__all__ = ["SessionAdmin"]
