from __future__ import annotations

import decimal
import fractions
import pathlib
import sys
import uuid
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serde.nested_values import (
    FEWER_EXAMPLES,
    FREE_VALUE_PATHS,
    Key,
    build_checkpoint,
    build_path,
    nest,
    values_containing,
)
from tests.strategies import LONGEST_INTEGER, a_checkpoint, an_error_event
from weavegraph_checkpoints import (
    AppScope,
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    NodeKind,
    NodeScope,
    RunnerScope,
    SchedulerScope,
    SerializationError,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.serde import dumps, dumps_json, dumps_state
from weavegraph_checkpoints.serde.deltas import FoldedState, build_delta

LONE_SURROGATES = ["\ud800", "a\udfff", "\ud83d\ude00", "é\0\udc80"]


class Color(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Integer(int):
    pass


class Real(float):
    pass


class Array(list[Any]):
    pass


class Point(namedtuple("Point", "x y")):
    __slots__ = ()


@dataclass
class Data:
    value: int = 1


class SubMessage(Message, frozen=True, kw_only=True):
    pass


class SubError(WeaveError, frozen=True, kw_only=True):
    pass


class SubScope(AppScope, frozen=True, kw_only=True, tag="app", tag_field="scope"):
    pass


def _generated() -> Iterator[int]:
    yield 1


NOT_JSON: dict[str, Any] = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "4300 digits": LONGEST_INTEGER + 1,
    "minus 4300 digits": -LONGEST_INTEGER - 1,
    "5001 digits": 10**5000,
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "datetime": datetime(2026, 1, 2, tzinfo=UTC),
    "naive datetime": datetime(2026, 1, 2),
    "date": date(2026, 1, 2),
    "time": time(3, 4),
    "timedelta": timedelta(1),
    "Decimal": decimal.Decimal("1.5"),
    "Fraction": fractions.Fraction(1, 2),
    "complex": 1j,
    "set": {1},
    "frozenset": frozenset(),
    "range": range(3),
    "generator": _generated(),
    "UUID": uuid.UUID(int=1),
    "Path": pathlib.PurePosixPath("/tmp"),
    "Enum": Color.RED,
    "IntEnum": Number.ONE,
    "StrEnum": Word.RED,
    "subclass of str": Text("a"),
    "subclass of int": Integer(1),
    "subclass of float": Real(1.0),
    "subclass of list": Array([1]),
    "named tuple": Point(1, 2),
    "OrderedDict": OrderedDict(a=1),
    "defaultdict": defaultdict(int),
    "UserDict": UserDict(a=1),
    "mapping proxy": MappingProxyType({}),
    "dataclass": Data(),
    "struct": Message.user("a"),
    "node": NodeKind.START,
    "object": object(),
    "type": int,
    "function": len,
    "ellipsis": ...,
}
NOT_TEXT_KEYS: dict[str, Any] = {
    "int": 1,
    "bool": True,
    "float": 1.5,
    "None": None,
    "tuple": ("a",),
    "bytes": b"a",
    "IntEnum": Number.ONE,
    "StrEnum": Word.RED,
    "subclass of str": Text("z"),
    "node": NodeKind.START,
    "datetime": datetime(2026, 1, 2, tzinfo=UTC),
}


BASES = [
    FoldedState.from_whole(dumps_state(state))
    for state in (
        VersionedState(),
        VersionedState.new(messages=[Message.user("a"), Message.user("a")]),
        *(build(None) for build in FREE_VALUE_PATHS.values()),
    )
]
"""The bases of deltas: values that are not JSON may equal theirs, or become the same JSON."""


def assert_delta_refused(state: VersionedState, refusal: SerializationError) -> None:
    for base in BASES:
        with pytest.raises(SerializationError) as of_delta:
            build_delta(base, state)
        assert of_delta.value.path == refusal.path
        assert of_delta.value.message == refusal.message


def refused(place: str, value: Any) -> SerializationError:
    """Return how ``dumps`` refuses a value at a place; ``dumps_state`` and deltas agree."""
    checkpoint = build_checkpoint(place, value)
    with pytest.raises(SerializationError) as refusal:
        dumps(checkpoint)
    for root in ("$", "$.state", "$.x[0]"):
        with pytest.raises(SerializationError) as of_state:
            dumps_state(checkpoint.state, path=root)
        assert of_state.value.path == root + refusal.value.path.removeprefix("$.state")
        assert of_state.value.message == refusal.value.message
    assert_delta_refused(checkpoint.state, refusal.value)
    return refusal.value


def path_refused(state: VersionedState) -> str:
    with pytest.raises(SerializationError) as refusal:
        dumps(a_checkpoint(state=state))
    assert_delta_refused(state, refusal.value)
    return refusal.value.path


@pytest.mark.parametrize("place", FREE_VALUE_PATHS)
@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_refused_at_every_place(place: str, name: str) -> None:
    refusal = refused(place, NOT_JSON[name])
    assert refusal.path == f"$.state{place}"
    assert isinstance(refusal, ValueError)


@pytest.mark.parametrize("name", NOT_JSON)
@FEWER_EXAMPLES
@given(data=st.data(), place=st.sampled_from(list(FREE_VALUE_PATHS)))
def test_what_is_not_json_is_refused_at_any_depth(
    name: str, data: st.DataObject, place: str
) -> None:
    value, keys = data.draw(values_containing(NOT_JSON[name]))
    assert refused(place, value).path == build_path(f"$.state{place}", keys)


@pytest.mark.parametrize("name", NOT_TEXT_KEYS)
@FEWER_EXAMPLES
@given(data=st.data(), place=st.sampled_from(list(FREE_VALUE_PATHS)))
def test_keys_that_are_not_text_are_refused_by_the_path_of_their_object(
    name: str, data: st.DataObject, place: str
) -> None:
    value, keys = data.draw(values_containing({"a": 1, NOT_TEXT_KEYS[name]: 2, "b": 3}))
    assert refused(place, value).path == build_path(f"$.state{place}", keys)


@pytest.mark.parametrize("lone", LONE_SURROGATES)
@FEWER_EXAMPLES
@given(data=st.data(), place=st.sampled_from(list(FREE_VALUE_PATHS)))
def test_lone_surrogates_in_values_are_refused_at_any_depth(
    lone: str, data: st.DataObject, place: str
) -> None:
    value, keys = data.draw(values_containing(lone))
    assert refused(place, value).path == build_path(f"$.state{place}", keys)


@pytest.mark.parametrize("lone", LONE_SURROGATES)
@FEWER_EXAMPLES
@given(data=st.data(), place=st.sampled_from(list(FREE_VALUE_PATHS)))
def test_lone_surrogates_in_keys_are_refused_by_the_path_of_their_object(
    lone: str, data: st.DataObject, place: str
) -> None:
    value, keys = data.draw(values_containing({"a": 1, lone: {"x": 1}, "b": 3}))
    assert refused(place, value).path == build_path(f"$.state{place}", keys)


@pytest.mark.parametrize("key", [1, None, b"a", Text("z"), *LONE_SURROGATES])
def test_a_bad_key_of_the_extras_is_refused_by_the_path_of_the_map(key: Any) -> None:
    state = VersionedState.new(extra={"a": 1, key: 2})
    assert path_refused(state) == "$.state.extra.map"


@pytest.mark.parametrize("kind", ["list", "tuple", "object", "mixed"])
@pytest.mark.parametrize("place", FREE_VALUE_PATHS)
def test_level_201_is_refused_wherever_it_is(place: str, kind: str) -> None:
    levels = 199 if "extra" in place else 200
    value, keys = nest(levels + 1, kind)
    assert refused(place, value).path == build_path(f"$.state{place}", keys[:-1])


@pytest.mark.parametrize("empty", [[], {}, ()])
def test_an_empty_container_is_a_level_too(empty: Any) -> None:
    value, keys = nest(200, inside=empty)
    place = ".errors.items[1].context"
    assert refused(place, value).path == build_path(f"$.state{place}", keys)


@FEWER_EXAMPLES
@given(
    value_and_keys=values_containing(nest(201, "mixed")[0]),
    place=st.sampled_from(list(FREE_VALUE_PATHS)),
)
def test_deep_nesting_is_refused_at_the_level_that_is_too_deep(
    value_and_keys: tuple[Any, list[Key]], place: str
) -> None:
    value, keys = value_and_keys
    levels = 199 if "extra" in place else 200
    whole_way = [*keys, *nest(201, "mixed")[1]]
    assert refused(place, value).path == build_path(f"$.state{place}", whole_way[:levels])


@pytest.mark.parametrize("place", FREE_VALUE_PATHS)
def test_a_value_that_holds_itself_is_refused(place: str) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "deep" in refused(place, loop).message


def test_far_too_deep_values_are_refused_without_a_recursion_error() -> None:
    assert "deep" in refused(".errors.items[1].context", nest(100_000)[0]).message


def test_the_first_of_several_bad_values_is_named() -> None:
    value = {"a": [0, {"b": 1}], "c": [1, float("nan"), b""], "d": b""}
    assert refused('.extra.map["a b"]', value).path == '$.state.extra.map["a b"].c[1]'


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("plain_Name9", ".plain_Name9"),
        ("9lives", '["9lives"]'),
        ("", '[""]'),
        ("a b", '["a b"]'),
        ("a.b", '["a.b"]'),
        ('quote"', '["quote\\""]'),
        ("é", '["\\u00e9"]'),
        ("\0", '["\\u0000"]'),
        ("new\nline", '["new\\nline"]'),
    ],
)
def test_a_path_writes_names_plainly_and_other_keys_as_json(key: str, written: str) -> None:
    state = VersionedState.new(extra={key: float("nan")})
    assert path_refused(state) == f"$.state.extra.map{written}"


@pytest.mark.parametrize("text", [None, 1, 1.0, True, b"a", ["a"], {}, Text("a"), Word.RED])
@pytest.mark.parametrize("field", ["role", "content"])
def test_the_texts_of_a_message_are_text(field: str, text: Any) -> None:
    fields = {"role": "user", "content": "a"} | {field: text}
    state = VersionedState.new(messages=[Message.user("a"), Message(**fields)])
    assert path_refused(state) == f"$.state.messages.items[1].{field}"


@pytest.mark.parametrize("lone", LONE_SURROGATES)
@pytest.mark.parametrize("field", ["role", "content"])
def test_the_texts_of_a_message_have_no_lone_surrogates(field: str, lone: str) -> None:
    fields = {"role": "user", "content": "a"} | {field: lone}
    state = VersionedState.new(messages=[Message.user("a"), Message(**fields)])
    assert path_refused(state) == f"$.state.messages.items[1].{field}"


@pytest.mark.parametrize(
    "message",
    [None, "a", {"role": "user", "content": "a"}, SubMessage(role="user", content="a"), Message],
)
def test_a_message_is_a_message(message: Any) -> None:
    state = VersionedState.new(messages=[Message.user("a"), message])
    assert path_refused(state) == "$.state.messages.items[1]"


@pytest.mark.parametrize("event", [None, "a", {"error": {"message": "a"}}, WeaveError(message="a")])
def test_an_error_event_is_an_error_event(event: Any) -> None:
    state = VersionedState.new(errors=[an_error_event(), event])
    assert path_refused(state) == "$.state.errors.items[1]"


@pytest.mark.parametrize(
    "scope", [None, "app", {"scope": "app"}, AppScope, SubScope(), Message.user("a")]
)
def test_a_scope_is_one_of_the_four(scope: Any) -> None:
    state = VersionedState.new(errors=[an_error_event(scope=scope)])
    assert path_refused(state) == "$.state.errors.items[0].scope"


@pytest.mark.parametrize("step", [-1, 2**64, LONGEST_INTEGER, True, 1.0, "1", None, Number.ONE])
@pytest.mark.parametrize("kind", ["node", "scheduler", "runner"])
def test_the_step_of_a_scope_is_an_integer_from_0_to_2_64(kind: str, step: Any) -> None:
    scopes: dict[str, Any] = {
        "node": NodeScope(kind="a", step=step),
        "scheduler": SchedulerScope(step=step),
        "runner": RunnerScope(session="a", step=step),
    }
    state = VersionedState.new(errors=[an_error_event(scope=scopes[kind])])
    assert path_refused(state) == "$.state.errors.items[0].scope.step"


@pytest.mark.parametrize("text", [None, 1, b"a", Text("a"), NodeKind.START, *LONE_SURROGATES])
def test_the_texts_of_a_scope_are_text(text: Any) -> None:
    node = VersionedState.new(errors=[an_error_event(scope=NodeScope(kind=text, step=1))])
    assert path_refused(node) == "$.state.errors.items[0].scope.kind"
    runner = VersionedState.new(errors=[an_error_event(scope=RunnerScope(session=text, step=1))])
    assert path_refused(runner) == "$.state.errors.items[0].scope.session"


@pytest.mark.parametrize("tag", [None, 1, b"a", ["a"], Text("a"), Word.RED, *LONE_SURROGATES])
def test_tags_are_text(tag: Any) -> None:
    state = VersionedState.new(errors=[an_error_event(tags=["a", tag])])
    assert path_refused(state) == "$.state.errors.items[0].tags[1]"


@pytest.mark.parametrize(
    "error", [None, "a", {"message": "a"}, SubError(message="a"), ValueError()]
)
def test_an_error_and_its_causes_are_errors(error: Any) -> None:
    if error is not None:
        cause = WeaveError(message="", cause=WeaveError(message="", cause=error))
        state = VersionedState.new(errors=[an_error_event(error=cause)])
        assert path_refused(state) == "$.state.errors.items[0].error.cause.cause"
    state = VersionedState.new(errors=[an_error_event(error=error)])
    assert path_refused(state) == "$.state.errors.items[0].error"


@pytest.mark.parametrize("message", [None, 1, b"a", Text("a"), *LONE_SURROGATES])
def test_the_messages_of_an_error_and_its_causes_are_text(message: Any) -> None:
    bad = WeaveError(message=message)
    state = VersionedState.new(errors=[an_error_event(error=bad)])
    assert path_refused(state) == "$.state.errors.items[0].error.message"
    state = VersionedState.new(errors=[an_error_event(error=WeaveError(message="", cause=bad))])
    assert path_refused(state) == "$.state.errors.items[0].error.cause.message"


def test_a_chain_of_more_than_200_causes_is_refused() -> None:
    error = WeaveError(message="root")
    for _ in range(201):
        error = WeaveError(message="", cause=error)
    state = VersionedState.new(errors=[an_error_event(error=error)])
    assert path_refused(state) == "$.state.errors.items[0].error" + ".cause" * 201


@pytest.mark.parametrize("channel", ["messages", "extra", "errors"])
@pytest.mark.parametrize("value", [None, {}, (), "a", VersionedState()])
def test_a_channel_is_a_channel(channel: str, value: Any) -> None:
    state = VersionedState(**{channel: value})
    assert path_refused(state) == f"$.state.{channel}"


def test_the_channels_do_not_stand_for_each_other() -> None:
    assert path_refused(VersionedState(messages=ErrorsChannel())) == "$.state.messages"  # type: ignore[arg-type]
    assert path_refused(VersionedState(extra=MessagesChannel())) == "$.state.extra"  # type: ignore[arg-type]
    assert path_refused(VersionedState(errors=ExtrasChannel())) == "$.state.errors"  # type: ignore[arg-type]


def test_values_put_in_after_construction_are_refused_too() -> None:
    state = VersionedState.new(extra={"a": []})
    state.extra.map["a"].append(float("nan"))
    assert path_refused(state) == "$.state.extra.map.a[0]"


def test_a_lower_limit_of_the_interpreter_on_integers_is_a_serialization_error() -> None:
    state = VersionedState.new(extra={"a": LONGEST_INTEGER // 10})
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(SerializationError, match="640 digits"):
            dumps_state(state)
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("name", NOT_JSON)
def test_any_document_refuses_what_is_not_json(name: str) -> None:
    with pytest.raises(SerializationError) as refusal:
        dumps_json({"a": [0, NOT_JSON[name]]})
    assert refusal.value.path == "$.a[1]"
