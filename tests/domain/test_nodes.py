from __future__ import annotations

import copy
import enum
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import node_kinds, node_names, text
from weavegraph_checkpoints import InvalidCheckpoint, NodeKind


class Color(enum.StrEnum):
    RED = "red"


def test_encode_gives_start_end_and_custom_with_its_name() -> None:
    assert NodeKind.START.encode() == "Start"
    assert NodeKind.END.encode() == "End"
    assert NodeKind.custom("plan").encode() == "Custom:plan"


@given(name=text() | node_names())
def test_any_name_survives_encode_and_decode(name: str) -> None:
    node = NodeKind.custom(name)
    assert node.encode() == f"Custom:{name}"
    assert NodeKind.decode(node.encode()) == node
    assert str(node) == name


@given(node=node_kinds())
def test_decode_is_the_inverse_of_encode(node: NodeKind) -> None:
    assert NodeKind.decode(node.encode()) == node


@given(
    unknown=text().filter(lambda name: name not in ("Start", "End") and "Custom:" not in name[:7])
)
def test_unknown_text_is_a_custom_node_of_that_name(unknown: str) -> None:
    assert NodeKind.decode(unknown) == NodeKind.custom(unknown)


@pytest.mark.parametrize(
    "near", ["start", "START", " Start", "Start ", "Start:", "end", "Ende", ""]
)
def test_only_the_exact_words_are_start_and_end(near: str) -> None:
    assert NodeKind.decode(near) == NodeKind.custom(near)


@pytest.mark.parametrize("near", ["custom:a", "Custom", "Custom :a", 'Custom("a")'])
def test_only_the_exact_prefix_marks_a_custom_name(near: str) -> None:
    assert NodeKind.decode(near).encode() == f"Custom:{near}"


def test_decode_reads_one_prefix_only() -> None:
    assert str(NodeKind.decode("Custom:Custom:a")) == "Custom:a"
    assert NodeKind.decode("Custom:") == NodeKind.custom("")


def test_str_is_the_bare_name() -> None:
    assert str(NodeKind.START) == "Start"
    assert str(NodeKind.END) == "End"
    assert str(NodeKind.custom("plan")) == "plan"


@pytest.mark.parametrize(
    ("node", "kinds"),
    [
        (NodeKind.START, (True, False, False)),
        (NodeKind.END, (False, True, False)),
        (NodeKind.custom("plan"), (False, False, True)),
        (NodeKind.custom("Start"), (False, False, True)),
        (NodeKind.custom("End"), (False, False, True)),
    ],
)
def test_a_node_is_of_one_kind(node: NodeKind, kinds: tuple[bool, bool, bool]) -> None:
    assert (node.is_start, node.is_end, node.is_custom) == kinds


def test_a_custom_node_named_like_a_kind_is_not_that_kind() -> None:
    assert NodeKind.custom("Start") != NodeKind.START
    assert NodeKind.custom("End") != NodeKind.END
    assert NodeKind.custom("Start").encode() == "Custom:Start"


@given(left=node_names(), right=node_names())
def test_nodes_compare_and_hash_by_value(left: str, right: str) -> None:
    assert (NodeKind.custom(left) == NodeKind.custom(right)) == (left == right)
    assert hash(NodeKind.custom(left)) == hash(NodeKind.decode(f"Custom:{left}"))
    assert {NodeKind.custom(left): 1}[NodeKind.custom(left)] == 1


def test_start_and_end_are_found_in_sets() -> None:
    kinds = {NodeKind.START, NodeKind.END, NodeKind.custom("Start")}
    assert len(kinds) == 3
    assert NodeKind.decode("Start") in kinds


def test_a_node_is_not_equal_to_its_text() -> None:
    assert NodeKind.START != "Start"


def test_a_node_is_frozen() -> None:
    with pytest.raises(AttributeError):
        NodeKind.START.encoded = "End"  # type: ignore[misc]


@given(node=node_kinds())
def test_nodes_can_be_copied_and_pickled(node: NodeKind) -> None:
    assert copy.deepcopy(node) == node
    assert pickle.loads(pickle.dumps(node)) == node


@pytest.mark.parametrize("name", [None, 1, b"plan", ["plan"], Color.RED, NodeKind.START])
def test_a_name_that_is_not_text_is_refused(name: Any) -> None:
    with pytest.raises(InvalidCheckpoint):
        NodeKind.custom(name)


@pytest.mark.parametrize("encoded", [None, 1, b"Start", Color.RED, NodeKind.END])
def test_decode_refuses_what_is_not_text(encoded: Any) -> None:
    with pytest.raises(InvalidCheckpoint):
        NodeKind.decode(encoded)


@given(encoded=st.sampled_from(["", "plan", "start", "custom:a"]) | st.integers())
def test_a_node_cannot_be_made_of_other_text(encoded: Any) -> None:
    with pytest.raises(InvalidCheckpoint):
        NodeKind(encoded)
