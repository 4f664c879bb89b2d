"""Keys that stand twice in an object are refused, wherever and however they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serde.planting import Key, path_to, planted
from tests.strategies import a_full_checkpoint, checkpoints
from weavegraph_checkpoints import Checkpoint, Message, SerializationError, VersionedState
from weavegraph_checkpoints.serde import dumps, dumps_state, duplicates, loads, loads_at
from weavegraph_checkpoints.serde.duplicates import check_unique_keys

STYLES: dict[str, dict[str, Any]] = {
    "compact": {"ensure_ascii": False, "separators": (",", ":")},
    "compact, escaped": {"separators": (",", ":")},
    "spaced": {"ensure_ascii": False},
    "as json.dumps writes it": {},
    "on many lines": {"ensure_ascii": False, "indent": 2},
    "on many lines, escaped": {"indent": "\t"},
}
DOCUMENT: dict[str, Any] = json.loads(dumps(a_full_checkpoint()))


class Twice(dict[str, Any]):
    """An object that is written with one of its members once more."""

    def __init__(self, members: dict[str, Any], key: str, *, first: bool) -> None:
        super().__init__({key: members[key]} | members if first else members)
        self.again = (key, members[key])
        self.first = first

    def items(self) -> Any:
        """Return the members, one of them twice."""
        members = list(super().items())
        return [self.again, *members] if self.first else [*members, self.again]


def objects(value: Any, keys: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], Any]]:
    """Yield each object that has members, with the keys that lead to it."""
    if isinstance(value, dict) and value:
        yield keys, value
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in members:
        if isinstance(item, dict | list):
            yield from objects(item, (*keys, key))


def put(document: Any, keys: tuple[Key, ...], value: Any) -> Any:
    """Return a document with another value in a place."""
    if not keys:
        return value
    copy = document.copy()
    copy[keys[0]] = put(copy[keys[0]], keys[1:], value)
    return copy


def without(document: Any, keys: tuple[str, ...]) -> Any:
    """Return a document without the member that ``keys`` lead to."""
    key, *below = keys
    if below:
        return document | {key: without(document[key], tuple(below))}
    return {name: value for name, value in document.items() if name != key}


def path_of_duplicate(data: str, state: str = "") -> str:
    with pytest.raises(SerializationError) as refusal:
        check_unique_keys(data.encode(), state.encode())
    return refusal.value.path


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(checkpoint=checkpoints())
def test_what_is_written_has_no_key_twice(style: dict[str, Any], checkpoint: Checkpoint) -> None:
    data, state = dumps(checkpoint), dumps_state(checkpoint.state)
    check_unique_keys(data, state)
    written = json.dumps(json.loads(data), **style).encode()
    check_unique_keys(written)
    check_unique_keys(written, state)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(checkpoint=checkpoints(), draw=st.data())
def test_a_key_that_stands_twice_is_named_in_every_style(
    style: dict[str, Any], checkpoint: Checkpoint, draw: st.DataObject
) -> None:
    document = json.loads(dumps(checkpoint))
    keys, members = draw.draw(st.sampled_from(list(objects(document))))
    key = draw.draw(st.sampled_from(list(members)))
    twice = Twice(members, key, first=draw.draw(st.booleans()))
    data = json.dumps(put(document, keys, twice), **style)
    _, state = loads_at(data, checkpoint.session_id, checkpoint.step)
    assert path_of_duplicate(data, state.decode()) == path_to("$", [*keys, key])


@st.composite
def loosely_written(draw: st.DrawFn) -> str:
    """Return a checkpoint with a space or none after each comma and colon of its messages.

    Mostly as one of the two encoders writes it; keys may stand twice, be in another order,
    escaped, or unknown.
    """
    usual = draw(st.sampled_from(["", " "]))
    spaces = st.sampled_from([usual] * 30 + ["", " ", "   "])

    def blank() -> str:
        return draw(spaces)

    def written(members: list[tuple[str, str]]) -> str:
        return (
            "{" + ",".join(f'{blank()}"{key}":{blank()}{value}' for key, value in members) + "}"
        ).replace("{ ", "{", 1)

    texts = st.sampled_from(['"é"', '""', '"a"', '"}, {"', '"\\"role\\": "', '"0123456789"']).map(
        lambda text: json.dumps(json.loads(text))
    )
    unknown = st.sampled_from(["1", "[{}]", '[{"role": "a"}, {"role": "b"}]', '{"a":1,"a":1}'])

    def message() -> str:
        members = [("role", draw(texts)), ("content", draw(texts))]
        if draw(st.integers(0, 5)) == 0:
            key = draw(st.sampled_from(["role", "content", "r\\u006fle", "x"]))
            value = draw(unknown if key == "x" else texts)
            members.insert(draw(st.integers(0, 2)), (key, value))
        return written(members)

    items = f",{usual}".join(message() for _ in range(draw(st.integers(0, 5))))
    state = [
        ("messages", written([("version", "1"), ("items", f"[{items}]")])),
        ("extra", r'{"version":1,"map":{"\u00e9":1}}'),
    ]
    if draw(st.integers(0, 5)) == 0:
        state.append(draw(st.sampled_from(state)))
    if draw(st.integers(0, 5)) == 0:
        state.reverse()
    around = [("state", written(state)), ("frontier", "[]")]
    if draw(st.integers(0, 5)) == 0:
        key = draw(st.sampled_from(["url", "state", "x"]))
        deeper = key != "state" and draw(st.booleans())
        inner = written([("state", written(state))]) if deeper else written(state)
        around.insert(draw(st.integers(0, 2)), (key, inner))
    return written(around)


@given(data=loosely_written())
@settings(max_examples=settings().max_examples * 5)
def test_what_is_passed_over_holds_no_key_twice(data: str) -> None:
    """A scan of all of it says the same."""
    _, state = loads_at(data, "session", 1)
    try:
        check_unique_keys(data.encode())
    except SerializationError as refusal:
        assert path_of_duplicate(data, state.decode()) == refusal.path
    else:
        check_unique_keys(data.encode(), state)


@pytest.mark.parametrize("left_out", [(), ("errors",), ("extra", "map"), ("messages", "items")])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_what_is_left_out_hides_no_key_that_stands_twice(
    style: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    """What the state has in its place may be as long as what stands twice."""
    document = without(DOCUMENT, ("state", *left_out)) if left_out else DOCUMENT
    for keys, members in objects(document):
        for key in members:
            data = json.dumps(put(document, keys, Twice(members, key, first=False)), **style)
            _, state = loads_at(data, "session", 1)
            assert path_of_duplicate(data, state.decode()) == path_to("$", [*keys, key])
    check_unique_keys(json.dumps(document, **style).encode(), state)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("url", [{}, {"url": "https://example.com/api/sessions/s/steps/1/"}])
def test_messages_are_not_scanned(
    monkeypatch: pytest.MonkeyPatch, style: dict[str, Any], url: dict[str, str]
) -> None:
    """To scan them takes longer than to read them."""
    scanned: list[str] = []
    scan = duplicates._scan

    def noting(text: str) -> Any:
        scanned.append(text)
        return scan(text)

    monkeypatch.setattr(duplicates, "_scan", noting)
    state = VersionedState.new(messages=[Message.user("“ß” said"), Message.tool("done")])
    data = json.dumps(json.loads(dumps(a_full_checkpoint(state=state))) | url, **style)
    check_unique_keys(data.encode(), dumps_state(state))
    assert scanned
    assert not [text for text in scanned if "said" in text]


def test_a_key_that_stands_twice_in_what_the_api_adds_is_named() -> None:
    url = Twice({"a": 1}, "a", first=False)
    for style in STYLES.values():
        data = json.dumps(DOCUMENT | {"url": url}, **style)
        assert path_of_duplicate(data, loads_at(data, "session", 1)[1].decode()) == "$.url.a"


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
    check_unique_keys(data.encode(), state.encode())
    member = f"{json.dumps(text)}: {json.dumps(text)}"
    assert data.count(member) == 1
    doubled = data.replace(member, f"{member}, {member}")
    assert path_of_duplicate(doubled, state) == path_to("$", ["state", "extra", "map", text])


@pytest.mark.parametrize("colon", [":", r"\u003a", r"\u003A", r"\\u003a"])
def test_colons_in_text_hide_no_key_that_stands_twice(colon: str) -> None:
    once = f'{{"a": "{colon}{colon}", "b{colon}": 1}}'
    check_unique_keys(once.encode())
    assert path_of_duplicate(f'{{"c": {once}, "c": 2}}') == "$.c"
    assert path_of_duplicate(f'[{once[:-1]}, "a": "{colon}"}}]') == "$[0].a"


def test_long_numbers_are_passed_over() -> None:
    check_unique_keys(f'{{"a":{"9" * 9000},"b":1e400,"c":-1.5}}'.encode())


def test_a_key_that_stands_twice_beside_a_bomb_is_refused() -> None:
    state = dumps_state(a_full_checkpoint().state)
    for levels in (900, 1_500, 100_000):
        bomb = b"[" * levels + b"]" * levels
        data = dumps(a_full_checkpoint())[:-1] + b',"x":' + bomb + b',"step":1}'
        with pytest.raises(SerializationError):
            check_unique_keys(data, state)


def test_a_bomb_beside_a_known_state_is_refused() -> None:
    state = dumps_state(a_full_checkpoint().state)
    bomb = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(SerializationError, match="nested too deep"):
        check_unique_keys(dumps(a_full_checkpoint())[:-1] + b',"x":' + bomb + b"}", state)
