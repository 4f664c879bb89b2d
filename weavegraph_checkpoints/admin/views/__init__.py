"""One module per page of a session's history."""

from __future__ import annotations
