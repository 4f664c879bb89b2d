"""The snapshot, status and counts of a session are those of its newest step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from tests.builders import save_history, wrong_snapshots
from tests.health.damage import (
    forget_snapshot,
    get_findings,
    get_problems,
    set_session,
    set_step,
    without_triggers,
)
from tests.scratch import execute
from tests.triggers.helpers import STEP, create_session, forget_updates, moved, revision
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.health import Finding
from weavegraph_checkpoints.models import Session

pytestmark = pytest.mark.django_db

CORRUPTIONS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"last_step": 1}, {"snapshot": "last_step not as in the newest step"}),
    ({"last_step": 9}, {"snapshot": "last_step not as in the newest step"}),
    ({"last_state": None}, {"snapshot": "last_state not as in the newest step"}),
    ({"last_state": "{}"}, {"snapshot": "last_state not as in the newest step"}),
    (
        {"last_frontier": '["Custom:other"]', "last_versions_seen": "{}"},
        {"snapshot": "last_frontier, last_versions_seen not as in the newest step"},
    ),
    ({"last_frontier": None}, {"snapshot": "last_frontier not as in the newest step"}),
    ({"status": "finished"}, {"status": "finished, not resumable"}),
    ({"status": "empty"}, {"status": "empty, not resumable"}),
    (
        {"last_message_count": 9},
        {"session-counts": "last_message_count not as in the newest step"},
    ),
    (
        {"last_error_count": None, "last_state_bytes": 0},
        {"session-counts": "last_error_count, last_state_bytes not as in the newest step"},
    ),
]


def stored(session_id: str) -> dict[str, Any]:
    """Return every column of a session but its revision."""
    row = Session.objects.values().get(pk=session_id)
    del row["revision"]
    return dict(row)


@pytest.mark.parametrize(("columns", "expected"), CORRUPTIONS)
def test_each_corruption_is_found_and_repaired(
    columns: dict[str, Any], expected: dict[str, str]
) -> None:
    for session_id in ("a", "b", "c"):
        save_history(DjangoCheckpointer(), session_id, [1, 2, 3])
    forget_updates()
    before, revisions = stored("b"), [revision(i) for i in "abc"]
    set_session("b", **columns)
    damaged = stored("b")

    assert get_findings() == [
        Finding(session_id="b", step=3, problem=problem, detail=detail)
        for problem, detail in expected.items()
    ]
    assert stored("b") == damaged
    assert get_problems(repair=True) == [("b", 3, problem, True) for problem in expected]
    assert stored("b") == before
    assert not moved("b")
    assert [revision(i) for i in "abc"] == [revisions[0], revisions[1] + 1, revisions[2]]
    assert get_findings(deep=True) == []


@pytest.mark.parametrize("steps", [[0], [1, 2]])
def test_a_missing_snapshot(steps: list[int]) -> None:
    save_history(DjangoCheckpointer(), "a", steps)
    forget_snapshot("a")
    newest = steps[-1]
    expected = [
        ("a", newest, "snapshot"),
        ("a", newest, "status"),
        ("a", newest, "session-counts"),
    ]
    assert get_problems() == [(*problem, False) for problem in expected]
    assert get_problems(repair=True) == [(*problem, True) for problem in expected]
    assert wrong_snapshots() == []


def test_a_snapshot_of_a_session_without_steps() -> None:
    before = create_session("a")
    set_session("a", last_step=4, status="finished", last_state="{}", last_message_count=1)
    expected = ["snapshot", "status", "session-counts"]
    assert get_problems() == [("a", None, problem, False) for problem in expected]
    assert get_problems(repair=True) == [("a", None, problem, True) for problem in expected]
    after = Session.objects.get(pk="a")
    assert (after.revision, after.updated_at) == (before.revision + 1, before.updated_at)
    assert (after.last_step, after.status, after.last_state) == (0, "empty", None)
    assert get_findings() == []


@pytest.mark.parametrize(
    ("frontier", "status"),
    [
        ([], "finished"),
        (["End"], "finished"),
        (["End", "End"], "finished"),
        (["End", "Start"], "resumable"),
        (["Custom:End"], "resumable"),
    ],
)
def test_the_status_that_a_frontier_gives(frontier: list[str], status: str) -> None:
    save_history(DjangoCheckpointer(), "a", [1], frontier=frontier)
    assert get_findings() == []
    wrong = "resumable" if status == "finished" else "finished"
    set_session("a", status=wrong)
    (finding,) = get_findings(repair=True)
    assert (finding.problem, finding.detail) == ("status", f"{wrong}, not {status}")
    assert Session.objects.get(pk="a").status == status


@pytest.mark.parametrize("frontier", [{"a": 1}, "End", None, [1], [["End"]]])
def test_a_frontier_that_is_no_list_of_nodes(frontier: Any) -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    set_step("a", 1, frontier=json.dumps(frontier))
    set_session("a", last_step=0)
    expected = [("a", 1, "snapshot", True), ("a", 1, "undecodable", False)]
    assert get_problems(repair=True) == expected
    assert get_problems() == expected[1:]
    (deep,) = get_findings(deep=True)
    assert deep.problem == "undecodable"
    assert "$.frontier" in deep.detail


@pytest.mark.vendor("sqlite")
def test_a_frontier_that_is_no_json() -> None:
    with without_triggers():
        save_history(DjangoCheckpointer(), "a", [1])
        execute(
            connection,
            "PRAGMA ignore_check_constraints = ON",
            f"UPDATE {STEP} SET frontier = '['",
            "PRAGMA ignore_check_constraints = OFF",
        )
    expected = ["snapshot", "session-counts", "undecodable"]
    assert get_problems(repair=True) == [("a", 1, problem, False) for problem in expected]
    assert get_problems() == [("a", 1, problem, False) for problem in expected]


def test_pages_and_ids_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weavegraph_checkpoints.health.SESSION_PAGE_SIZE", 2)
    monkeypatch.setattr("weavegraph_checkpoints.health.STEP_PAGE_SIZE", 3)
    ids = sorted(["a", "A", "a ", "á", "😀", "'\"\\%s", "%", "x" * 255])
    for session_id in ids:
        save_history(DjangoCheckpointer(), session_id, [1, 2])
        set_session(session_id, status="finished")
    assert get_problems(repair=True) == [(i, 2, "status", True) for i in ids]
    assert get_findings(deep=True) == []
