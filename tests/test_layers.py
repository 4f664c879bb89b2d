"""The contracts of the layers hold, and each of them catches what it forbids."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "weavegraph_checkpoints"
RUN = (
    "import sys; from importlinter.cli import lint_imports;"
    " sys.exit(lint_imports(cache_dir=None, no_cache=True))"
)

VIOLATIONS = {
    "a lower room imports a higher one": ("domain/nodes.py", "import {}.models", "Data flows"),
    "the service imports a face": ("signals.py", "import {}.checks", "Data flows"),
    "two faces know each other": ("admin/sessions.py", "import {}.checks", "Data flows"),
    "a new room has no layer": ("new_room.py", "", "Data flows"),
    "the domain knows Django": ("domain/state.py", "import django.conf", "know no Django"),
    "the JSON knows Django": ("serde/values.py", "import django.utils.timezone", "know no Django"),
    "the package needs Django": ("__init__.py", "import django", "before Django is set up"),
    "a trigger knows the models": ("triggers/inspection.py", "import {}.models", "never know"),
    "models know the trigger": ("models.py", "import {}.triggers.operations", "Models know"),
    "a face knows the REST framework": ("checks.py", "import rest_framework", "REST framework"),
    "somebody imports a driver": ("fields.py", "import psycopg", "database driver"),
}


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package below a directory."""
    return subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def copy_of_the_project(directory: Path) -> Path:
    """Copy the sources of the package and the contracts."""
    (directory / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for source in (ROOT / PACKAGE).rglob("*.py"):
        target = directory / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    return directory


@pytest.mark.vendor("sqlite")
def test_the_contracts_hold(tmp_path: Path) -> None:
    done = lint(copy_of_the_project(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_is_caught(tmp_path: Path, case: str) -> None:
    name, statement, contract = VIOLATIONS[case]
    target = copy_of_the_project(tmp_path) / PACKAGE / name
    before = target.read_text() if target.exists() else ""
    target.write_text(f"{before}\n{statement.format(PACKAGE)}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        any(contract in line and "BROKEN" in line for line in done.stdout.splitlines())
        or "new_room" in done.stdout + done.stderr
    ), done.stdout + done.stderr
