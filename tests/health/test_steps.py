"""Counts, decoding and orphans: what is wrong with single steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.builders import save_history
from tests.health.damage import (
    create_orphan,
    get_findings,
    get_problems,
    set_session,
    set_step,
    without_foreign_keys,
)
from tests.scratch import execute
from tests.strategies import a_checkpoint, an_error_event
from tests.triggers.helpers import STEP, forget_updates, moved, revision
from weavegraph_checkpoints import Message, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session, Step

STATE = VersionedState.new(
    messages=[Message.user("ä" * 10), Message.assistant("😀")], errors=[an_error_event()]
)


def counts(session_id: str, step: int) -> tuple[Any, ...]:
    """Return the stored counts of a step."""
    rows = Step.objects.filter(session_id=session_id, step=step)
    return tuple(rows.values_list("message_count", "error_count", "state_bytes").get())


@pytest.mark.django_db
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    "columns", [["message_count"], ["error_count"], ["state_bytes"], ["error_count", "state_bytes"]]
)
def test_missing_counts_are_filled(step: int, columns: list[str]) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2], state=STATE)
    before = counts("a", step)
    set_step("a", step, **dict.fromkeys(columns))
    forget_updates()
    revised = revision("a")

    assert get_problems() == [("a", step, "missing-counts", False)]
    assert get_problems(repair=True) == [("a", step, "missing-counts", True)]
    assert counts("a", step) == before == (2, 1, before[2])
    assert not moved("a")
    assert revision("a") == revised + 1
    assert get_findings(deep=True) == []


@pytest.mark.django_db
@pytest.mark.vendor("sqlite")
def test_the_text_of_updated_at_stays() -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    set_step("a", 1, message_count=None)
    set_session("a", updated_at="2026-01-02 03:04:05.6")
    assert get_problems(repair=True) == [("a", 1, "missing-counts", True)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(updated_at AS TEXT) FROM weavegraph_checkpoints_session")
        assert cursor.fetchone() == ("2026-01-02 03:04:05.6",)


@pytest.mark.django_db
def test_wrong_counts_are_found_by_decoding() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2], state=STATE)
    before = counts("a", 1)
    set_step("a", 1, message_count=7, state_bytes=0)
    set_step("a", 2, error_count=None, message_count=3)
    forget_updates()

    assert get_problems() == [("a", 2, "missing-counts", False)]
    details = {(f.step, f.problem): f.detail for f in get_findings(deep=True)}
    assert details == {
        (2, "missing-counts"): "one or more of message_count, error_count, state_bytes are null",
        (1, "wrong-counts"): f"message_count is 7, not 2, state_bytes is 0, not {before[2]}",
        (2, "wrong-counts"): "message_count is 3, not 2",
    }
    assert get_problems(deep=True, repair=True) == [
        ("a", 2, "missing-counts", True),
        ("a", 1, "wrong-counts", True),
    ]
    assert counts("a", 1) == counts("a", 2) == before
    assert not moved("a")
    assert Session.objects.get(pk="a").last_message_count == 2
    assert get_findings(deep=True) == []


@pytest.mark.django_db
def test_counts_of_many_steps_and_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weavegraph_checkpoints.health.STEP_PAGE_SIZE", 7)
    monkeypatch.setattr("weavegraph_checkpoints.health.DECODE_BATCH_SIZE", 2)
    for session_id in ("a", "b", "c"):
        save_history(DjangoCheckpointer(), session_id, range(5), state=STATE)
    Step.objects.update(message_count=None)
    every = [(i, step, "missing-counts") for i in "abc" for step in range(5)]
    assert get_problems() == [(*one, False) for one in every]
    assert get_problems(repair=True) == [(*one, True) for one in every]
    Step.objects.update(message_count=8)
    assert get_findings() == []
    assert get_problems(deep=True, repair=True) == [
        (i, step, "wrong-counts", True) for i, step, _ in every
    ]
    assert get_findings(deep=True) == []


GOOD = {"messages": {"version": 1, "items": []}, "extra": {"version": 1, "map": {}}}
WRONG_SHAPES = [
    ({"state": []}, "$.state"),
    ({"state": {}}, "$.state.messages"),
    ({"state": {"tag": 1}}, "$.state.messages"),
    (
        {"state": GOOD | {"messages": {"version": 1, "items": [{"role": "user"}]}}},
        "$.state.messages.items[0].content",
    ),
    ({"state": GOOD | {"extra": {"version": -1, "map": {}}}}, "$.state.extra.version"),
    ({"frontier": {"a": 1}}, "$.frontier"),
    ({"ran_nodes": [1]}, "$.ran_nodes[0]"),
    ({"skipped_nodes": "End"}, "$.skipped_nodes"),
    ({"updated_channels": [None]}, "$.updated_channels[0]"),
    ({"versions_seen": {"a": {"b": "c"}}}, "$.versions_seen.a.b"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("columns", "path"), WRONG_SHAPES)
@pytest.mark.parametrize("step", [1, 2])
def test_json_of_the_wrong_shape(columns: dict[str, Any], path: str, step: int) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    save_history(DjangoCheckpointer(), "b", [1])
    texts = {name: json.dumps(value) for name, value in columns.items()}
    set_step("a", step, **texts)
    before = list(Step.objects.values_list())
    for repair in (False, True):
        (finding,) = get_findings(deep=True, repair=repair)
        assert (finding.session_id, finding.step, finding.problem) == ("a", step, "undecodable")
        assert finding.detail.endswith(f" at {path}")
        assert not finding.detail.startswith("session")
        assert not finding.repaired
    assert list(Step.objects.values_list()) == before


@pytest.mark.django_db
@pytest.mark.vendor("sqlite", "mysql")
@pytest.mark.parametrize("text", ["", "nonsense", '{"messages"', "NaN", "\0", "[" * 100_000])
def test_a_state_that_is_no_json(text: str) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_step("a", 1, state=text, message_count=None)
    assert get_problems(deep=True, repair=True) == [
        ("a", 1, "missing-counts", False),
        ("a", 1, "undecodable", False),
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT state, message_count FROM {STEP} WHERE step = 1")
        assert cursor.fetchone() == (text, None)


@pytest.mark.django_db
@pytest.mark.vendor("sqlite")
def test_a_state_that_is_no_text() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    execute(connection, f"UPDATE {STEP} SET state = CAST(x'7bff7d' AS TEXT) WHERE step = 1")
    (finding,) = get_findings(deep=True)
    assert (finding.step, finding.problem) == (1, "undecodable")
    assert "UTF-8" in finding.detail


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("infinity", marks=pytest.mark.vendor("postgresql")),
        pytest.param("20000-01-01 00:00:00+00", marks=pytest.mark.vendor("postgresql")),
        pytest.param("yesterday", marks=pytest.mark.vendor("sqlite")),
        pytest.param("2026-13-01 00:00:00", marks=pytest.mark.vendor("sqlite")),
        pytest.param("0000-00-00 00:00:00", marks=pytest.mark.vendor("mysql")),
    ],
)
def test_a_time_that_cannot_be_read(text: str) -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_step("a", 1, created_at=text)
    (finding,) = get_findings(deep=True)
    assert (finding.step, finding.problem) == (1, "undecodable")
    assert finding.detail.startswith("not a timestamp: '")
    assert finding.detail.endswith(" at $.created_at")


@pytest.fixture
def orphans(committed: None) -> Iterator[None]:
    """Create orphaned steps, and a healthy session."""
    save_history(DjangoCheckpointer(), "b", [1])
    create_orphan("a", 0)
    create_orphan("a", 3, message_count=None)
    create_orphan("c", 2**63 - 1)
    yield
    execute(connection, f"DELETE FROM {STEP} WHERE session_id IN ('a', 'c')")


@pytest.mark.usefixtures("orphans")
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("repair", [False, True])
def test_orphans_are_reported_and_left(deep: bool, repair: bool) -> None:
    before = list(Step.objects.order_by("pk").values_list())
    assert get_problems(deep=deep, repair=repair) == [
        ("a", 0, "orphan", False),
        ("a", 3, "orphan", False),
        ("c", 2**63 - 1, "orphan", False),
    ]
    assert list(Step.objects.order_by("pk").values_list()) == before


@pytest.mark.parametrize("repair", [False, True])
def test_orphaned_labels_are_counted_by_a_deep_check(committed: None, repair: bool) -> None:
    save_history(DjangoCheckpointer(), "b", [1])
    DjangoCheckpointer().set_labels("b", {"env": "test"})
    with without_foreign_keys():
        for session_id, key in [("a", "env"), ("a", "customer"), ("c", "env")]:
            Label.objects.create(session_id=session_id, key=key, value="")
    assert get_findings(repair=repair) == []
    found = get_findings(deep=True, repair=repair)
    assert [(each.session_id, each.step, each.problem, each.repaired) for each in found] == [
        ("a", None, "orphan", False),
        ("c", None, "orphan", False),
    ]
    assert [each.detail for each in found] == [
        "labels are left of a session that is missing: 2",
        "labels are left of a session that is missing: 1",
    ]
    assert Label.objects.count() == 4
    execute(connection, f"DELETE FROM {Label._meta.db_table} WHERE session_id IN ('a', 'c')")


@pytest.mark.django_db
def test_the_widest_range_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weavegraph_checkpoints.health.STEP_PAGE_SIZE", 1)
    for step in (0, 1, 2**63 - 1):
        DjangoCheckpointer().save(a_checkpoint("a", step))
    Step.objects.update(state_bytes=None)
    assert get_problems(deep=True, repair=True) == [
        ("a", step, "missing-counts", True) for step in (0, 1, 2**63 - 1)
    ]
    assert get_findings(deep=True) == []
