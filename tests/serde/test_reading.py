from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.assertions import assert_same
from tests.serde.nested_values import FEWER_EXAMPLES, Key, build_path, nest, values_containing
from tests.strategies import LONGEST_INTEGER, a_checkpoint, a_full_checkpoint, json_values
from weavegraph_checkpoints import (
    AppScope,
    Checkpoint,
    ErrorsChannel,
    ExtrasChannel,
    MessagesChannel,
    NodeKind,
    NodeScope,
    SerializationError,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.serde import dumps, dumps_state, loads, loads_json, loads_state

DOCUMENT: dict[str, Any] = json.loads(dumps(a_full_checkpoint()))
EVENT = ("state", "errors", "items", 0)
FREE = {("state", "extra", "map"), (*EVENT, "context"), (*EVENT, "error", "cause", "details")}
FREE_NAMES = {"context", "details"}
SAMPLES: dict[str, list[Any]] = {
    "null": [None],
    "bool": [True, False],
    "int": [0, 7, -1, 2**70],
    "float": [1.0, 0.5, -0.0],
    "str": ["", "1", "text"],
    "array": [[], [1]],
    "object": [{}, {"a": 1}],
}
TYPE_NAMES = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "array",
    dict: "object",
}
BAD_NUMBERS = {
    "1e400": "1e400",
    "-1e400": "-1e400",
    "1E+309": "1E+309",
    "huge exponent": "1e99999999999999999999",
    "4300 digits": str(LONGEST_INTEGER) + "0",
    "minus 4300 digits": f"-{LONGEST_INTEGER}0",
    "9000 digits": "9" * 9000,
}


def locations(value: Any, keys: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], Any]]:
    """Yield every place whose type is fixed, and what stands there."""
    yield keys, value
    if keys in FREE or not isinstance(value, dict | list):
        return
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in entries:
        if key not in FREE_NAMES:
            yield from locations(item, (*keys, key))


LOCATIONS = list(locations(DOCUMENT))
OBJECTS = [
    keys
    for keys, value in LOCATIONS
    if isinstance(value, dict) and keys not in FREE and keys[:1] != ("versions_seen",)
]


def path_id(keys: Sequence[Key]) -> str:
    return build_path("$", keys)


def with_value(keys: Sequence[Key], value: Any) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(DOCUMENT)
    parent: Any = document
    for key in keys[:-1]:
        parent = parent[key]
    parent[keys[-1]] = value
    return document


def without(*keys: Key) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(DOCUMENT)
    parent: Any = document
    for key in keys[:-1]:
        parent = parent[key]
    del parent[keys[-1]]
    return document


def turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def refused(data: Any) -> SerializationError:
    with pytest.raises(SerializationError) as refusal:
        loads(data)
    assert isinstance(refusal.value, ValueError)
    return refusal.value


def path_refused(document: Any) -> str:
    path = refused(json.dumps(document)).path
    assert refused(json.dumps(document).encode()).path == path
    return path


def test_the_full_document_is_read() -> None:
    assert_same(loads(json.dumps(DOCUMENT)), a_full_checkpoint())


def test_the_order_of_keys_does_not_matter() -> None:
    assert loads(json.dumps(DOCUMENT, sort_keys=True)) == a_full_checkpoint()
    assert loads(json.dumps(turned(DOCUMENT))) == a_full_checkpoint()


def test_white_space_does_not_matter() -> None:
    spaced = "\n\t " + json.dumps(DOCUMENT, indent="\t\r ") + " \r\n"
    assert loads(spaced) == a_full_checkpoint()


def test_escapes_do_not_matter() -> None:
    assert loads(json.dumps(DOCUMENT, ensure_ascii=True)) == a_full_checkpoint()
    assert loads(json.dumps(DOCUMENT, ensure_ascii=False)) == a_full_checkpoint()


@pytest.mark.parametrize(
    ("keys", "value"), LOCATIONS[1:], ids=[build_path("$", keys) for keys, _ in LOCATIONS[1:]]
)
def test_a_wrong_type_anywhere_is_named_by_its_path(keys: tuple[Key, ...], value: Any) -> None:
    right = {TYPE_NAMES[type(value)]} | ({"null"} if keys[-1] == "cause" else set())
    for name, samples in SAMPLES.items():
        for sample in samples:
            if name not in right:
                assert path_refused(with_value(keys, sample)) == build_path("$", keys)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "object"])
def test_a_document_that_is_no_object_is_refused(name: str) -> None:
    for sample in SAMPLES[name]:
        assert path_refused(sample) == "$"


@pytest.mark.parametrize(
    ("keys", "maximum"),
    [
        (("step",), 2**63 - 1),
        (("concurrency_limit",), 2**63 - 1),
        (("state", "messages", "version"), 2**32 - 1),
        (("state", "extra", "version"), 2**32 - 1),
        (("state", "errors", "version"), 2**32 - 1),
        ((*EVENT, "scope", "step"), 2**64 - 1),
        (("versions_seen", "p q", "z"), 2**64 - 1),
    ],
)
def test_an_integer_outside_its_range_is_named_by_its_path(
    keys: tuple[Key, ...], maximum: int
) -> None:
    for edge in (0, maximum):
        assert isinstance(loads(json.dumps(with_value(keys, edge))), Checkpoint)
    for beyond in (-1, maximum + 1, LONGEST_INTEGER):
        assert path_refused(with_value(keys, beyond)) == build_path("$", keys)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("session_id",), ""),
        (("session_id",), "x" * 256),
        (("session_id",), "\0"),
        (("frontier", 1), "a\0"),
        (("ran_nodes", 0), "\0"),
        (("skipped_nodes", 1), "\0"),
        (("updated_channels", 1), "\0"),
        ((*EVENT, "when"), "yesterday"),
        ((*EVENT, "when"), "2026-01-02T03:04:05"),
        (("created_at",), "yesterday"),
        (("created_at",), "2026-01-02T03:04:05"),
        ((*EVENT, "scope", "scope"), "planet"),
    ],
)
def test_a_text_outside_its_range_is_named_by_its_path(keys: tuple[Key, ...], value: str) -> None:
    assert path_refused(with_value(keys, value)) == build_path("$", keys)


def test_u0000_in_the_keys_of_versions_seen_is_refused() -> None:
    assert path_refused(with_value(("versions_seen",), {"\0": {}})) == "$.versions_seen"
    assert path_refused(with_value(("versions_seen", "p q"), {"\0": 1})) == '$.versions_seen["p q"]'


@pytest.mark.parametrize(
    "keys",
    [
        ("session_id",),
        ("step",),
        ("state",),
        ("frontier",),
        ("state", "messages"),
        ("state", "extra"),
        ("state", "messages", "version"),
        ("state", "extra", "version"),
        ("state", "errors", "version"),
        ("state", "messages", "items", 1, "role"),
        ("state", "messages", "items", 1, "content"),
        (*EVENT, "error"),
        (*EVENT, "error", "message"),
        (*EVENT, "error", "cause", "message"),
        (*EVENT, "scope", "scope"),
        (*EVENT, "scope", "kind"),
        (*EVENT, "scope", "step"),
        ("state", "errors", "items", 1, "scope", "step"),
        ("state", "errors", "items", 2, "scope", "session"),
        ("state", "errors", "items", 2, "scope", "step"),
    ],
    ids=path_id,
)
def test_what_may_not_be_missing_is_named_by_its_path(keys: tuple[Key, ...]) -> None:
    assert path_refused(without(*keys)) == build_path("$", keys)


def test_of_a_checkpoint_four_fields_suffice() -> None:
    before = datetime.now(UTC)
    checkpoint = loads(
        '{"session_id":"run","step":1,"frontier":["End"],'
        '"state":{"messages":{"version":2},"extra":{"version":3}}}'
    )
    assert before <= checkpoint.created_at <= datetime.now(UTC)
    assert checkpoint == Checkpoint(
        session_id="run",
        step=1,
        frontier=["End"],
        state=VersionedState(
            messages=MessagesChannel(version=2),
            extra=ExtrasChannel(version=3),
            errors=ErrorsChannel(version=1),
        ),
        versions_seen={},
        concurrency_limit=1,
        created_at=checkpoint.created_at,
        ran_nodes=[],
        skipped_nodes=[],
        updated_channels=[],
    )


def test_documents_do_not_share_what_was_missing() -> None:
    short = json.dumps(without("versions_seen"))
    loads(short).versions_seen["a"] = {}
    assert loads(short).versions_seen == {}
    short = json.dumps(without("state", "extra", "map"))
    loads(short).state.extra.map["a"] = 1
    assert loads(short).state.extra.map == {}


@pytest.mark.parametrize(
    ("channel", "field"), [("messages", "items"), ("extra", "map"), ("errors", "items")]
)
def test_items_and_map_may_be_missing(channel: str, field: str) -> None:
    read = getattr(loads(json.dumps(without("state", channel, field))).state, channel)
    assert read.version == DOCUMENT["state"][channel]["version"]
    assert len(getattr(read, field)) == 0


def test_the_errors_may_be_missing() -> None:
    assert loads(json.dumps(without("state", "errors"))).state.errors == ErrorsChannel(version=1)


@pytest.mark.parametrize("channel", ["messages", "extra", "errors"])
def test_version_0_is_a_version(channel: str) -> None:
    keys = ("state", channel, "version")
    assert getattr(loads(json.dumps(with_value(keys, 0))).state, channel).version == 0


def test_of_an_error_event_the_error_and_its_message_suffice() -> None:
    document = json.dumps(with_value(EVENT, {"error": {"message": "boom"}}))
    event = loads(document).state.errors.items[0]
    assert event.error == WeaveError(message="boom", cause=None, details=None)
    assert event.scope == AppScope()
    assert event.tags == ()
    assert event.context is None
    assert event.when == "1970-01-01T00:00:00Z"
    assert loads(document) == loads(document)


def test_a_cause_may_be_null() -> None:
    event = loads(json.dumps(with_value((*EVENT, "error", "cause"), None))).state.errors.items[0]
    assert event.error.cause is None


def test_a_time_of_any_offset_is_read_in_utc() -> None:
    document = with_value(("created_at",), "2026-01-02T03:04:05.5+02:00")
    created_at = loads(json.dumps(document)).created_at
    assert created_at == datetime(2026, 1, 2, 1, 4, 5, 500_000, tzinfo=UTC)
    assert created_at.tzinfo is UTC


def test_nanoseconds_of_created_at_are_cut_to_microseconds() -> None:
    document = with_value(("created_at",), "2026-01-02T03:04:05.123456789Z")
    assert loads(json.dumps(document)).created_at.microsecond == 123_456


@pytest.mark.parametrize("keys", OBJECTS, ids=path_id)
@FEWER_EXAMPLES
@given(value=json_values(tuples=False))
def test_unknown_keys_are_ignored_everywhere(keys: tuple[Key, ...], value: Any) -> None:
    assert loads(json.dumps(with_value((*keys, "unknown"), value))) == a_full_checkpoint()


def test_keys_are_read_exactly() -> None:
    assert path_refused(without("step") | {"Step": 1, "step ": 1}) == "$.step"


def test_a_scope_ignores_the_keys_of_other_scopes() -> None:
    scope = {"session": "x", "kind": "a", "step": 1, "scope": "node"}
    event = loads(json.dumps(with_value((*EVENT, "scope"), scope))).state.errors.items[0]
    assert event.scope == NodeScope(kind="a", step=1)


def test_unknown_nodes_are_custom_nodes() -> None:
    nodes = loads(json.dumps(with_value(("frontier",), ["plan", "", "start"]))).frontier
    assert [node.encode() for node in nodes] == ["Custom:plan", "Custom:", "Custom:start"]


@pytest.mark.parametrize("name", BAD_NUMBERS)
@pytest.mark.parametrize("keys", [*FREE, (*EVENT, "error", "details")], ids=path_id)
@FEWER_EXAMPLES
@given(data=st.data())
def test_numbers_that_cannot_be_held_are_named_by_their_path(
    name: str, keys: tuple[Key, ...], data: st.DataObject
) -> None:
    value, below = data.draw(values_containing("@bad@", tuples=False))
    value, below = {"a b": [0, value]}, ["a b", 1, *below]
    text = json.dumps(with_value(keys, value)).replace('"@bad@"', BAD_NUMBERS[name])
    assert refused(text).path == build_path("$", [*keys, *below])
    assert refused(text.encode()).path == build_path("$", [*keys, *below])


def test_a_long_integer_that_can_be_held_is_not_taken_for_one_that_cannot() -> None:
    value = {"a": -LONGEST_INTEGER, "b": LONGEST_INTEGER, "c": "@bad@"}
    text = json.dumps(with_value(("state", "extra", "map"), value)).replace('"@bad@"', "1e400")
    assert refused(text).path == "$.state.extra.map.c"


def test_the_first_of_several_bad_numbers_is_named() -> None:
    value = {"a": 1.5, "b": {"c": "@bad@"}, "d": "@bad@"}
    text = json.dumps(with_value((*EVENT, "context"), value)).replace('"@bad@"', "-1e999")
    assert refused(text).path == "$.state.errors.items[0].context.b.c"


@pytest.mark.parametrize("keys", [*FREE, (*EVENT, "error", "details")], ids=path_id)
@pytest.mark.parametrize("kind", ["list", "object", "mixed"])
def test_level_201_is_refused_on_reading_too(keys: tuple[Key, ...], kind: str) -> None:
    outer = {"k": "@deep@"} if keys[-1] == "map" else ["@deep@"]
    for levels in (200, 201):
        value, below = nest(levels - 1, kind)
        text = json.dumps(with_value(keys, outer)).replace('"@deep@"', json.dumps(value))
        if levels == 200:
            assert isinstance(loads(text), Checkpoint)
        else:
            first: Key = "k" if keys[-1] == "map" else 0
            assert refused(text).path == build_path("$", [*keys, first, *below[:-1]])


def test_a_chain_of_more_than_200_causes_is_refused_on_reading_too() -> None:
    error: dict[str, Any] = {"message": ""}
    for _ in range(200):
        error = {"message": "", "cause": error}
    assert isinstance(loads(json.dumps(with_value((*EVENT, "error"), error))), Checkpoint)
    error = {"message": "", "cause": error}
    expected = build_path("$", [*EVENT, "error"]) + ".cause" * 201
    assert path_refused(with_value((*EVENT, "error"), error)) == expected


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("closing", ["", "]"])
@pytest.mark.parametrize(
    "around",
    [
        "@",
        '{"unknown":@',
        '{"state":{"messages":@',
        '{"state":{"messages":{"version":1},"extra":{"version":1,"map":{"a":@',
        '{"state":{"errors":{"version":1,"items":[{"context":@',
        '{"versions_seen":{"a":{"b":"x","c":@',
    ],
)
def test_recursion_bombs_are_refused(opening: str, closing: str, around: str) -> None:
    bomb = around.replace("@", opening * 100_000 + closing * 100_000)
    assert refused(bomb).path.startswith("$")
    assert refused(bomb.encode()).path.startswith("$")


def test_a_bomb_of_causes_is_refused() -> None:
    text = json.dumps(with_value((*EVENT, "error", "cause"), "@bomb@"))
    bomb = '{"message":"","cause":' * 50_000 + "null" + "}" * 50_000
    assert refused(text.replace('"@bomb@"', bomb)).message == "nested too deep"


@pytest.mark.parametrize(
    "data", ["", " ", "{", "}", '{"session_id"', "{} {}", "\ufeff{}", "null x"]
)
def test_malformed_documents_are_refused(data: str) -> None:
    assert refused(data).path.startswith("$")
    assert refused(data.encode()).path.startswith("$")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "-",
        ".5",
        "1.",
        "1e",
        "+1",
        "0x10",
        "1_000",
        "'a'",
        '"a',
        "[1,]",
        "[1 2]",
        '{"a":1,}',
        '{"a" 1}',
        "{a:1}",
        "{1:1}",
        '"\x01"',
        '"\n"',
        '"\\x41"',
        '"\\u12"',
        '"\\ud800"',
        '"\\ud800x"',
        '"\\udc00"',
        '"\\udc00\\ud800"',
        '{"\\ud800":1}',
        "1 // one",
        "/* one */ 1",
    ],
)
def test_malformed_values_are_refused(value: str) -> None:
    for keys in [("unknown",), (*EVENT, "context"), ("state", "extra", "map")]:
        text = json.dumps(with_value(keys, "@bad@")).replace('"@bad@"', value)
        assert refused(text).path.startswith("$")
        assert refused(text.encode()).path.startswith("$")


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]
)
@pytest.mark.parametrize(
    "spot", ['"session"', '"gone', '"a b"', '"p q"', '"Start"', '"unknown"', '"also unknown"']
)
def test_bad_utf_8_is_refused_anywhere(bad: bytes, spot: str) -> None:
    text = json.dumps(DOCUMENT | {"unknown": "also unknown"})
    assert spot in text
    refusal = refused(text.encode().replace(spot.encode(), b'"' + bad + spot[1:].encode()))
    assert refusal.path == "$"
    assert refusal.message.startswith("not valid UTF-8")


def test_lone_surrogates_in_text_are_refused() -> None:
    assert refused(json.dumps(DOCUMENT, ensure_ascii=False).replace("go", "\ud800")).path == "$"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_other_encodings_are_refused(encoding: str) -> None:
    refused(json.dumps(DOCUMENT).encode(encoding))


def test_every_truncation_is_refused() -> None:
    data = dumps(a_full_checkpoint())
    for end in range(len(data)):
        refused(data[:end])


@pytest.mark.parametrize("data", [None, 1, 1.5, [], {}, object()])
def test_what_is_neither_bytes_nor_text_is_refused(data: Any) -> None:
    assert refused(data).path == "$"


def read_or_refused(data: bytes | str) -> None:
    try:
        checkpoint = loads(data)
    except SerializationError as error:
        assert error.path.startswith("$")
    else:
        assert loads(dumps(checkpoint)) == checkpoint


@given(data=st.binary(max_size=200) | st.text(max_size=200))
def test_arbitrary_bytes_and_text_are_read_or_refused(data: bytes | str) -> None:
    read_or_refused(data)


@given(value=json_values(tuples=False))
def test_any_json_value_is_read_or_refused(value: Any) -> None:
    read_or_refused(json.dumps(value))


@given(entry=st.sampled_from(LOCATIONS[1:]), value=json_values(tuples=False))
def test_any_json_value_anywhere_is_read_or_refused(
    entry: tuple[tuple[Key, ...], Any], value: Any
) -> None:
    read_or_refused(json.dumps(with_value(entry[0], value)))


@given(start=st.integers(0, 2000), length=st.integers(0, 20), patch=st.binary(max_size=20))
def test_a_damaged_document_is_read_or_refused(start: int, length: int, patch: bytes) -> None:
    data = dumps(a_full_checkpoint())
    start %= len(data)
    read_or_refused(data[:start] + patch + data[start + length :])


def test_damage_after_a_wrong_type_leaves_a_path() -> None:
    text = json.dumps(with_value(("versions_seen", "p q", "z"), "x"))
    assert refused(text[:-1]).path.startswith("$.versions_seen")


def test_a_wrong_type_under_a_key_given_twice_leaves_a_path() -> None:
    text = json.dumps(DOCUMENT)[:-1] + ',"versions_seen":{"a":{"b":"x"}},"versions_seen":{}}'
    assert refused(text).path.startswith("$.versions_seen")


def test_the_last_value_of_a_duplicate_key_wins() -> None:
    text = json.dumps(DOCUMENT | {"step": 1, "frontier": ["Start"], "versions_seen": {}})
    text = text.replace('"step": 1', '"step": 7, "step": 1').replace(
        '"versions_seen": {}', '"versions_seen": {"n": {"c": 1, "c": 2}, "m": {}, "n": {"c": 3}}'
    )
    read = loads(f'{text[:-1]}, "frontier": ["End"]}}')
    assert (read.step, read.frontier) == (1, (NodeKind.END,))
    assert read.versions_seen == {"n": {"c": 3}, "m": {}}


def test_the_last_value_of_a_duplicate_key_wins_in_free_values() -> None:
    text = dumps_state(VersionedState.new(extra={"key": 0})).decode()
    twice = text.replace('"key":0', '"key":0,"b":{"c":[1],"c":{}},"\\u006bey":1')
    state = loads_state(twice)
    assert_same(state.extra.map, {"key": 1, "b": {"c": {}}})
    assert dumps_state(loads_state(dumps_state(state))) == dumps_state(state)
    assert_same(loads_json('{"a":1,"a":{"b":2,"b":3}}'), {"a": {"b": 3}})


def test_a_state_is_read_by_itself() -> None:
    text = json.dumps(DOCUMENT["state"])
    assert_same(loads_state(text), a_full_checkpoint().state)
    assert_same(loads_state(text.encode()), a_full_checkpoint().state)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[]", "$"),
        ("{}", "$.messages"),
        ('{"messages":{"version":1}}', "$.extra"),
        ('{"messages":{},"extra":{"version":1}}', "$.messages.version"),
        ('{"messages":{"version":1},"extra":{"version":1,"map":[]}}', "$.extra.map"),
        ('{"messages":{"version":1,"items":[{"role":1}]}}', "$.messages.items[0].role"),
        (
            '{"messages":{"version":1},"extra":{"version":1,"map":{"a b":[0,1e400]}}}',
            '$.extra.map["a b"][1]',
        ),
        (
            '{"messages":{"version":1},"extra":{"version":1,"map":{"a":@}}}'.replace(
                "@", "[" * 200 + "]" * 200
            ),
            "$.extra.map.a" + "[0]" * 199,
        ),
        ("nonsense", "$"),
    ],
)
def test_the_paths_in_a_state_start_at_the_state(text: str, path: str) -> None:
    with pytest.raises(SerializationError) as refusal:
        loads_state(text)
    assert refusal.value.path == path


def test_a_lower_limit_of_the_interpreter_on_integers_is_a_serialization_error() -> None:
    text = json.dumps(with_value((*EVENT, "context"), [int("9" * 700)]))
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        refused(text)
    finally:
        sys.set_int_max_str_digits(before)


def test_a_step_that_was_read_can_be_saved_again() -> None:
    assert dumps(loads(dumps(a_checkpoint()))) == dumps(a_checkpoint())
