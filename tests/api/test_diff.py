"""``diff/``: the patch between two steps."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.api.clients import assert_error, session_url
from tests.api.json_patch import apply_patch
from tests.api.queries import capture_app_queries
from tests.assertions import assert_same
from tests.costs import check_cost
from tests.strategies import a_checkpoint, an_error_event
from weavegraph_checkpoints import Message, VersionedState, WeaveError, conf, serde
from weavegraph_checkpoints.api.diff import build_patch
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.diff import DiffBudget


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
    before, after = (VersionedState.new(messages[start:]) for start in (0, 1500))
    patch = check_cost(lambda: patch_of(api, before, after), max_seconds=1)
    assert len(patch) == 1500


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


def apply(before: Any, after: Any, budget: DiffBudget | None = None) -> Any:
    """Return the patch between two extras, after checking that it is correct."""
    old, new = (serde.dumps_state(extras(value=value)) for value in (before, after))
    patch = serde.loads_json(msgspec.json.encode(build_patch(old, new, budget or DiffBudget())))
    assert_same(apply_patch(serde.loads_json(old), patch), serde.loads_json(new))
    return patch


def sorted_json(value: Any) -> bytes:
    """Return a value's JSON: the same for two objects whose members differ in order alone."""
    return msgspec.json.encode(value, order="sorted")


_small = st.recursive(
    st.sampled_from([0, 1, 1.0, True, None, "", "a"]),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["a", "b", "/", "~"]), inner)
    ),
    max_leaves=20,
)


@given(before=_small, after=_small, comparisons=st.integers(0, 60) | st.just(10**6))
def test_every_budget_gives_a_correct_patch(before: Any, after: Any, comparisons: int) -> None:
    patch = apply(before, after, DiffBudget(comparisons))
    assert bool(patch) == (sorted_json(before) != sorted_json(after))


@given(
    before=st.lists(st.integers(0, 8) | st.integers(10, 1000), max_size=40),
    after=st.lists(st.integers(0, 8) | st.integers(10, 1000), max_size=40),
)
def test_lists_are_aligned(before: list[int], after: list[int]) -> None:
    apply(before, after)


def test_items_that_are_inserted_and_removed_are_operations_of_their_own() -> None:
    items = list(range(1000))
    changed = [-1, *items[3:500], -2, *items[501:700], -3, -4, *items[700:], -5]
    assert len(apply(items, changed)) == 7


def bits(count: int, seed: int) -> str:
    return ",".join(random.Random(seed).choices("01", k=count))


def nested(value: str, levels: int = 80) -> str:
    return f"{'[' * levels}{value}{']' * levels}"


def numbers(count: int, step: int = 1) -> str:
    return ",".join(str(number * step) for number in range(count))


def members(count: int, step: int = 1) -> str:
    return ",".join(f'"{number}":{number * step}' for number in range(count))


LARGEST = [
    ("490 bits", f"[{bits(490, 1)}]", f"[{bits(490, 2)}]"),
    ("bits", f"[{bits(500_000, 1)}]", f"[{bits(500_000, 2)}]"),
    (
        "lists of bits",
        f"[{','.join(f'[{bits(490, n)}]' for n in range(1000))}]",
        f"[{','.join(f'[{bits(490, -n)}]' for n in range(1000))}]",
    ),
    ("nested", nested(f"{{{members(95_000)}}}"), nested(f"{{{members(95_000, -1)}}}")),
    ("nested, 7 MB", nested(f"{{{members(430_000)}}}"), nested(f"{{{members(400_000, -1)}}}")),
    (
        "empty objects",
        f"[{','.join(['{}'] * 2_300_000)}]",
        f"[{','.join(['[]'] * 2_300_000)}]",
    ),
    (
        "nested empty objects",
        nested(f"[{','.join(['{}'] * 130_000)}]", 90),
        nested(f"[{','.join(['[]'] * 130_000)}]", 90),
    ),
    ("integers", f"[{numbers(390_000)}]", f"[{numbers(390_000, -1)}]"),
    ("keys", f"{{{members(190_000)}}}", f"{{{members(190_000, -1)}}}"),
    (
        "a long key",
        f'{{"{"k" * 1_000_000}":[{bits(40_000, 1)}]}}',
        f'{{"{"k" * 1_000_000}":[{bits(40_000, 2)}]}}',
    ),
    ("a long text", f'"{"a" * 7_000_000}\U0001f600"', f'"{"b" * 7_000_000}\U0001f600"'),
]


@pytest.mark.parametrize(("name", "before", "after"), LARGEST, ids=[each[0] for each in LARGEST])
def test_the_largest_states_cost_bounded_time_and_memory(
    name: str, before: str, after: str
) -> None:
    start = '{"messages":{"version":1,"items":[]},"extra":{"version":1,"map":{"value":'
    end = '}},"errors":{"version":1,"items":[]}}'
    old, new = (f"{start}{value}{end}".encode() for value in (before, after))
    assert max(len(old), len(new)) <= conf.DEFAULT_MAX_STATE_BYTES
    body = check_cost(lambda: msgspec.json.encode(build_patch(old, new)), max_seconds=1)
    assert len(body) <= 2 * len(new) + 2 * 1024 * 1024
    assert_same(apply_patch(serde.loads_json(old), serde.loads_json(body)), serde.loads_json(new))
    tracemalloc.start()
    build_patch(old, new)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000


def test_a_patch_reads_the_two_states_alone(api: Client) -> None:
    patch_of(api, extras(a=1), extras(a=2))
    _, statements = capture_app_queries(lambda: api.get(session_url("a", "diff/?from=1&to=2")))
    assert len(statements) == 2
    assert not any("versions_seen" in statement for statement in statements)
