"""A missing, altered or disabled trigger is found, and installed again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection

from tests.builders import save_history, wrong_snapshots
from tests.health.damage import alter_trigger, get_findings, get_problems, without_triggers
from tests.scratch import execute
from tests.triggers.helpers import STEP
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.health import Finding
from weavegraph_checkpoints.models import Session

NAMES = {
    "mysql": [f"{STEP}_snapshot_{case}" for case in ("insert", "update", "delete")],
    "postgresql": [f"{STEP}_snapshot"],
    "sqlite": [
        *(f"{STEP}_snapshot_{case}" for case in ("insert", "update", "move", "delete")),
        "weavegraph_checkpoints_keyframe_guard",
    ],
}


@pytest.fixture(autouse=True)
def restored(committed: None) -> Iterator[None]:
    """The triggers stand again after the test."""
    yield
    triggers.install()


def trigger_findings(kind: str, names: list[str], *, repaired: bool) -> list[Finding]:
    return [Finding(problem=f"trigger-{kind}", detail=n, repaired=repaired) for n in names]


def test_dropped() -> None:
    names = NAMES[connection.vendor]
    save_history(DjangoCheckpointer(), "a", [1])
    with without_triggers():
        save_history(DjangoCheckpointer(), "a", [2])
        stale = [("a", 2, "snapshot", False)]
        assert get_findings()[: len(names)] == trigger_findings("missing", names, repaired=False)
        assert get_problems()[len(names) :] == stale
        revised = Session.objects.get(pk="a")
        assert get_findings(repair=True)[:-1] == trigger_findings("missing", names, repaired=True)
        assert get_findings(deep=True) == []
    mended = Session.objects.get(pk="a")
    assert (mended.revision, mended.updated_at) == (revised.revision + 1, revised.updated_at)
    assert wrong_snapshots() == []


def test_altered() -> None:
    alter_trigger()
    names = [name for name in NAMES[connection.vendor] if name.endswith(("_snapshot", "_delete"))]
    assert get_findings() == trigger_findings("altered", names, repaired=False)
    assert get_findings(repair=True) == trigger_findings("altered", names, repaired=True)
    assert get_findings() == []


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("how", ["DISABLE", "ENABLE REPLICA"])
def test_disabled(how: str) -> None:
    names = NAMES["postgresql"]
    execute(connection, f"ALTER TABLE {STEP} {how} TRIGGER {names[0]}")
    assert get_findings() == trigger_findings("disabled", names, repaired=False)
    assert get_findings(repair=True) == trigger_findings("disabled", names, repaired=True)
    assert get_findings() == []


def test_a_trigger_that_may_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(using: str) -> None:
        raise OperationalError(1419, "You do not have the SUPER privilege")

    save_history(DjangoCheckpointer(), "a", [1])
    with without_triggers(), monkeypatch.context() as context:
        context.setattr(triggers, "install", refuse)
        save_history(DjangoCheckpointer(), "a", [2])
        *reported, snapshot = get_findings(repair=True)
    assert [finding.problem for finding in reported] == ["trigger-missing"] * len(reported)
    assert all("SUPER privilege" in finding.detail for finding in reported)
    assert not any(finding.repaired for finding in reported)
    assert snapshot.repaired
    assert get_findings() == []


def test_writes_without_triggers_of_every_kind() -> None:
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "a", [1, 2, 3])
    save_history(checkpointer, "b", [1])
    save_history(checkpointer, "c", [1])
    with without_triggers():
        save_history(checkpointer, "a", [4], frontier=["End"])
        execute(connection, f"DELETE FROM {STEP} WHERE session_id = 'b'")
        save_history(checkpointer, "d", [0])
        save_history(checkpointer, "c", [1], frontier=[])
    assert {(f.session_id, f.step) for f in get_findings()} == {
        ("a", 4),
        ("b", None),
        ("c", 1),
        ("d", 0),
    }
    assert all(finding.repaired for finding in get_findings(repair=True))
    assert wrong_snapshots() == []
    assert get_findings(deep=True) == []
