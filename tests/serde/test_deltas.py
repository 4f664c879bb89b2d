from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serde.nested_values import FREE_VALUE_PATHS, nest
from tests.serde.state_edits import edited_states, large_states
from tests.strategies import EDGE_FLOATS, EDGE_INTEGERS, EDGE_TEXTS, states
from weavegraph_checkpoints import Message, SerializationError, VersionedState
from weavegraph_checkpoints.serde import dumps_state, loads_state
from weavegraph_checkpoints.serde.deltas import (
    FoldedState,
    build_delta,
    build_empty_delta,
    fold,
    is_delta,
)
from weavegraph_checkpoints.serde.deltas.maps import MAX_INNER_KEYS

MORE_EXAMPLES = settings(max_examples=4 * settings().max_examples)


def assert_comes_back(base: VersionedState, state: VersionedState) -> bytes:
    """Fail unless the delta gives back the bytes and the length of the state; return it."""
    whole = dumps_state(state)
    root = FoldedState.from_whole(dumps_state(base))
    delta = build_delta(root, state)
    assert is_delta(delta.document)
    assert is_delta(delta.document.decode())
    assert not is_delta(whole)
    assert not is_delta(whole.decode())
    assert delta.state_bytes == len(whole)
    assert dumps_state(root.to_state(delta.document)) == whole
    assert dumps_state(root.to_state(delta.document.decode())) == whole
    folded = root.apply(delta.document)
    assert dumps_state(folded.to_state()) == whole
    assert folded.state_bytes == len(whole)
    assert dumps_state(root.to_state()) == dumps_state(base)
    return delta.document


def delta_of(base: VersionedState, state: VersionedState) -> Any:
    return json.loads(assert_comes_back(base, state))


@given(base=states(), state=states())
def test_any_state_comes_back_from_any_base(base: VersionedState, state: VersionedState) -> None:
    assert_comes_back(base, state)


@MORE_EXAMPLES
@given(data=st.data(), base=large_states())
def test_an_edited_state_comes_back(data: st.DataObject, base: VersionedState) -> None:
    assert_comes_back(base, data.draw(edited_states(base)))


@given(data=st.data(), base=large_states())
def test_an_edited_state_that_shares_messages_with_its_base_comes_back(
    data: st.DataObject, base: VersionedState
) -> None:
    root = FoldedState.from_whole(dumps_state(base))
    state = data.draw(edited_states(root.to_state()))
    delta = build_delta(root, state)
    assert dumps_state(root.to_state(delta.document)) == dumps_state(state)
    assert delta.state_bytes == len(dumps_state(state))
    # Telling apart may replace messages of the base with equal ones, and nothing else.
    assert dumps_state(root.to_state()) == dumps_state(base)
    assert build_delta(root, state) == delta


@given(data=st.data(), base=large_states(), links=st.integers(1, 6))
def test_folding_link_by_link_equals_folding_at_once(
    data: st.DataObject, base: VersionedState, links: int
) -> None:
    root = dumps_state(base)
    folded = FoldedState.from_whole(root)
    state = base
    documents = []
    for _ in range(links):
        state = data.draw(edited_states(state))
        document = build_delta(folded, state).document
        documents.append(document)
        folded = folded.apply(document)
    whole = dumps_state(state)
    at_once = fold(root, documents)
    half = fold(fold(root, documents[: links // 2]), documents[links // 2 :])
    for result in (folded, at_once, half):
        assert dumps_state(result.to_state()) == whole
        assert result.state_bytes == len(whole)
        assert result.extra == folded.extra
        assert list(result.extra) == list(folded.extra)
        assert result.document_bytes == len(root) + sum(map(len, documents))


@pytest.mark.parametrize(
    "values",
    [
        [1, 1.0, True, "1"],
        [0, -0.0, 0.0, False],
        [None, False, "", [], {}, 0],
        EDGE_FLOATS,
        EDGE_INTEGERS,
        EDGE_TEXTS,
        [["x" * 200, 1], ["x" * 200, 1.0], ["x" * 200, True]],
        [{"a": "x" * 200, "n": 1}, {"a": "x" * 200, "n": 1.0}, {"n": 1.0, "a": "x" * 200}],
    ],
    ids=lambda values: repr(values)[:30],
)
def test_values_that_python_calls_equal_are_told_apart(values: list[Any]) -> None:
    for old in values:
        for new in values:
            assert_comes_back(
                VersionedState.new(extra={"value": old}), VersionedState.new(extra={"value": new})
            )


@pytest.mark.parametrize("place", FREE_VALUE_PATHS)
def test_200_levels_come_back_as_changes(place: str) -> None:
    for kind in ("list", "object", "mixed"):
        value = nest(198 if "extra" in place else 199, kind, inside=["x" * 100, 1])[0]
        other = nest(198 if "extra" in place else 199, kind, inside=["x" * 100, 2])[0]
        assert_comes_back(FREE_VALUE_PATHS[place](value), FREE_VALUE_PATHS[place](other))


def test_a_tuple_equals_the_list_that_was_read() -> None:
    base = VersionedState.new(extra={"value": [["x" * 80]] * 3})
    state = VersionedState.new(extra={"value": (("x" * 80,),) * 3})
    assert delta_of(base, state)["extra"] == {"version": 1}


def test_a_delta_has_the_structure_of_a_state() -> None:
    base = VersionedState.new(messages=[Message.user("a"), Message.user("b")])
    state = VersionedState.new(
        messages=[*base.messages.items, Message.user("c")], extra={"step": 1}
    )
    assert delta_of(base, state) == {
        "messages": {"version": 1, "items": [[0, 2], {"role": "user", "content": "c"}]},
        "extra": {"version": 1, "map": {"step": 1}},
        "errors": {"version": 1, "items": [[0, 0]]},
    }


@given(state=large_states())
def test_the_empty_delta_is_the_delta_of_the_base_itself(state: VersionedState) -> None:
    root = FoldedState.from_whole(dumps_state(state))
    assert build_empty_delta(root) == build_delta(root, state).document


def numbered(*numbers: int) -> list[Message]:
    return [Message.user(f"message {number}") for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        (range(100), [[0, 100]]),
        (range(50), [[0, 50]]),
        (range(7, 100), [[7, 100]]),
        ((), [[0, 0]]),
        ((100, 101), [[0, 0], 100, 101]),
        ((*range(9, 100), 100), [[9, 100], 100]),
        ((100, *range(60, 100)), [[0, 0], 100, [60, 100]]),
        ((*range(40), 100, *range(41, 100)), [[0, 40], 100, [41, 100]]),
        ((*range(50, 100), *range(50)), [[50, 100], [0, 50]]),
        ((*range(5), *range(6, 100), 5), [[0, 5], [6, 100], [5, 6]]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_messages_of_a_delta_are_what_changed(numbers: Any, runs: list[Any]) -> None:
    base = VersionedState.new(messages=numbered(*range(100)))
    items = delta_of(base, VersionedState.new(messages=numbered(*numbers)))["messages"]["items"]
    assert items == [
        run if isinstance(run, list) else {"role": "user", "content": f"message {run}"}
        for run in runs
    ]


def test_a_growing_list_is_spliced() -> None:
    log = [{"n": number} for number in range(100)]
    base = VersionedState.new(extra={"log": log})
    state = VersionedState.new(extra={"log": [*log, {"n": 100}]})
    length = len(json.dumps(log, separators=(",", ":")))
    extra = delta_of(base, state)["extra"]
    assert extra == {"version": 1, "splice": {"log": [length - 1, 1, ',{"n":100}']}}


def test_an_object_is_changed_by_member() -> None:
    base = {"a": "x" * 200, "n": 1, "old": 2, "deep": {"b": "y" * 200, "n": 1}}
    state = {"a": "x" * 200, "n": 2, "deep": {"b": "y" * 200, "n": 2}, "new": 3}
    extra = delta_of(
        VersionedState.new(extra={"value": base}), VersionedState.new(extra={"value": state})
    )["extra"]
    assert extra["inner"]["value"] == {
        "inner": {"deep": {"map": {"n": 2}}},
        "map": {"n": 2},
        "add": {"new": 3},
        "drop": ["old"],
    }


@pytest.mark.parametrize("members", [{}, {"a": "x" * 200}, {"a": "x" * 200, "b": {"c": [1.0]}}])
@pytest.mark.parametrize("added", [{"new": 1}, {"": None, "é": {"a": 1}}])
def test_members_are_appended_as_text(members: dict[str, Any], added: dict[str, Any]) -> None:
    base = VersionedState.new(extra={"value": members, "other": "x" * 200})
    state = VersionedState.new(extra={"value": {**members, **added}, "other": "x" * 200})
    if members:
        assert delta_of(base, state)["extra"]["inner"] == {"value": {"add": added}}
    assert_comes_back(base, state)


@pytest.mark.parametrize(("characters", "kind"), [(5, "splice"), (20, "inner")])
def test_an_object_of_very_many_members_is_spliced(characters: int, kind: str) -> None:
    count = MAX_INNER_KEYS + 1 if kind == "splice" else MAX_INNER_KEYS - 1
    members = {str(number): "x" * characters for number in range(count)}
    base = VersionedState.new(extra={"value": members})
    state = VersionedState.new(extra={"value": {**members, "100": "y"}})
    assert kind in delta_of(base, state)["extra"]
    assert_comes_back(base, state)


def test_members_are_appended_to_an_object_without_any() -> None:
    base = FoldedState.from_whole(dumps_state(VersionedState.new(extra={"value": {}})))
    extra = b'{"version":1,"inner":{"value":{"add":{"a":1}}}}'
    delta = (
        b'{"messages":{"version":1,"items":[[0,0]]},"extra":%b,'
        b'"errors":{"version":1,"items":[[0,0]]}}' % extra
    )
    assert base.to_state(delta).extra.map == {"value": {"a": 1}}
    assert base.apply(delta).apply(delta.replace(b'"a"', b'"b"')).to_json() == dumps_state(
        VersionedState.new(extra={"value": {"a": 1, "b": 1}})
    )


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("éa", "èa", "è"),
        ("日", "旦", "旦"),
        ("\n", "\t", "\\t"),
        ("\x01", "\x02", "\\u0002"),
        ("\x01", "\n", "\\n"),
        ("\\n", "\\t", "t"),
        ("\\\\n", "\\\\\n", "\\n"),
        ('"', "\\", "\\\\"),
        ("\x12", "\x02", "\\u0002"),
        ("n", "\n", "\\n"),
    ],
)
def test_texts_are_cut_between_characters_and_escape_sequences(
    old: str, new: str, text: str
) -> None:
    around = "x" * 150
    base = VersionedState.new(extra={"text": around + old + around})
    state = VersionedState.new(extra={"text": around + new + around})
    assert delta_of(base, state)["extra"]["splice"]["text"][2] == text


def test_small_values_are_in_every_delta() -> None:
    extra = {f"key{number:03}": number for number in range(1000)} | {"log": ["x" * 64] * 9}
    delta = delta_of(VersionedState.new(extra=extra), VersionedState.new(extra=extra))
    repeated = delta["extra"]["map"]
    assert list(repeated) == list(extra)[: len(repeated)]
    assert 800 < sum(len(key) + len(str(value)) for key, value in repeated.items()) <= 1024


def test_the_largest_value_that_is_in_every_delta() -> None:
    extra = {"a": "x" * 62, "b": "x" * 63, "c": True}
    delta = delta_of(VersionedState.new(extra=extra), VersionedState.new(extra=extra))
    assert delta["extra"]["map"] == {"a": "x" * 62, "c": True}


def test_messages_are_shared_and_all_else_is_new() -> None:
    state = VersionedState.new(messages=numbered(1, 2), extra={"log": [1], "text": "x"})
    root = FoldedState.from_whole(dumps_state(state))
    document = build_delta(root, state).document
    first, second = root.to_state(document), root.to_state(document)
    assert first.messages.items[0] is second.messages.items[0]
    first.extra.map["log"].append(2)
    first.extra.map["new"] = 1
    assert second.extra.map == {"log": [1], "text": "x"}
    assert root.to_state().extra.map == {"log": [1], "text": "x"}


def test_equal_messages_of_the_state_are_remembered() -> None:
    root = FoldedState.from_whole(dumps_state(VersionedState.new(messages=numbered(1, 2, 3))))
    state = VersionedState.new(messages=numbered(1, 2, 4))
    build_delta(root, state)
    assert root.messages[0] is state.messages.items[0]
    assert root.messages[1] is state.messages.items[1]
    assert list(root.messages) == numbered(1, 2, 3)


def test_a_step_that_is_read_again_shares_its_messages() -> None:
    root = FoldedState.from_whole(dumps_state(VersionedState.new(messages=numbered(1, 2))))
    documents = [
        build_delta(root, VersionedState.new(messages=numbered(*numbers))).document
        for numbers in ((1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 3))
    ]
    none, first, other, again = (root.to_state(document) for document in documents)
    assert none.messages.items is root.messages
    assert list(other.messages.items) == numbered(1, 2, 4)
    assert list(first.messages.items) == list(again.messages.items) == numbered(1, 2, 3)
    assert root.to_state(documents[3]).messages.items is again.messages.items


def test_a_whole_document_needs_no_base() -> None:
    root = FoldedState.from_whole(dumps_state(VersionedState.new(messages=numbered(1, 2, 3))))
    state = VersionedState.new(messages=numbered(4), extra={"a": 1})
    whole = dumps_state(state)
    assert dumps_state(root.to_state(whole)) == whole
    document = build_delta(FoldedState.from_whole(whole), state).document
    assert dumps_state(fold(root, [whole, document]).to_state()) == whole


@pytest.mark.parametrize(
    "document",
    [
        '{"messages":{"version":1},"extra":{"version":1}}',
        '{"extra":{"map":{"a":[1 , 2]},"version":3},"messages":{"items":[],"version":2},"x":1}',
    ],
)
def test_whole_documents_of_others_are_read_as_loads_state_reads_them(document: str) -> None:
    assert not is_delta(document)
    assert FoldedState.from_whole(document).to_state() == loads_state(document)


def test_a_delta_is_no_state() -> None:
    state = VersionedState.new(messages=numbered(1, 2))
    document = build_delta(FoldedState.from_whole(dumps_state(state)), state).document
    with pytest.raises(SerializationError) as caught:
        loads_state(document)
    assert caught.value.path == "$.messages.items[0]"


def test_the_memory_of_a_state_is_at_least_that_of_its_documents() -> None:
    document = dumps_state(VersionedState.new(messages=numbered(*range(100)), extra={"a": 1}))
    folded = FoldedState.from_whole(document)
    assert folded.memory_bytes > len(document) + 100 * 100
