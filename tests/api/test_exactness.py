"""Round trips over HTTP keep values, types and key order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis.extra.django import TestCase

from tests.api.clients import ALL, create_client, put, session_url, step_url
from tests.assertions import assert_same, checkpoint_as_read
from tests.strategies import a_checkpoint, checkpoints, states
from weavegraph_checkpoints import VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.url_ids import encode_session_id

NUMBERS = [
    "1e23",
    "1.7976931348623157e308",
    "-0.0",
    "5e-324",
    "1",
    "1.0",
    "18446744073709551615",
    "-" + "9" * 4299,
    "0.1",
    "123456789012345678901234567890",
]


def body_with(values: str) -> bytes:
    """Return the JSON of a checkpoint whose ``extra.map`` is this JSON."""
    return (
        '{"state":{"messages":{"version":1,"items":[]},'
        f'"extra":{{"version":1,"map":{values}}}}},"frontier":[]}}'
    ).encode()


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(api: Client, checkpointer: DjangoCheckpointer, number: str) -> None:
    assert put(api, step_url("a", 1), body_with(f'{{"n":{number}}}')).status_code == 201
    sent = json.loads(number) if len(number) < 4000 else int(number)
    for path in ("latest/", "steps/1/"):
        answer = api.get(session_url("a", path)).content
        assert f'"map":{{"n":{number.replace("e+", "e")}}}'.encode() in answer
        assert_same(serde.loads(answer).state.extra.map, {"n": sent})
    latest = checkpointer.load_latest("a")
    assert latest is not None
    assert_same(latest.state.extra.map, {"n": sent})


def test_key_order_and_special_characters(api: Client) -> None:
    texts = ["\0", "a\0b", "", "\ufeff", "😀", "\u2028", '"\\/', "é", "</script>"]
    free = {**{text: [text] for text in reversed(texts)}, "z": 1, "a": {"z": None, "b": True}}
    for ensure_ascii in (True, False):
        sent = json.dumps(free, ensure_ascii=ensure_ascii)
        assert put(api, step_url("a", 1), body_with(sent)).status_code in (200, 201)
        for path in ("latest/", "steps/1/", "steps/"):
            answer = api.get(session_url("a", path)).json()
            document = answer["checkpoints"][0] if path == "steps/" else answer
            found = document["state"]["extra"]["map"]
            assert json.dumps(found) == json.dumps(free)


def test_the_last_value_of_a_duplicate_key_is_stored(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    body = body_with('{"a":1,"b":{"c":1,"c":2},"\\u0061":3}').replace(
        b'"frontier":[]', b'"frontier":["Start"],"frontier":["End"]'
    )
    assert put(api, step_url("a", 1), body).status_code == 201
    saved = checkpointer.load("a", 1)
    assert saved is not None
    assert [node.encode() for node in saved.frontier] == ["End"]
    assert api.get(step_url("a", 1)).content.count(b'"frontier"') == 1
    assert b'"map":{"a":3,"b":{"c":2}}' in api.get(step_url("a", 1)).content
    assert b'"map":{"a":3,"b":{"c":2}}' in api.get(session_url("a", "latest/")).content


def test_two_hundred_levels(api: Client) -> None:
    deep = "[" * 198 + "1" + "]" * 198
    assert put(api, step_url("a", 1), body_with(f'{{"deep":{deep}}}')).status_code == 201
    assert f'"deep":{deep}'.encode() in api.get(session_url("a", "latest/")).content


def test_a_response_is_the_json_that_serde_writes(api: Client) -> None:
    saved = a_checkpoint("a", 1, state=VersionedState.new(extra={"b": 1.0, "a": [1e23, -0.0]}))
    put(api, step_url("a", 1), serde.dumps(saved))
    answer = api.get(step_url("a", 1)).content
    assert answer.endswith(serde.dumps(saved)[1:])


class TestAnyCheckpoint(TestCase):
    @given(checkpoints())
    def test_round_trip(self, saved: Any) -> None:
        client = create_client(*ALL)
        path = session_url(encode_session_id(saved.session_id), f"steps/{saved.step}/")
        assert put(client, path, serde.dumps(saved)).status_code == 201
        assert_same(serde.loads(client.get(path).content), checkpoint_as_read(saved))
        assert_same(
            DjangoCheckpointer().load(saved.session_id, saved.step), checkpoint_as_read(saved)
        )

    @given(states(), states())
    def test_can_be_compared(self, source: Any, target: Any) -> None:
        from tests.api.json_patch import apply_patch

        client = create_client(*ALL)
        for step, state in ((1, source), (2, target)):
            DjangoCheckpointer().save(a_checkpoint("a", step, state=state))
        answer = client.get(session_url("a", "diff/?from=1&to=2"))
        assert answer.status_code == 200
        document = serde.loads_json(serde.dumps_state(source))
        expected = serde.loads_json(serde.dumps_state(target))
        assert_same(apply_patch(document, serde.loads_json(answer.content)["patch"]), expected)
