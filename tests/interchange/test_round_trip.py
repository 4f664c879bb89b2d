"""Import from the crate, export to it and import again, without a change."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.db import connection
from hypothesis import given, settings

from tests.assertions import checkpoint_as_read
from tests.commands.runner import run
from tests.interchange.crate_databases import (
    NO_RECORDED_RUNS,
    REAL_FILE,
    create_crate_file,
    iter_recorded_checkpoints,
)
from tests.interchange.stored_histories import (
    assert_stored,
    delete_all,
    group_by_session,
    load_histories,
)
from tests.strategies import checkpoints
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.interchange.crate import check_crate_limits
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.serde import dumps_state, loads_json

pytestmark = pytest.mark.usefixtures("tables")

RECORDED = list(iter_recorded_checkpoints())
EVERY = 1 if connection.vendor == "sqlite" else 5


def session_rows() -> list[tuple[object, ...]]:
    """Return the columns of sessions that an import sets."""
    fields = ("id", "concurrency_limit", "created_at", "updated_at", "last_step", "status")
    return list(Session.objects.order_by("id").values_list(*fields))


def test_import_export_import_of_the_real_file(tmp_path: Path) -> None:
    run("import_weavegraph", str(REAL_FILE))
    before = load_histories(), session_rows()
    run("export_weavegraph", str(tmp_path / "export.sqlite3"))
    delete_all()
    run("import_weavegraph", str(tmp_path / "export.sqlite3"))
    assert_stored(before[0])
    assert session_rows() == before[1]


@settings(max_examples=40 if connection.vendor == "sqlite" else 15)
@given(checkpoints())
def test_whatever_the_crate_can_hold_goes_round(checkpoint: Checkpoint) -> None:
    delete_all()
    expected = checkpoint_as_read(checkpoint)
    document = loads_json(dumps_state(checkpoint.state))
    try:
        check_crate_limits(document, checkpoint.state)
        holdable = True
    except SerializationError:
        holdable = False
    DjangoCheckpointer().save(checkpoint)
    with TemporaryDirectory() as folder:
        target = str(Path(folder) / "export.sqlite3")
        ran = run("export_weavegraph", target, "--skip-invalid")
        assert (ran.err == "") == holdable
        times = session_rows()
        delete_all()
        run("import_weavegraph", target)
        assert_stored(group_by_session([expected]) if holdable else {})
        assert session_rows() == (times if holdable else [])


@pytest.mark.skipif(not RECORDED, reason=NO_RECORDED_RUNS)
def test_the_recorded_runs_go_round(tmp_path: Path) -> None:
    runs = group_by_session(RECORDED)
    assert (len(runs), sum(map(len, runs.values()))) == (154, 3980)
    chosen = {key: runs[key] for key in list(runs)[::EVERY]}
    steps = [step for history in chosen.values() for step in history]
    source = create_crate_file(tmp_path / "crate.sqlite3", steps)
    run("import_weavegraph", str(source))
    assert_stored(chosen)
    run("export_weavegraph", str(tmp_path / "export.sqlite3"))
    delete_all()
    run("import_weavegraph", str(tmp_path / "export.sqlite3"))
    assert_stored(chosen)
