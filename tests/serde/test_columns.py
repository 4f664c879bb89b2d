from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from tests.assertions import as_read, assert_same, checkpoint_as_read
from tests.serde.nested_values import nest
from tests.strategies import (
    LONGEST_INTEGER,
    a_checkpoint,
    a_full_checkpoint,
    checkpoints,
    json_values,
    nodes,
)
from weavegraph_checkpoints import Checkpoint, NodeKind, SerializationError
from weavegraph_checkpoints.serde import (
    checkpoint_from_columns,
    dumps_json,
    dumps_nodes,
    dumps_state,
    loads_json,
)


def columns_of(checkpoint: Checkpoint, **columns: Any) -> dict[str, Any]:
    return {
        "session_id": checkpoint.session_id,
        "step": checkpoint.step,
        "created_at": checkpoint.created_at,
        "concurrency_limit": checkpoint.concurrency_limit,
        "state": dumps_state(checkpoint.state).decode(),
        "frontier": dumps_nodes(checkpoint.frontier),
        "versions_seen": dumps_json(checkpoint.versions_seen),
        "ran_nodes": dumps_nodes(checkpoint.ran_nodes),
        "skipped_nodes": dumps_nodes(checkpoint.skipped_nodes),
        "updated_channels": dumps_json(checkpoint.updated_channels),
    } | columns


def refused(**columns: Any) -> SerializationError:
    with pytest.raises(SerializationError) as refusal:
        checkpoint_from_columns(**columns_of(a_full_checkpoint(), **columns))
    return refusal.value


@given(checkpoint=checkpoints())
def test_a_row_gives_back_the_checkpoint_that_it_holds(checkpoint: Checkpoint) -> None:
    read = checkpoint_from_columns(**columns_of(checkpoint))
    assert_same(read, checkpoint_as_read(checkpoint))


def test_the_columns_are_read_as_bytes_too() -> None:
    columns = {
        name: value.encode() if isinstance(value, str) and name != "session_id" else value
        for name, value in columns_of(a_full_checkpoint()).items()
    }
    assert_same(checkpoint_from_columns(**columns), a_full_checkpoint())


def test_a_snapshot_has_no_metadata() -> None:
    columns = columns_of(a_full_checkpoint())
    for name in ("ran_nodes", "skipped_nodes", "updated_channels"):
        del columns[name]
    bare = a_full_checkpoint(ran_nodes=[], skipped_nodes=[], updated_channels=[])
    assert_same(checkpoint_from_columns(**columns), bare)


def test_no_channels_are_known_where_the_column_is_null() -> None:
    columns = columns_of(a_full_checkpoint(), updated_channels=None)
    assert checkpoint_from_columns(**columns).updated_channels == ()


@pytest.mark.parametrize(
    ("column", "text", "path"),
    [
        ("state", "", "$.state"),
        ("state", "{}", "$.state.messages"),
        ("state", '{"messages":{"version":1},"extra":{"version":"1"}}', "$.state.extra.version"),
        (
            "state",
            '{"messages":{"version":1},"extra":{"version":1,"map":{"a b":[0,1e400]}}}',
            '$.state.extra.map["a b"][1]',
        ),
        ("frontier", "[", "$.frontier"),
        ("frontier", '{"a":1}', "$.frontier"),
        ("frontier", '["Start",1]', "$.frontier[1]"),
        ("frontier", '["Start","\\u0000"]', "$.frontier[1]"),
        ("ran_nodes", "[null]", "$.ran_nodes[0]"),
        ("skipped_nodes", "null", "$.skipped_nodes"),
        ("updated_channels", "", "$.updated_channels"),
        ("updated_channels", "null", "$.updated_channels"),
        ("updated_channels", '["a",["b"]]', "$.updated_channels[1]"),
        ("versions_seen", "[]", "$.versions_seen"),
        ("versions_seen", '{"p q":{"y":1,"z":"x"}}', '$.versions_seen["p q"].z'),
        ("versions_seen", '{"p q":{"y":1,"z":-1}}', '$.versions_seen["p q"].z'),
        ("step", -1, "$.step"),
        ("session_id", "", "$.session_id"),
        ("created_at", datetime(2026, 1, 2), "$.created_at"),
    ],
)
def test_what_a_row_should_not_hold_is_named_with_its_session_and_step(
    column: str, text: Any, path: str
) -> None:
    refusal = refused(**{column: text})
    assert refusal.path == path
    session_id = text if column == "session_id" else "session"
    step = text if column == "step" else 1
    assert refusal.message.startswith(f"session {session_id!r}, step {step}: ")


def test_created_at_is_the_instant_of_the_row() -> None:
    instant = datetime(2026, 5, 6, tzinfo=UTC)
    columns = columns_of(a_checkpoint(), created_at=instant)
    assert checkpoint_from_columns(**columns).created_at == instant


@given(kinds=nodes())
def test_nodes_are_written_as_a_list_of_texts(kinds: tuple[NodeKind, ...]) -> None:
    text = dumps_nodes(kinds)
    assert type(text) is str
    assert json.loads(text) == [node.encode() for node in kinds]


@given(value=json_values())
def test_any_document_comes_back_exactly(value: Any) -> None:
    text = dumps_json(value)
    assert type(text) is str
    assert_same(loads_json(text), as_read(value))
    assert_same(loads_json(text.encode()), as_read(value))


def test_a_document_may_be_as_deep_as_a_state_that_holds_200_levels() -> None:
    checkpoint = a_full_checkpoint()
    checkpoint.state.extra.map["deep"] = nest(199)[0]
    document = loads_json(dumps_state(checkpoint.state))
    assert_same(loads_json(dumps_json(document)), document)


def test_a_deeper_document_is_refused() -> None:
    value, keys = nest(211)
    assert dumps_json(value[0]) == "[" * 210 + "0" + "]" * 210
    with pytest.raises(SerializationError) as refusal:
        dumps_json(value)
    assert refusal.value.path == "$" + "[0]" * len(keys[:-1])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("\ud800", "$"),
        ({"a": ["\ud800"]}, "$.a[0]"),
        ({"a": {"\ud800": 1}}, "$.a"),
        ([LONGEST_INTEGER + 1], "$[0]"),
    ],
)
def test_a_document_that_is_not_json_is_refused(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as refusal:
        dumps_json(value)
    assert refusal.value.path == path


@pytest.mark.parametrize("text", ["", "{", "NaN", "1e400", b"\xff", "[" * 100_000])
def test_text_that_is_not_json_is_refused(text: Any) -> None:
    with pytest.raises(SerializationError) as refusal:
        loads_json(text)
    assert refusal.value.path == "$"


def test_a_number_that_cannot_be_held_is_named_by_its_path() -> None:
    with pytest.raises(SerializationError) as refusal:
        loads_json('{"a b":[0,1e400]}')
    assert refusal.value.path == '$["a b"][1]'
