"""``diff/``: the patch between two steps."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client

from tests.api.clients import assert_error, session_url
from tests.api.json_patch import apply_patch
from tests.assertions import assert_same
from tests.strategies import a_checkpoint, an_error_event
from weavegraph_checkpoints import Message, VersionedState, WeaveError, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


def extras(**values: Any) -> VersionedState:
    return VersionedState.new(extra=values)


def patch_of(api: Client, source: VersionedState, target: VersionedState) -> Any:
    """Return the patch over HTTP, after checking that it turns ``source`` into ``target``."""
    for step, state in ((1, source), (2, target)):
        DjangoCheckpointer().save(a_checkpoint("a", step, state=state))
    answer = api.get(session_url("a", "diff/?from=1&to=2"))
    assert answer.status_code == 200, answer.content
    document = serde.loads_json(answer.content)
    assert list(document) == ["from", "to", "patch"]
    assert (document["from"], document["to"]) == (1, 2)
    made = apply_patch(serde.loads_json(serde.dumps_state(source)), document["patch"])
    assert_same(made, serde.loads_json(serde.dumps_state(target)))
    return document["patch"]


def test_an_added_message_and_a_changed_value(api: Client) -> None:
    source = VersionedState.new(messages=[Message.user("go")], extra={"budget": 0.5, "gone": 1})
    target = VersionedState.new(
        messages=[Message.user("go"), Message.assistant("gone")], extra={"budget": 0.25}
    )
    assert patch_of(api, source, target) == [
        {
            "op": "add",
            "path": "/messages/items/1",
            "value": {"role": "assistant", "content": "gone"},
        },
        {"op": "remove", "path": "/extra/map/gone"},
        {"op": "replace", "path": "/extra/map/budget", "value": 0.25},
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0.0, -0.0),
        (None, False),
        ("1", 1),
        ([1], [True]),
        ([1, [2.0]], [1.0, [2]]),
        ({"a": [0]}, {"a": [False]}),
        (10**400, 10**400 + 1),
        ([1, 2, 3], [3, 2, 1]),
        ([[1], [True], [1.0]], [[1.0], [1], [True]]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2, "": 3}}),
        ("\0", "\0\0"),
        ({"0": [1]}, [1]),
    ],
    ids=ascii,
)
def test_every_difference_is_in_the_patch(api: Client, old: Any, new: Any) -> None:
    assert patch_of(api, extras(value=old), extras(value=new)) != []
    assert patch_of(api, extras(value=old), extras(value=old)) == []


def test_deep_values(api: Client) -> None:
    def deep(leaf: Any, levels: int) -> Any:
        for _ in range(levels):
            leaf = [leaf]
        return leaf

    for levels in (50, 120, 197):
        assert patch_of(api, extras(x=deep(1, levels)), extras(x=deep(1.0, levels))) != []

    def caused(leaf: str) -> VersionedState:
        error = WeaveError(message=leaf, details=deep(leaf, 190))
        for _ in range(199):
            error = WeaveError(message="caused", cause=error)
        return VersionedState.new(errors=[an_error_event(error=error)])

    assert patch_of(api, caused("a"), caused("b")) != []


def test_a_long_conversation(api: Client) -> None:
    messages = [Message.user(f"message {n}") for n in range(3000)]
    began = time.monotonic()
    patch = patch_of(
        api, VersionedState.new(messages=messages), VersionedState.new(messages=messages[1500:])
    )
    assert len(patch) == 1500
    assert time.monotonic() - began < 20


def test_steps_in_either_order_and_the_same(api: Client) -> None:
    patch_of(api, extras(a=1), extras(a=2))
    back = api.get(session_url("a", "diff/?from=2&to=1")).json()
    assert back == {
        "from": 2,
        "to": 1,
        "patch": [{"op": "replace", "path": "/extra/map/a", "value": 1}],
    }
    same = api.get(session_url("a", "diff/?from=2&to=2")).json()
    assert same == {"from": 2, "to": 2, "patch": []}


@pytest.mark.parametrize("query", ["from=1&to=3", "from=3&to=1", "from=0&to=9223372036854775807"])
def test_a_missing_step(api: Client, query: str) -> None:
    patch_of(api, extras(a=1), extras(a=2))
    assert_error(api.get(session_url("a", f"diff/?{query}")), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", "from"),
        ("from=1", "to"),
        ("to=1", "from"),
        ("from=x&to=1", "from"),
        ("from=1&to=-1", "to"),
        ("from=1&to=1.0", "to"),
        ("from=1&to=9223372036854775808", "to"),
        ("from=1&to=", "to"),
        ("from=1&to=%00", "to"),
    ],
)
def test_invalid_steps(api: Client, query: str, path: str) -> None:
    patch_of(api, extras(a=1), extras(a=2))
    assert_error(api.get(session_url("a", f"diff/?{query}")), 400, "invalid", path)
