"""The tables of ``docs/rest.md``, which two benchmarks measure."""

from __future__ import annotations

import os
import platform
import textwrap
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rest.md"
END = "<!-- end -->"


def machine() -> str:
    """Return what the figures depend on."""
    import django
    import rest_framework

    return textwrap.fill(
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, Django {django.__version__}, REST framework "
        f"{rest_framework.VERSION}; load {os.getloadavg()[0]:.1f} at the start.",
        width=100,
    )


def write(mark: str, lines: list[str]) -> None:
    """Put lines between ``<!-- measured: mark -->`` and the end that follows it."""
    begin = f"<!-- measured: {mark} -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    _old, after = rest.split(END, 1)
    text = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}", encoding="utf-8")
