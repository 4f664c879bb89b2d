"""Measures the app beside its peers and at a million steps, and writes docs/performance.md.

``make bench`` does all of it on SQLite, and on each server whose URL is set
(``TEST_POSTGRES_URL``, ``TEST_MARIADB_URL``). ``--only`` chooses parts; what the others found
is kept in ``benchmarks/results/performance.json``, from which the page, its plots and the
table of the README are written anew each time. ``--write-only`` does that alone, and
``--quick`` measures so little that its figures mean nothing, and prints instead.
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import loading, peers, report, scale
from benchmarks.peers import Effort
from benchmarks.running import ROOT, alone, machine, write_between
from benchmarks.workloads import SEED

RESULTS = ROOT / "benchmarks" / "results" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
MARKS = ("<!-- measured -->", "<!-- /measured -->")
README_MARKS = ("<!-- performance -->", "<!-- /performance -->")
PACKAGES = (
    "Django",
    "msgspec",
    "psycopg",
    "mysqlclient",
    "langgraph-checkpoint",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
)

PARTS: dict[str, Callable[[Effort], dict[str, Any]]] = {
    "peers": peers.calls,
    "memory": peers.memory,
    "processes": peers.processes,
    "breakdown": peers.breakdown,
    "scale": scale.scale,
}


def versions() -> str:
    """Return the versions of what was measured."""
    found = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def measure(part: str, effort: Effort) -> dict[str, Any]:
    """Measure a part in a fresh process, and note what its figures depend on."""
    about = {"machine": machine(f"seed {SEED}"), "versions": versions()}
    began = time.perf_counter()
    result = alone(PARTS[part], effort)
    return {**about, "minutes": (time.perf_counter() - began) / 60, **result}


def write(results: dict[str, Any]) -> None:
    """Write the page, the plots and the table of the README."""
    write_between(PAGE, *MARKS, report.page(results))
    write_between(README, *README_MARKS, report.readme(results))
    for name, text in report.plots(results).items():
        (IMAGES / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, keep what was found, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given again")
    parser.add_argument("--database", action="append", choices=loading.available())
    parser.add_argument("--workloads", default="abcd", help="some of the letters abcd")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs=2, default=(10_000, 1_000_000))
    parser.add_argument("--quick", action="store_true", help="print, write nothing")
    parser.add_argument("--write-only", action="store_true", help="measure nothing")
    options = parser.parse_args()
    effort = Effort(
        servers=tuple(options.database or loading.available()),
        workloads=options.workloads,
        rounds=2 if options.quick else options.rounds,
        scale=0.1 if options.quick else 1.0,
        seconds=0.5 if options.quick else 2.0,
        sizes=(1_000, 10_000) if options.quick else tuple(options.sizes),
    )
    kept = RESULTS.exists() and not options.quick
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if kept else {}
    for part in () if options.write_only else options.only or PARTS:
        print(f"measuring: {part}", flush=True)
        results[part] = measure(part, effort)
        print(f"{part}: {results[part]['minutes']:.1f} minutes", flush=True)
        if not options.quick:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.quick:
        print(report.page(results))
    else:
        write(results)


if __name__ == "__main__":
    main()
