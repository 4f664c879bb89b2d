"""The queries that every face shares: what they find, and what they do not read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from weavegraph_checkpoints import NodeKind
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db

NODES: dict[int, list[str]] = {
    1: ["Start"],
    2: ["Custom:plan"],
    3: ["Custom:planner", "Custom:Plan"],
    4: ["Custom:plan ", "Custom:%"],
    5: ["Custom:Start", "Custom:plan"],
    6: [],
    7: ['Custom:é"\\', "Custom:日本語"],
    8: ["plan", "Custom:\\u0000", "Custom:a_b"],
}


@pytest.fixture(autouse=True)
def rows(db: None) -> None:
    for name, owner, day in (("b", "", 1), ("a", "x", 1), ("c", "X", 3)):
        moment = datetime(2026, 1, day, tzinfo=UTC)
        Session.objects.create(pk=name, owner=owner)
        Step.objects.bulk_create(
            Step(
                session_id=name,
                step=step,
                frontier=["Start"],
                ran_nodes=nodes,
                skipped_nodes=NODES[9 - step],
                versions_seen={"n": {"c": step}},
                state={"step": step},
            )
            for step, nodes in NODES.items()
        )
        Session.objects.filter(pk=name).update(updated_at=moment)


@pytest.mark.parametrize(
    ("node", "steps"),
    [
        (NodeKind.START, [1]),
        ("Start", [1]),
        (NodeKind.custom("Start"), [5]),
        ("Custom:Start", [5]),
        (NodeKind.custom("plan"), [2, 5]),
        ("Custom:plan", [2, 5]),
        ("Custom:plan ", [4]),
        ("Custom:Plan", [3]),
        ("Custom:planner", [3]),
        ("Custom:%", [4]),
        ("Custom:p%", []),
        ("Custom:a_b", [8]),
        ("Custom:a%b", []),
        ("Custom:axb", []),
        ('Custom:é"\\', [7]),
        ('Custom:e"\\', []),
        ("Custom:日本語", [7]),
        ("Custom:\\u0000", [8]),
        ("End", []),
        ("Custom:", []),
        ('Custom:plan", "Custom:x', []),
    ],
)
def test_steps_in_which_exactly_a_node_ran(node: Any, steps: list[int]) -> None:
    of_a = Step.objects.filter(session_id="a").order_by("step")
    assert [step.step for step in of_a.ran(node)] == steps
    mirrored = sorted(9 - step for step in steps)
    assert [step.step for step in of_a.skipped(node)] == mirrored
    assert of_a.exclude(pk__in=of_a.ran(node)).count() == len(NODES) - len(steps)


def test_conditions_combine() -> None:
    steps = Step.objects.ran("Custom:plan").skipped("Custom:plan ")
    assert set(steps.values_list("session_id", "step")) == {(name, 5) for name in "abc"}


def test_newest_first_with_ties_by_id() -> None:
    assert [session.pk for session in Session.objects.newest_first()] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("owner", "ids"), [(None, ["a", "b", "c"]), ("", ["b"]), ("x", ["a"]), ("X", ["c"]), ("x ", [])]
)
def test_owned_by(owner: str | None, ids: list[str]) -> None:
    assert [row.pk for row in Session.objects.owned_by(owner).order_by("pk")] == ids


def test_light_lists_read_no_state() -> None:
    for queryset, big in (
        (Session.objects.newest_first().defer_state(), ["last_state", "last_versions_seen"]),
        (Step.objects.filter(session_id="a").defer_state(), ["state", "versions_seen"]),
    ):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            rows = list(queryset)
        (query,) = queries.captured_queries
        quote = connection.ops.quote_name
        assert not any(quote(name) in query["sql"] for name in big)
        assert rows[0].get_deferred_fields() == set(big)


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_light_row_reads_its_state_when_asked(name: str) -> None:
    session = Session.objects.defer_state().get(pk=name)
    with CaptureQueriesContext(connection) as queries:
        assert session.last_state == {"step": 8}
    assert len(queries) == 1
