"""The tables of ``docs/rest.md``, which two benchmarks measure."""

from __future__ import annotations

from benchmarks import running

PAGE = running.ROOT / "docs" / "rest.md"


def machine() -> str:
    """Return the line above a table."""
    import rest_framework

    return running.machine(f"REST framework {rest_framework.VERSION}")


def write(mark: str, lines: list[str]) -> None:
    """Put lines between ``<!-- measured: mark -->`` and the end that follows it."""
    text = "\n".join(["", *lines, ""])
    running.write_between(PAGE, f"<!-- measured: {mark} -->", "<!-- end -->", text)
