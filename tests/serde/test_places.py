"""Checkpoints whose place is known, and some of their fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from tests.assertions import assert_same, checkpoint_as_read
from tests.strategies import a_full_checkpoint, checkpoints
from weavegraph_checkpoints import Checkpoint, SerializationError, VersionedState
from weavegraph_checkpoints.serde import dumps, loads_step

DOCUMENT: dict[str, Any] = json.loads(dumps(a_full_checkpoint()))


def refused_at(document: Any) -> SerializationError:
    with pytest.raises(SerializationError) as refusal:
        loads_step(json.dumps(document), "session", 1)
    return refusal.value


@given(checkpoint=checkpoints())
def test_a_checkpoint_is_read_for_its_place(checkpoint: Checkpoint) -> None:
    read = loads_step(dumps(checkpoint), checkpoint.session_id, checkpoint.step)
    assert_same(read, checkpoint_as_read(checkpoint))


@pytest.mark.parametrize("left_out", [{"session_id"}, {"step"}, {"session_id", "step"}])
def test_the_place_may_be_left_out(left_out: set[str]) -> None:
    document = {name: value for name, value in DOCUMENT.items() if name not in left_out}
    assert_same(loads_step(json.dumps(document), "session", 1), a_full_checkpoint())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_id", "another"),
        ("session_id", ""),
        ("session_id", None),
        ("session_id", 1),
        ("step", 2),
        ("step", -1),
        ("step", 2**63),
        ("step", 1.0),
        ("step", True),
        ("step", None),
    ],
)
def test_another_place_is_refused(name: str, value: Any) -> None:
    assert refused_at(DOCUMENT | {name: value}).path == f"$.{name}"


@pytest.mark.parametrize("name", ["state", "frontier"])
def test_nothing_else_may_be_missing_for_a_place(name: str) -> None:
    document = {key: value for key, value in DOCUMENT.items() if key != name}
    assert refused_at(document).path == f"$.{name}"


@pytest.mark.parametrize("name", DOCUMENT)
def test_one_field_is_written_as_in_the_whole(name: str) -> None:
    assert_same(json.loads(dumps(a_full_checkpoint(), [name])), {name: DOCUMENT[name]})


def test_some_fields_are_written_in_their_order() -> None:
    written = json.loads(dumps(a_full_checkpoint(), ["ran_nodes", "step", "session_id"]))
    assert list(written) == ["session_id", "step", "ran_nodes"]
    assert dumps(a_full_checkpoint(), list(DOCUMENT)) == dumps(a_full_checkpoint())


def test_a_state_that_is_not_written_is_not_checked() -> None:
    checkpoint = a_full_checkpoint(state=VersionedState.new(extra={"a": float("nan")}))
    assert dumps(checkpoint, ["step"]) == b'{"step":1}'
    with pytest.raises(SerializationError):
        dumps(checkpoint, ["state"])
