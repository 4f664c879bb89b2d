"""The files in tests/data were written by the Rust crate: see the README there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.assertions import assert_same
from weavegraph_checkpoints import NodeKind
from weavegraph_checkpoints.serde import (
    checkpoint_from_columns,
    dumps,
    dumps_state,
    loads,
    loads_state,
)

DATA = Path(__file__).parent.parent / "data"
FILES = ["read-by-crate.sqlite.json", "read-by-crate.postgres.json"]


def read_by_crate(name: str) -> dict[str, Any]:
    sessions: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return sessions


def documents(name: str) -> Iterator[dict[str, Any]]:
    for session in read_by_crate(name).values():
        yield session["latest"]
        yield from session["steps"]


def with_instant(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"created_at": datetime.fromisoformat(document["created_at"])}


def stored(query: str) -> list[tuple[Any, ...]]:
    uri = f"{(DATA / 'weavegraph.sqlite3').as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("name", FILES)
def test_the_files_hold_what_their_readme_says(name: str) -> None:
    sessions = read_by_crate(name)
    assert len(sessions) == 22
    assert len(sessions["conversation"]["steps"]) == 12
    assert sessions["highest"]["latest"]["step"] == 2**63 - 1
    assert sessions["zero"]["latest"]["step"] == 0


@pytest.mark.parametrize("name", FILES)
def test_each_checkpoint_loads_and_dumps_back_to_an_equal_document(name: str) -> None:
    for document in documents(name):
        checkpoint = loads(json.dumps(document))
        again = json.loads(dumps(checkpoint))
        assert_same(with_instant(again), with_instant(document))
        assert_same(loads(dumps(checkpoint)), checkpoint)


def test_each_stored_state_loads_and_dumps_back_to_an_equal_document() -> None:
    rows = stored(
        "SELECT state_json FROM steps UNION ALL"
        " SELECT last_state_json FROM sessions WHERE last_state_json IS NOT NULL"
    )
    assert len(rows) > 22
    for (text,) in rows:
        assert_same(json.loads(dumps_state(loads_state(text))), json.loads(text))


def test_each_stored_row_is_the_checkpoint_that_the_crate_read() -> None:
    sessions = read_by_crate("read-by-crate.sqlite.json")
    rows = stored(
        "SELECT session_id, step, created_at, 1, state_json, frontier_json, versions_seen_json,"
        " ran_nodes_json, skipped_nodes_json, updated_channels_json FROM steps"
    )
    read = {
        (row[0], row[1]): checkpoint_from_columns(
            *row[:2], datetime.fromisoformat(row[2]), *row[3:]
        )
        for row in rows
    }
    expected = [
        loads(json.dumps(document))
        for session in sessions.values()
        for document in session["steps"]
    ]
    assert len(read) == len(expected)
    for checkpoint in expected:
        assert_same(read[checkpoint.session_id, checkpoint.step], checkpoint)


def test_the_keys_of_versions_seen_in_a_real_run_are_kept() -> None:
    run = read_by_crate("read-by-crate.sqlite.json")["run"]
    seen = loads(json.dumps(run["latest"])).versions_seen
    assert 'Custom("plan")' in seen
    assert_same(seen, run["latest"]["versions_seen"])


def test_awkward_names_of_nodes_are_read() -> None:
    nodes = read_by_crate("read-by-crate.sqlite.json")["nodes"]
    for document in nodes["steps"]:
        checkpoint = loads(json.dumps(document))
        assert [node.encode() for node in checkpoint.ran_nodes] == document["ran_nodes"]
        assert all(isinstance(node, NodeKind) for node in checkpoint.frontier)
