"""Imports concurrent with saves and with each other lose nothing; every snapshot is right."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.builders import a_history, orphans, wrong_snapshots
from tests.interchange.crate_databases import create_crate_file
from tests.interchange.stored_histories import load_histories
from tests.service.racing import race
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.interchange import import_history, open_source

pytestmark = pytest.mark.usefixtures("tables")

NAMES = "edcba"
STEPS = range(12)


def test_importers_and_savers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = create_crate_file(
        tmp_path / "crate.sqlite3", [step for name in NAMES for step in a_history(name, STEPS)]
    )

    def run_import() -> int:
        with open_source(str(source)) as opened_source:
            return import_history(opened_source, on_conflict="skip").steps

    def save() -> int:
        for step in STEPS:
            for name in NAMES:
                mine = VersionedState.new(extra={"mine": True})
                DjangoCheckpointer().save(a_history(name, [step + 6], state=mine)[0])
        return len(NAMES) * len(STEPS)

    with caplog.at_level(logging.WARNING, "weavegraph_checkpoints"):
        results = race(4, lambda racer: run_import() if racer % 2 else save())
    assert results == [len(NAMES) * len(STEPS)] * 4
    assert {key: [each.step for each in steps] for key, steps in load_histories().items()} == {
        name: list(range(18)) for name in NAMES
    }
    assert wrong_snapshots() == []
    assert orphans() == []


def test_importers_of_the_same_source(tmp_path: Path) -> None:
    source = create_crate_file(
        tmp_path / "crate.sqlite3", [step for name in NAMES for step in a_history(name, STEPS)]
    )

    def run_import(racer: int) -> int:
        with open_source(str(source)) as opened_source:
            return import_history(opened_source).added

    assert sum(race(4, run_import)) == len(NAMES) * len(STEPS)
    assert wrong_snapshots() == []
