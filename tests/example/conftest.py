"""An environment of a few small distributions, made by the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from example_project.audit import distributions

Install = Callable[..., Path]


def install(site: Path, name: str, metadata: str | bytes | None, files: dict[str, str]) -> Path:
    """Write a distribution as an installer does; ``None`` leaves its metadata out."""
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir()
    if isinstance(metadata, str):
        metadata = f"Metadata-Version: 2.1\n{metadata}".encode()
    if metadata is not None:
        (folder / "METADATA").write_bytes(metadata)
    for file, text in files.items():
        (site / file).parent.mkdir(exist_ok=True)
        (site / file).write_text(text)
    if files:
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return folder


def sound(name: str, *fields: str) -> str:
    """Return metadata in which nothing is amiss."""
    return "".join(f"{line}\n" for line in (f"Name: {name}", "Version: 1.0", *fields))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of distributions, the only one that the audit sees."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(distributions, "search_path", lambda: [str(folder)])
    yield folder


@pytest.fixture
def three(site: Path) -> Path:
    """Three distributions: one sound, one that requires it, one without a licence."""
    install(site, "alpha", sound("alpha", "License-Expression: MIT"), {"alpha/a.py": "x" * 10})
    install(
        site,
        "beta",
        sound("beta", "License-Expression: MIT", "Requires-Dist: Alpha>=1", "Requires-Dist: zeta"),
        {"beta/b.py": "x" * 30},
    )
    install(site, "gamma", sound("gamma"), {"gamma/c.py": "x" * 20})
    return site


def outline(checkpoint: Any) -> tuple[Any, ...]:
    """Return what two runs of the same work have in common at a step: all but the times."""
    state = checkpoint.state
    errors = [(event.error, event.scope, event.tags) for event in state.errors.items]
    return (
        checkpoint.step,
        checkpoint.ran_nodes,
        checkpoint.skipped_nodes,
        checkpoint.updated_channels,
        checkpoint.frontier,
        checkpoint.versions_seen,
        checkpoint.concurrency_limit,
        state.messages,
        state.extra,
        state.errors.version,
        errors,
    )
