"""Keeps the figures of a run, and writes them into the tables of docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VARIABLE = "WEAVEGRAPH_TORTURE_REPORT"
"""Names the file that a run adds its figures to, one line of JSON each."""

Entry = Mapping[str, Any]


def add(entry: Entry) -> None:
    """Keep the figures of one part on one database, where someone asked for them."""
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read(path: Path) -> list[Entry]:
    """Return what a run has added."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def machine() -> str:
    """Return what the figures of today depend on."""
    import django

    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {model}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"Django {django.__version__}, load {os.getloadavg()[0]:.1f}"
    )


def merged(page: str, entries: Iterable[Entry]) -> str:
    """Put figures into the tables of a page; rows of other databases stay."""
    for entry in entries:
        begin, end = f"<!-- {entry['part']} -->\n", f"<!-- end of {entry['part']} -->"
        before, found, rest = page.partition(begin)
        old, closed, after = rest.partition(end)
        assert found and closed, f"the page has no place for {entry['part']}"
        page = before + begin + _table(old, entry) + end + after
    return page


def _table(old: str, entry: Entry) -> str:
    figures = {"database": entry["database"], **entry["figures"], "run": entry["run"]}
    head = f"| {' | '.join(figures)} |"
    lines = [line for line in old.splitlines() if line.startswith("|")]
    rows = lines[2:] if lines and lines[0] == head else []
    name = re.match(r"\w+", entry["database"])
    assert name is not None
    rows = [row for row in rows if not row.startswith(f"| {name.group()} ")]
    rows.append(f"| {' | '.join(map(str, figures.values()))} |")
    rows.sort(key=_order)
    rule = "|---" + "|---:" * (len(figures) - 2) + "|---|"
    return "\n" + "\n".join([head, rule, *rows]) + "\n\n"


def _order(row: str) -> int:
    names = ["SQLite", "PostgreSQL", "MariaDB"]
    return next(place for place, name in enumerate(names) if row.startswith(f"| {name} "))
