"""Build what a page shows from checkpoints and step rows, without HTTP or SQL."""

from __future__ import annotations
