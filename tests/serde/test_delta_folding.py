from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from weavegraph_checkpoints import Message, SerializationError, VersionedState
from weavegraph_checkpoints.serde import dumps_state
from weavegraph_checkpoints.serde.deltas import FoldedState, build_delta, fold

Chain = tuple[bytes, list[bytes], bytes]
"""A root, the links on it, and the whole state that they add up to."""


def build_chain(build_state: Callable[[int, int], VersionedState], links: int, size: int) -> Chain:
    root = dumps_state(build_state(0, size))
    folded = FoldedState.from_whole(root)
    documents = []
    state = VersionedState()
    for link in range(1, links + 1):
        state = build_state(link, size)
        document = build_delta(folded, state).document
        documents.append(document)
        folded = folded.apply(document)
    return root, documents, dumps_state(state)


def entry(number: int) -> dict[str, Any]:
    return {"number": number, "text": f"entry {number} " * 8}


def message(number: int) -> Message:
    return Message.user(f"message {number} " * 8)


def appended(link: int, size: int) -> VersionedState:
    return VersionedState.new(extra={"log": [entry(number) for number in range(size + link)]})


def prepended(link: int, size: int) -> VersionedState:
    return VersionedState.new(
        extra={"log": [entry(number) for number in range(size + link, 0, -1)]}
    )


def grown_member(link: int, size: int) -> VersionedState:
    log = [entry(number) for number in range(size + link)]
    return VersionedState.new(extra={"memory": {"step": link, "log": log, "last": "x" * link}})


def grown_object(link: int, size: int) -> VersionedState:
    return VersionedState.new(extra={"memory": {f"k{n}": entry(n) for n in range(size + link)}})


def changed_object(link: int, size: int) -> VersionedState:
    """Build an object that grows in each second step, and of which a member changes in others."""
    memory = {f"k{n}": entry(n) for n in range(size + link // 2)}
    memory[f"k{size // 2}"] = entry(-link // 2)
    return VersionedState.new(extra={"memory": memory, "step": link})


def rewritten(link: int, size: int) -> VersionedState:
    items = [message(number) for number in range(size + link)]
    items[size // 2] = message(-link)
    return VersionedState.new(messages=items)


def inserted(link: int, size: int) -> VersionedState:
    items = [message(number) for number in range(size)]
    items[size // 2 : size // 2] = [message(-number) for number in range(1, link + 1)]
    return VersionedState.new(messages=items)


def window(link: int, size: int) -> VersionedState:
    return VersionedState.new(messages=[message(number) for number in range(link, size + link)])


SHAPES = [
    *(appended, prepended, grown_member, grown_object, changed_object),
    *(rewritten, inserted, window),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_chain_adds_up_to_the_state(shape: Callable[[int, int], VersionedState]) -> None:
    root, links, whole = build_chain(shape, 40, 50)
    folded = fold(root, links)
    assert dumps_state(folded.to_state()) == whole
    assert folded.state_bytes == len(whole)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_link_costs_the_change(shape: Callable[[int, int], VersionedState]) -> None:
    _root, links, _whole = build_chain(shape, 20, 200)
    assert max(map(len, links)) < 600


@pytest.mark.parametrize("shape", SHAPES)
def test_the_calls_of_a_fold_are_proportional_to_the_links(
    shape: Callable[[int, int], VersionedState],
) -> None:
    root, links, _whole = build_chain(shape, 100, 100)
    few = count_calls(lambda: fold(root, links[:50])) - count_calls(lambda: fold(root, []))
    many = count_calls(lambda: fold(root, links)) - count_calls(lambda: fold(root, links[:50]))
    assert many < 1.2 * few + 50


def count_calls(function: Callable[[], object]) -> int:
    calls = 0

    def count(_frame: object, _event: str, _argument: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("shape", [appended, prepended, grown_member, grown_object, changed_object])
def test_a_chain_of_100_links_takes_little_longer_than_one_link(
    shape: Callable[[int, int], VersionedState],
) -> None:
    # If each link copied the value, it would take more than ten times as long.
    root, links, _whole = build_chain(shape, 100, 10_000)
    link = build_delta(FoldedState.from_whole(root), shape(100, 10_000)).document
    assert measure(lambda: fold(root, links)) < 5 * measure(lambda: fold(root, [link]))


@pytest.mark.parametrize("shape", [rewritten, inserted, window])
def test_links_that_keep_the_order_of_messages_do_not_copy_their_list(
    shape: Callable[[int, int], VersionedState], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, links, whole = build_chain(shape, 20, 50)
    monkeypatch.delattr("weavegraph_checkpoints.serde.deltas.folding.rebuild")
    assert dumps_state(fold(root, links).to_state()) == whole


def measure(function: Callable[[], object]) -> float:
    times = []
    gc.disable()
    try:
        for _ in range(5):
            start = process_time()
            function()
            times.append(process_time() - start)
    finally:
        gc.enable()
    return min(times)


def test_the_length_of_the_messages_is_kept_by_changes() -> None:
    root, links, whole = build_chain(rewritten, 5, 50)
    folded = FoldedState.from_whole(root)
    assert folded.state_bytes == len(root)
    for link in links:
        folded = folded.apply(link)
        assert "messages_bytes" in vars(folded)
    assert folded.state_bytes == len(whole)


BASE = VersionedState.new(
    messages=[Message.user("a"), Message.user("b")],
    extra={"text": "x" * 10, "object": {"a": 1}, "list": [1, 2]},
)


def delta(**channels: Any) -> bytes:
    document = {
        "messages": {"version": 1, "items": [[0, 2]]},
        "extra": {"version": 1},
        "errors": {"version": 1, "items": [[0, 0]]},
    }
    return json.dumps(document | channels, separators=(",", ":")).encode()


def extra(**changes: Any) -> bytes:
    return delta(extra={"version": 1, **changes})


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (delta(messages={"version": 1, "items": [[0, 3]]}), ".messages.items[0]"),
        (delta(messages={"version": 1, "items": [[0, 1], [2, 1]]}), ".messages.items[1]"),
        (delta(messages={"version": 1, "items": [[0, -1]]}), ".messages.items[0][1]"),
        (delta(messages={"version": 1, "items": [[0, 1, 2]]}), ".messages.items[0]"),
        (delta(messages={"version": 1, "items": [[0, 1], {}]}), ".messages.items[1].role"),
        (delta(messages={"version": 1, "items": [[0, 1], 7]}), ".messages.items[1]"),
        (delta(messages={"version": -1, "items": [[0, 1]]}), ".messages.version"),
        (delta(errors={"version": 1, "items": [[0, 1]]}), ".errors.items[0]"),
        (delta(errors={"version": 1, "items": [[0, 0], [1, 0]]}), ".errors.items[1]"),
        (delta(errors={"version": 1, "items": [[0, 0], [1, "a"]]}), ".errors.items[1][1]"),
        (delta(errors={"version": 1, "items": [[0, 0], {"x": 1}]}), ".errors.items[0].error"),
        (extra(drop=["missing"]), ".extra.map.missing"),
        (extra(splice={"missing": [0, 0, ""]}), ".extra.map.missing"),
        (extra(splice={"text": [7, 6, ""]}), ".extra.map.text"),
        (extra(splice={"text": [99, 0, ""]}), ".extra.map.text"),
        (extra(splice={"text": [1, 0, "cut"]}), ".extra.map.text"),
        (extra(splice={"text": [-1, 0, ""]}), ".extra.splice[...][0]"),
        (extra(inner={"missing": {}}), ".extra.map.missing"),
        (extra(inner={"text": {}}), ".extra.map.text"),
        (extra(inner={"object": {"drop": ["b"]}}), ".extra.map.object.b"),
        (extra(inner={"text": {"add": {"b": 1}}}), ".extra.map.text"),
        (extra(inner={"object": {"add": [1]}}), ".extra.map.object.add"),
        (extra(inner={"object": {"add": {"b": 1}, "drop": ["b"]}}), ".extra.map.object.b"),
        (extra(inner={"object": {"add": [1], "drop": ["a"]}}), ".extra.map.object.add"),
        (extra(order=[[0, 2]]), ".extra.map"),
        (extra(order=[[0, 2], [0, 1]]), ".extra.map"),
        (extra(order=[[0, 4]]), ".extra.map[0]"),
        (extra(unknown=1), ".extra"),
        (delta(unknown=1), ""),
        (delta()[:-1], ""),
    ],
)
def test_a_delta_that_does_not_fit_its_base_is_refused(document: bytes, path: str) -> None:
    root = FoldedState.from_whole(dumps_state(BASE))
    for text in (document, document.decode()):
        with pytest.raises(SerializationError) as caught:
            root.to_state(text)
        assert caught.value.path == f"$.state{path}"


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_documents_of_a_chain_are_never_joined(cut: int) -> None:
    root = FoldedState.from_whole(dumps_state(BASE))
    link = build_delta(root, BASE).document.decode()
    both = f"{link},{link}"
    assert fold(root, [link, link]).to_state() == BASE
    for links in ([both, link], [both[: cut or None], both[cut:]], [link[:-cut], link[-cut:]]):
        with pytest.raises(SerializationError):
            fold(root, links)


def test_the_root_of_paths_may_be_another() -> None:
    root = FoldedState.from_whole(dumps_state(BASE))
    with pytest.raises(SerializationError) as caught:
        root.apply(extra(drop=["missing"]), "$.keyframe")
    assert caught.value.path == "$.keyframe.extra.map.missing"
    with pytest.raises(SerializationError) as caught:
        FoldedState.from_whole(b"{}", "$.keyframe")
    assert caught.value.path == "$.keyframe.messages"
