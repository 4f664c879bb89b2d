"""The keys and values of labels, and ``key=value`` texts."""

from __future__ import annotations

from typing import Any

import pytest

from weavegraph_checkpoints import InvalidLabel
from weavegraph_checkpoints.domain.labels import (
    MAX_LABELS,
    check_label,
    copy_label_changes,
    copy_labels,
    is_label_key,
    is_label_value,
    merge_labels,
    parse_label,
)

KEYS = ["a", "Z", "0", "a-b_c.d", "customer", "x" * 63, "9-", "A..", "k8s.io-x"]
NOT_KEYS: list[Any] = [
    "",
    "x" * 64,
    "_a",
    ".a",
    "-a",
    "a b",
    "a=b",
    "a:b",
    "a/b",
    "é",
    "a\n",
    "\na",
    "a\0",
    "ａ",
    "٣",
    None,
    1,
    b"a",
    ("a",),
]
VALUES = ["", " ", "4711", "x" * 255, "é😀", "a=b", "a\nb", "\u2028", "'; --", "%s", "\\", '"']
NOT_VALUES: list[Any] = ["x" * 256, "a\0", "\ud800", None, 1, True, 1.5, b"a", ["a"], {}]


@pytest.mark.parametrize("key", KEYS)
def test_a_key(key: str) -> None:
    assert is_label_key(key)
    check_label(key, "")


@pytest.mark.parametrize("key", NOT_KEYS)
def test_not_a_key(key: Any) -> None:
    assert not is_label_key(key)
    with pytest.raises(InvalidLabel, match="key") as caught:
        check_label(key, "value")
    assert caught.value.path == "labels"


@pytest.mark.parametrize("value", VALUES)
def test_a_value(value: str) -> None:
    assert is_label_value(value)
    check_label("key", value)


@pytest.mark.parametrize("value", NOT_VALUES)
def test_not_a_value(value: Any) -> None:
    assert not is_label_value(value)
    with pytest.raises(InvalidLabel, match="value") as caught:
        check_label("key", value)
    assert caught.value.path == "labels.key"
    assert isinstance(caught.value, ValueError)


def test_labels_are_copied_in_the_order_of_their_keys() -> None:
    given = {"b": "2", "a": "1"}
    copy = copy_labels(given)
    given["c"] = "3"
    assert list(copy.items()) == [("a", "1"), ("b", "2")]


def test_a_change_may_remove_a_label_and_labels_may_not_be_none() -> None:
    assert copy_label_changes({"a": None, "b": ""}) == {"a": None, "b": ""}
    with pytest.raises(InvalidLabel):
        copy_labels({"a": None})  # type: ignore[dict-item]


@pytest.mark.parametrize("labels", [None, 1, "a=b", ["a"], [("a", "b")], {1: "a"}, {"a": 1}])
def test_what_are_no_labels(labels: Any) -> None:
    with pytest.raises(InvalidLabel):
        copy_labels(labels)
    with pytest.raises(InvalidLabel):
        copy_label_changes(labels)


def test_a_session_has_up_to_64_labels() -> None:
    labels = {f"key{number}": "" for number in range(MAX_LABELS)}
    assert len(copy_labels(labels)) == 64
    with pytest.raises(InvalidLabel, match="at most 64 labels, not 65"):
        copy_labels({**labels, "one-more": ""})


@pytest.mark.parametrize(
    ("text", "separator", "label"),
    [
        ("customer=4711", "=", ("customer", "4711")),
        ("customer:4711", ":", ("customer", "4711")),
        ("url:https://a", ":", ("url", "https://a")),
        ("formula=a=b", "=", ("formula", "a=b")),
        ("empty=", "=", ("empty", "")),
        ("a= b ", "=", ("a", " b ")),
    ],
)
def test_a_label_is_parsed(text: str, separator: str, label: tuple[str, str]) -> None:
    assert parse_label(text, separator) == label


@pytest.mark.parametrize("text", ["", "customer", "=", "=4711", "a b=c", "é=1", "a=\0", "a:b"])
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(InvalidLabel) as caught:
        parse_label(text, "=")
    assert caught.value.path.startswith("label")


def test_two_values_of_one_key_match_nothing() -> None:
    assert merge_labels([("a", "1"), ("b", "2"), ("a", "1")]) == {"a": "1", "b": "2"}
    assert merge_labels([("a", "1"), ("a", "2")]) is None
    assert merge_labels([]) == {}
