"""Record the figures of a run, and update the tables in the documentation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import harness

ENVIRONMENT_VARIABLE = "WEAVEGRAPH_TORTURE_REPORT"
"""The path of the JSON Lines file that a run appends its figures to."""

Entry = Mapping[str, Any]


def add(entry: Entry) -> None:
    """Append the figures of one part on one database, if the environment variable is set."""
    if path := os.environ.get(ENVIRONMENT_VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read(path: Path) -> list[Entry]:
    """Return the entries of a run."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def describe_machine() -> str:
    """Return the date, the machine and its load."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"{today}, {harness.describe_machine()}, load {os.getloadavg()[0]:.1f}"


def update_pages(paths: Iterable[Path], entries: Iterable[Entry]) -> None:
    """Update each table in the page that has its markers."""
    left = list(entries)
    for path in paths:
        page = path.read_text(encoding="utf-8")
        found = [entry for entry in left if f"<!-- {entry['part']} -->\n" in page]
        path.write_text(update_tables(page, found), encoding="utf-8")
        left = [entry for entry in left if entry not in found]
    assert not left, f"no page has markers of {sorted({entry['part'] for entry in left})}"


def update_tables(page: str, entries: Iterable[Entry]) -> str:
    """Return the page with its tables updated; rows of other databases are kept."""
    by_part: dict[str, list[Entry]] = {}
    for entry in entries:
        by_part.setdefault(entry["part"], []).append(entry)
    for part, found in by_part.items():
        begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
        before, opened, rest = page.partition(begin)
        old, closed, after = rest.partition(end)
        assert opened and closed, f"the page has no markers of {part}"
        page = before + begin + _table(old, found) + end + after
    return page


def _table(old: str, entries: list[Entry]) -> str:
    columns = ["database", *entries[0]["figures"], "run"]
    head = f"| {' | '.join(columns)} |"
    lines = [line for line in old.splitlines() if line.startswith("|")]
    kept = lines[2:] if lines and lines[0] == head else []
    names = {entry["database"].split()[0] for entry in entries}
    rows = [row for row in kept if row.split()[1] not in names]
    for entry in entries:
        cells = [entry["database"], *entry["figures"].values(), entry["run"]]
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    rows.sort(key=_order)
    rule = "|---" + "|---:" * len(entries[0]["figures"]) + "|---|"
    return "\n" + "\n".join([head, rule, *rows]) + "\n\n"


def _order(row: str) -> int:
    names = ["SQLite", "PostgreSQL", "MariaDB"]
    return next(place for place, name in enumerate(names) if row.startswith(f"| {name} "))
