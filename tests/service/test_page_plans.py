"""A page reads the states of its own steps only, whatever plan the database chooses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.builders import save_history
from tests.scratch import execute, query
from weavegraph_checkpoints import StepQuery
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

STEPS = 60
QUERIES = [
    StepQuery(limit=3),
    StepQuery(limit=3, offset=40),
    StepQuery(limit=3, offset=5, ran_node="odd"),
]


@pytest.fixture(autouse=True)
def history(committed: None) -> None:
    save_history(DjangoCheckpointer(), "a", range(1, STEPS + 1), ran_nodes=["odd"])


def get_page_statement(step_query: StepQuery) -> tuple[str, Any]:
    """Return the statement of ``query_steps`` that reads states, and its parameters."""
    statements = []

    def record(execute: Any, sql: str, parameters: Any, *args: Any) -> Any:
        statements.append((sql, parameters))
        return execute(sql, parameters, *args)

    with connection.execute_wrapper(record):
        page = DjangoCheckpointer().query_steps("a", step_query)
    first = STEPS - (step_query.offset or 0)
    assert [found.step for found in page.checkpoints] == [first, first - 1, first - 2]
    _, statement, *_ = statements
    return statement


def iter_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from iter_nodes(child)


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("step_query", QUERIES)
@pytest.mark.parametrize(
    "disabled",
    [
        [],
        ["indexscan", "indexonlyscan"],
        ["indexscan", "indexonlyscan", "bitmapscan"],
        ["indexscan", "indexonlyscan", "nestloop"],
        ["indexscan", "nestloop", "hashjoin"],
    ],
)
def test_postgresql(step_query: StepQuery, disabled: list[str]) -> None:
    sql, parameters = get_page_statement(step_query)
    try:
        execute(connection, *(f"SET enable_{name} = off" for name in disabled))
        ((plan,),) = query(
            connection, f"EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {sql}", *parameters
        )
    finally:
        execute(connection, *(f"RESET enable_{name}" for name in disabled))
    (root,) = json.loads(plan) if isinstance(plan, str) else plan
    reading = [
        node
        for node in iter_nodes(root["Plan"])
        if any("state)::text" in column for column in node.get("Output", ()))
    ]
    assert reading
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in reading) <= 3


@pytest.mark.vendor("mysql")
@pytest.mark.parametrize("step_query", QUERIES[:2])
def test_mariadb(step_query: StepQuery) -> None:
    sql, parameters = get_page_statement(step_query)
    rows = query(connection, f"EXPLAIN {sql}", *parameters)
    kinds = [row[3] for row in rows if row[1] == "PRIMARY"]
    assert kinds == ["ALL", "eq_ref"], rows
    assert all(row[4] != "ALL" for row in rows if row[2] == "weavegraph_checkpoints_step"), rows
    *_, extra = (row[9] for row in rows if row[1] == "DERIVED")
    assert "Using index" in extra
    assert "filesort" not in extra


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("step_query", QUERIES[:2])
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_sqlite(step_query: StepQuery, is_analyzed: bool) -> None:
    sql, parameters = get_page_statement(step_query)
    if is_analyzed:
        execute(connection, "ANALYZE")
    plan = [row[3] for row in query(connection, f"EXPLAIN QUERY PLAN {sql}", *parameters)]
    covering = [line for line in plan if "COVERING INDEX" in line]
    ranges = [line for line in plan if "(session_id=? AND step<?)" in line]
    assert len(covering) == len(ranges) == 1, plan
    assert not any("TEMP B-TREE" in line for line in plan), plan
