"""Programs that measure; see the Makefile."""

from __future__ import annotations
