from __future__ import annotations

import sys
from math import isinf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.assertions import as_read, assert_same, checkpoint_as_read, state_as_read
from tests.serde.nested_values import FREE_VALUE_PATHS, build_checkpoint, nest, values_containing
from tests.strategies import (
    EDGE_FLOATS,
    EDGE_INTEGERS,
    EDGE_TEXTS,
    MAX_COUNTER,
    a_checkpoint,
    a_full_checkpoint,
    an_error_event,
    checkpoints,
    json_floats,
    json_integers,
    json_values,
    states,
    text,
)
from weavegraph_checkpoints import Checkpoint, SerializationError, VersionedState, WeaveError
from weavegraph_checkpoints.serde import dumps, dumps_state, loads, loads_state


def extra_read_back(value: Any) -> Any:
    return loads_state(dumps_state(VersionedState.new(extra={"value": value}))).extra.map["value"]


@given(checkpoint=checkpoints())
@example(checkpoint=a_full_checkpoint())
def test_any_checkpoint_comes_back_equal_in_value_and_type(checkpoint: Checkpoint) -> None:
    data = dumps(checkpoint)
    assert type(data) is bytes
    assert_same(loads(data), checkpoint_as_read(checkpoint))


@given(checkpoint=checkpoints())
def test_saving_what_was_read_writes_the_same_bytes(checkpoint: Checkpoint) -> None:
    data = dumps(checkpoint)
    assert loads(data) == checkpoint_as_read(checkpoint)
    assert dumps(loads(data)) == data


@given(state=states())
def test_any_state_comes_back_equal_in_value_and_type(state: VersionedState) -> None:
    data = dumps_state(state)
    assert type(data) is bytes
    assert_same(loads_state(data), state_as_read(state))


@given(checkpoint=checkpoints())
def test_what_was_written_is_read_as_bytes_and_as_text(checkpoint: Checkpoint) -> None:
    data = dumps(checkpoint)
    assert_same(loads(data.decode()), loads(data))
    state = dumps_state(checkpoint.state)
    assert_same(loads_state(state.decode()), loads_state(state))


@given(value=json_values())
def test_any_json_value_comes_back(value: Any) -> None:
    assert_same(extra_read_back(value), as_read(value))


@pytest.mark.parametrize("place", FREE_VALUE_PATHS)
@given(value_and_keys=values_containing([1, 1.0, True, None, "", {}, []]))
def test_values_come_back_from_every_place(
    place: str, value_and_keys: tuple[Any, list[Any]]
) -> None:
    checkpoint = build_checkpoint(place, value_and_keys[0])
    assert_same(loads(dumps(checkpoint)), checkpoint_as_read(checkpoint))


@given(value=json_floats())
def test_every_finite_float_comes_back_bit_for_bit(value: float) -> None:
    assert_same(extra_read_back(value), value)


@given(value=json_integers())
def test_every_integer_of_up_to_4299_digits_comes_back(value: int) -> None:
    assert_same(extra_read_back(value), value)


@pytest.mark.parametrize(
    "value",
    [*EDGE_FLOATS, sys.float_info.epsilon, 123456789012345680.0, 1e15, 1e17, 9.5367431640625e-07],
)
def test_edges_among_floats_come_back(value: float) -> None:
    assert_same(extra_read_back([value]), [value])


@pytest.mark.parametrize("place", range(len(EDGE_INTEGERS)))
def test_edges_among_integers_come_back(place: int) -> None:
    assert_same(extra_read_back(EDGE_INTEGERS[place]), EDGE_INTEGERS[place])


def test_one_is_told_from_one_point_zero_and_true() -> None:
    value = [1, 1.0, True, 0, 0.0, -0.0, False, None, "1", "true", "null"]
    assert_same(extra_read_back(value), value)


@given(value=text(max_size=100))
def test_any_text_comes_back_as_value_and_as_key(value: str) -> None:
    assert_same(extra_read_back({value: value}), {value: value})


@pytest.mark.parametrize("value", EDGE_TEXTS)
def test_edges_among_texts_come_back(value: str) -> None:
    state = VersionedState.new_with_user_message(value)
    assert_same(loads_state(dumps_state(state)), state)
    assert_same(extra_read_back({value: {value: value}}), {value: {value: value}})


def test_u0000_comes_back_wherever_text_is_free() -> None:
    nul = "a\0b"
    event = an_error_event(
        error=WeaveError(message=nul, details={nul: nul}), context=[nul], tags=[nul]
    )
    state = VersionedState.new(extra={nul: nul, "\0": "\0"}, errors=[event])
    assert_same(loads_state(dumps_state(state)), state)


def test_long_text_comes_back() -> None:
    value = '日本語 \0 \\ " ' * 20_000
    assert_same(extra_read_back(value), value)


def test_a_tuple_is_read_back_as_a_list() -> None:
    assert_same(extra_read_back((1, (2, {"a": ()}))), [1, [2, {"a": []}]])


def test_the_order_of_keys_is_kept() -> None:
    keys = ["b", "a", "", "10", "9", "é", "B"]
    state = VersionedState.new(extra=dict.fromkeys(keys))
    assert list(loads_state(dumps_state(state)).extra.map) == keys
    seen = {key: dict.fromkeys(keys, 1) for key in keys}
    read = loads(dumps(a_checkpoint(versions_seen=seen))).versions_seen
    assert list(read) == keys
    assert list(read["b"]) == keys


@pytest.mark.parametrize("kind", ["list", "tuple", "object", "mixed"])
@pytest.mark.parametrize("place", FREE_VALUE_PATHS)
def test_200_levels_come_back_from_every_place(place: str, kind: str) -> None:
    levels = 199 if "extra" in place else 200
    checkpoint = build_checkpoint(place, nest(levels, kind)[0])
    assert_same(loads(dumps(checkpoint)), checkpoint_as_read(checkpoint))
    state = dumps_state(checkpoint.state)
    assert_same(loads_state(state), state_as_read(checkpoint.state))


def test_200_levels_below_a_chain_of_200_causes_come_back() -> None:
    error = WeaveError(message="root", details=nest(200)[0])
    for _ in range(200):
        error = WeaveError(message="", cause=error)
    checkpoint = a_checkpoint(state=VersionedState.new(errors=[an_error_event(error=error)]))
    assert_same(loads(dumps(checkpoint)), checkpoint)


def test_wide_values_do_not_count_as_levels() -> None:
    value = [[[]] * 1000, {str(key): [key] for key in range(1000)}]
    assert_same(extra_read_back(value), value)


@given(
    digits=st.from_regex(
        r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,40}([eE][+-]?[0-9]{1,3})?", fullmatch=True
    )
)
@example(digits="0.1000000000000000055511151231257827021181583404541015625")
@example(digits="9007199254740992.999999999999999999999999999999999999")
@example(digits="2.4703282292062328e-324")
@example(digits="2.2250738585072011e-308")
@example(digits="1.7976931348623158e308")
def test_floats_that_others_wrote_are_rounded_as_python_rounds_them(digits: str) -> None:
    value = float(digits)
    state = f'{{"messages":{{"version":1}},"extra":{{"version":1,"map":{{"value":{digits}}}}}}}'
    if isinf(value):
        with pytest.raises(SerializationError):
            loads_state(state)
    else:
        assert_same(loads_state(state).extra.map["value"], value)


def test_the_largest_counters_come_back() -> None:
    seen = {"a": {"b": MAX_COUNTER, "c": MAX_COUNTER - 1, "d": 2**63, "e": 2**53 + 1, "f": 0}}
    assert_same(loads(dumps(a_checkpoint(versions_seen=seen))).versions_seen, seen)


def test_the_largest_numbers_of_a_checkpoint_come_back() -> None:
    checkpoint = a_full_checkpoint(step=2**63 - 1, concurrency_limit=2**63 - 1)
    assert_same(loads(dumps(checkpoint)), checkpoint)


def test_nanoseconds_of_an_error_come_back() -> None:
    state = VersionedState.new(errors=[an_error_event(when="1969-12-31T23:59:59.000000001Z")])
    assert loads_state(dumps_state(state)).errors.items[0].when == "1969-12-31T23:59:59.000000001Z"


def test_serialising_leaves_the_values_alone() -> None:
    inner = {"a": (1, [2])}
    state = VersionedState.new(extra={"inner": inner})
    dumps_state(state)
    assert state.extra.map["inner"] is inner
    assert_same(inner, {"a": (1, [2])})
