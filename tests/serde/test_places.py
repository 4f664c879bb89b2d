"""Checkpoints whose place is known, some of their fields, and keys that stand twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from tests.serde.planting import Key, path_to, planted
from tests.strategies import a_full_checkpoint, checkpoints
from tests.strict import assert_same, checkpoint_as_read
from weavegraph_checkpoints import Checkpoint, SerializationError, VersionedState
from weavegraph_checkpoints.serde import dumps, dumps_state, loads, loads_at
from weavegraph_checkpoints.serde.duplicates import check_unique_keys

DOCUMENT: dict[str, Any] = json.loads(dumps(a_full_checkpoint()))


def refused_at(document: Any) -> SerializationError:
    with pytest.raises(SerializationError) as refusal:
        loads_at(json.dumps(document), "session", 1)
    return refusal.value


def path_of_duplicate(data: str, state: str = "") -> str:
    with pytest.raises(SerializationError) as refusal:
        check_unique_keys(data, state)
    return refusal.value.path


@given(checkpoint=checkpoints())
def test_a_checkpoint_is_read_for_its_place(checkpoint: Checkpoint) -> None:
    read = loads_at(dumps(checkpoint), checkpoint.session_id, checkpoint.step)
    assert_same(read, checkpoint_as_read(checkpoint))


@pytest.mark.parametrize("left_out", [{"session_id"}, {"step"}, {"session_id", "step"}])
def test_the_place_may_be_left_out(left_out: set[str]) -> None:
    document = {name: value for name, value in DOCUMENT.items() if name not in left_out}
    assert_same(loads_at(json.dumps(document), "session", 1), a_full_checkpoint())


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


@given(checkpoint=checkpoints())
def test_what_is_written_has_no_key_twice(checkpoint: Checkpoint) -> None:
    data = dumps(checkpoint).decode()
    check_unique_keys(data)
    check_unique_keys(data, dumps_state(checkpoint.state).decode())
    check_unique_keys(json.dumps(json.loads(data)), dumps_state(checkpoint.state).decode())


@given(plant=planted("@twice@", tuples=False))
def test_a_key_that_stands_twice_is_named_at_any_depth(plant: tuple[Any, list[Key]]) -> None:
    value, keys = plant
    twice = json.dumps({"x": value}).replace('"@twice@"', '{"a":1,"b":{"a":1},"\\u0061":2}')
    assert path_of_duplicate(twice) == path_to("$", ["x", *keys, "a"])


def test_a_key_that_stands_twice_beside_a_known_state_is_named() -> None:
    state = dumps_state(a_full_checkpoint().state).decode()
    data = dumps(a_full_checkpoint()).decode()
    assert path_of_duplicate(f'{data[:-1]},"step":1}}', state) == "$.step"
    assert path_of_duplicate(f'{data[:-1]},"state":{state}}}', state) == "$.state"


def test_a_state_that_differs_from_the_known_one_is_looked_into() -> None:
    state = dumps_state(VersionedState.new(extra={"a": 1})).decode()
    doubled = state.replace('{"a":1}', '{"a":1,"a":1}')
    assert loads(json.dumps(DOCUMENT)) == a_full_checkpoint()
    assert path_of_duplicate(f'{{"state":{doubled}}}', state) == "$.state.extra.map.a"
    assert path_of_duplicate(f'{{ "state" : {doubled} }}', state) == "$.state.extra.map.a"


@pytest.mark.parametrize("text", ["é", "“ß”", "😀", "a\x7f", "\0\n", r"\xe9", r"\U0001f600", "\\"])
def test_escapes_hide_no_key_that_stands_twice(text: str) -> None:
    extra = {text: text, f"{text}{text}": [text]}
    state = dumps_state(VersionedState.new(extra=extra)).decode()
    data = json.dumps({"state": json.loads(state)})
    check_unique_keys(data, state)
    member = f"{json.dumps(text)}: {json.dumps(text)}"
    assert data.count(member) == 1
    doubled = data.replace(member, f"{member}, {member}")
    assert path_of_duplicate(doubled, state) == path_to("$", ["state", "extra", "map", text])


@pytest.mark.parametrize("colon", [":", r"\u003a", r"\u003A", r"\\u003a"])
def test_colons_in_text_hide_no_key_that_stands_twice(colon: str) -> None:
    once = f'{{"a": "{colon}{colon}", "b{colon}": 1}}'
    check_unique_keys(once)
    assert path_of_duplicate(f'{{"c": {once}, "c": 2}}') == "$.c"
    assert path_of_duplicate(f'[{once[:-1]}, "a": "{colon}"}}]') == "$[0].a"


def test_long_numbers_are_passed_over() -> None:
    check_unique_keys(f'{{"a":{"9" * 9000},"b":1e400,"c":-1.5}}')


def test_a_bomb_beside_a_known_state_is_refused() -> None:
    state = dumps_state(a_full_checkpoint().state).decode()
    bomb = "[" * 100_000 + "]" * 100_000
    with pytest.raises(SerializationError, match="nested too deep"):
        check_unique_keys(f'{dumps(a_full_checkpoint()).decode()[:-1]},"x":{bomb}}}', state)
