"""States that are stored as changes: exported whole, compared whole, and named where damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands.runner import run
from tests.interchange.crate_databases import open_file
from tests.long_histories import BAD_STEP, DAMAGES, STEPS, Damage, save_long_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.interchange import export_history
from weavegraph_checkpoints.interchange.sql import InterchangeStatements
from weavegraph_checkpoints.models import Keyframe, Step
from weavegraph_checkpoints.pruning import prune

pytestmark = [pytest.mark.usefixtures("tables"), pytest.mark.usefixtures("changes")]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "export.sqlite3"


def read_states(path: Path) -> dict[int, bytes]:
    with open_file(path) as crate:
        rows = crate.execute("SELECT step, state_json FROM steps WHERE session_id = 'a'")
        return {step: state.encode() for step, state in rows}


def test_a_round_trip(target: Path) -> None:
    history = save_long_history("a")
    states = {each.step: serde.dumps_state(each.state) for each in history}
    memory.clear()
    assert export_history(str(target)).added == len(STEPS)
    assert read_states(target) == states
    assert f"{len(STEPS)} unchanged" in run("import_weavegraph", str(target)).out
    assert Step.objects.exclude(base=None).count() == len(STEPS)

    run("import_weavegraph", str(target), "--database", "other")
    assert not Keyframe.objects.using("other").exists()
    assert not Step.objects.using("other").exclude(base=None).exists()
    others = DjangoCheckpointer(using="other")
    assert [others.load("a", each.step) for each in history] == history


def test_a_step_that_differs_is_replaced_whole(target: Path) -> None:
    history = save_long_history("a")
    export_history(str(target))
    DjangoCheckpointer().save(a_checkpoint("a", BAD_STEP, state=history[0].state))
    run("import_weavegraph", str(target), "--on-conflict", "replace")
    assert Step.objects.filter(base=None).values_list("step", flat=True).get() == BAD_STEP
    assert DjangoCheckpointer().load("a", BAD_STEP) == history[BAD_STEP - 1]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_state_is_named_and_its_session_left_out(target: Path, damage: Damage) -> None:
    save_long_history("a")
    save_long_history("b", range(1, 4))
    damage.apply("a")
    invalid: list[Any] = []
    result = export_history(str(target), on_invalid=invalid.append)
    assert result.invalid == 1
    (row,) = (row for row in invalid if row.step == BAD_STEP)
    assert row.session_id == "a"
    assert damage.message in row.reason
    assert damage.path in row.reason
    assert read_states(target) == {}


def test_what_others_prune_meanwhile_is_no_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = save_long_history("a")
    memory.clear()
    real = InterchangeStatements._get_steps
    left = [True]

    def read(self: Any, *args: Any) -> Any:
        rows = real(self, *args)
        if left:
            left.pop()
            DjangoCheckpointer().save(history[BAD_STEP - 1])
            prune(RetentionPolicy(keep_last=4))
            memory.clear()
        return rows

    monkeypatch.setattr(InterchangeStatements, "_get_steps", read)
    export_history(str(target))
    states = {each.step: serde.dumps_state(each.state) for each in history}
    found = read_states(target)
    assert set(found) >= {each.step for each in history[-4:]}
    assert all(states[step] == state for step, state in found.items())
