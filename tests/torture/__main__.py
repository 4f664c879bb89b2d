"""Torture each database; --write updates the tables in the documentation.

Other options are passed to pytest. The defaults of the sizes are --kills=300 --saves=100000
--rounds=200 --calls=100000 --server-kills=20 --node-faults=20.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.torture import report

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "docs" / name for name in ("reliability.md", "scale-out-galera.md")]
HERE = Path(__file__).resolve().parent
PARTS = (
    "kills",
    "races",
    "galera",
    "galera_conflicts",
    "deadlocks",
    "server_kills",
    "disk_full",
    "pgbouncer",
    "replica",
)
SHORT_PARTS = PARTS[:2]
URLS = {"sqlite": None, "postgres": "TEST_POSTGRES_URL", "mariadb": "TEST_MARIADB_URL"}


def main() -> int:
    """Run the selected parts on the selected databases; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--short", action="store_true", help="only kills and races (2 minutes)")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--database", action="append", choices=list(URLS))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--write", action="store_true", help="write the tables of the docs")
    options, others = parser.parse_known_args()
    parts = options.part or (SHORT_PARTS if options.short else PARTS)
    if options.short:
        others.append("--short")
    status = 0
    with tempfile.NamedTemporaryFile(prefix="weavegraph-torture-") as file:
        os.environ[report.ENVIRONMENT_VARIABLE] = file.name
        for database in options.database or URLS:
            status = torture(database, parts, options.seed, others) or status
        entries = report.read(Path(file.name))
    if options.write:
        report.update_pages(PAGES, entries)
    return status


def torture(database: str, parts: list[str], seed: int, others: list[str]) -> int:
    """Run parts on one database; return the exit status of pytest."""
    variable = URLS[database]
    if variable and not os.environ.get(variable):
        say(f"NOT tortured: {database}; set {variable}")
        return bool(os.environ.get("WEAVEGRAPH_REQUIRE_ALL_DATABASES"))
    say(f"Torture of {database}, seed {seed}: {', '.join(parts)}")
    files = [str(HERE / f"test_{part}.py") for part in parts]
    marks = ["-m", "torture", f"--randomly-seed={seed}", f"--ds=tests.settings.{database}"]
    command = [sys.executable, "-m", "pytest", "-q", "-s", *marks, *others, *files]
    finished = subprocess.run(command, cwd=ROOT, check=False)
    # pytest exits with 5 if no part applies to this database.
    return 0 if finished.returncode == 5 else finished.returncode


def say(text: str) -> None:
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
