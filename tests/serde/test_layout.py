from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.strategies import a_checkpoint, a_full_checkpoint, an_error_event
from weavegraph_checkpoints import (
    AppScope,
    ErrorEvent,
    NodeScope,
    RunnerScope,
    SchedulerScope,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.serde import dumps, dumps_state

EMPTY_STATE = (
    '{"messages":{"version":1,"items":[]},'
    '"extra":{"version":1,"map":{}},'
    '"errors":{"version":1,"items":[]}}'
)

FULL_STATE = (
    '{"messages":{"version":3,"items":['
    '{"role":"user","content":"go"},'
    '{"role":"assistant","content":"gone ✓"}]},'
    '"extra":{"version":4,"map":{"":null,"a b":[1,1.0,true,{"deep":[]}]}},'
    '"errors":{"version":5,"items":['
    '{"when":"2026-01-02T03:04:05.123456789Z",'
    '"scope":{"scope":"node","kind":"Custom:fetch","step":3},'
    '"error":{"message":"connect timed out",'
    '"cause":{"message":"dns","details":{"host":"example.test","tries":3}},"details":null},'
    '"tags":["network","retry"],"context":{"attempt":3,"ratio":0.1}},'
    '{"when":"2026-01-02T03:04:05.123456789Z",'
    '"scope":{"scope":"scheduler","step":4},'
    '"error":{"message":"connect timed out",'
    '"cause":{"message":"dns","details":{"host":"example.test","tries":3}},"details":null},'
    '"tags":[],"context":null},'
    '{"when":"2026-01-02T03:04:05.123456789Z",'
    '"scope":{"scope":"runner","session":"session","step":5},'
    '"error":{"message":"connect timed out",'
    '"cause":{"message":"dns","details":{"host":"example.test","tries":3}},"details":null},'
    '"tags":["network","retry"],"context":[1,"two",null]},'
    '{"when":"2026-01-02T03:04:05.123456789Z",'
    '"scope":{"scope":"app"},'
    '"error":{"message":"","details":[0.5]},'
    '"tags":["network","retry"],"context":{"attempt":3,"ratio":0.1}}]}}'
)


def test_the_layout_of_an_empty_state() -> None:
    assert dumps_state(VersionedState()).decode() == EMPTY_STATE


def test_the_layout_of_a_full_state() -> None:
    assert dumps_state(a_full_checkpoint().state).decode() == FULL_STATE


def test_the_layout_of_a_full_checkpoint() -> None:
    assert dumps(a_full_checkpoint()).decode() == (
        f'{{"session_id":"session","step":1,"state":{FULL_STATE},'
        '"frontier":["Start","Custom:plan","End"],'
        '"versions_seen":{"p q":{"z":18446744073709551615,"extra":0},"Custom(\\"plan\\")":{}},'
        '"concurrency_limit":7,"created_at":"2026-01-02T03:04:05.678901Z",'
        '"ran_nodes":["Start"],"skipped_nodes":["Custom:Start:er","End"],'
        '"updated_channels":["messages","extra"]}'
    )


def test_the_layout_of_a_checkpoint_without_metadata() -> None:
    bare = a_checkpoint(
        state=VersionedState(),
        frontier=[],
        versions_seen={},
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert dumps(bare).decode() == (
        f'{{"session_id":"session","step":1,"state":{EMPTY_STATE},"frontier":[],'
        '"versions_seen":{},"concurrency_limit":1,"created_at":"2026-01-02T00:00:00Z",'
        '"ran_nodes":[],"skipped_nodes":[],"updated_channels":[]}'
    )


@pytest.mark.parametrize(
    ("scope", "written"),
    [
        (NodeScope(kind="free text", step=0), {"scope": "node", "kind": "free text", "step": 0}),
        (SchedulerScope(step=2**64 - 1), {"scope": "scheduler", "step": 2**64 - 1}),
        (RunnerScope(session="", step=1), {"scope": "runner", "session": "", "step": 1}),
        (AppScope(), {"scope": "app"}),
    ],
)
def test_a_scope_is_tagged_by_its_kind(scope: Any, written: dict[str, Any]) -> None:
    state = VersionedState.new(errors=[an_error_event(scope=scope)])
    assert json.loads(dumps_state(state))["errors"]["items"][0]["scope"] == written


def test_a_cause_is_left_out_when_there_is_none_and_nulls_are_written() -> None:
    event = ErrorEvent(error=WeaveError(message="x"), when="2026-01-02T03:04:05Z")
    written = json.loads(dumps_state(VersionedState.new(errors=[event])))["errors"]["items"][0]
    assert written == {
        "when": "2026-01-02T03:04:05Z",
        "scope": {"scope": "app"},
        "error": {"message": "x", "details": None},
        "tags": [],
        "context": None,
    }


def test_created_at_is_written_in_utc() -> None:
    instant = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    written = json.loads(dumps(a_checkpoint(created_at=instant)))
    assert written["created_at"] == "2026-01-02T01:04:05Z"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e23, "1e23"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (2**64 - 1, "18446744073709551615"),
        (2**64, "18446744073709551616"),
        ("\0", '"\\u0000"'),
        ("日本 😀", '"日本 😀"'),
        ((1, 2), "[1,2]"),
    ],
)
def test_the_text_of_a_value(value: Any, written: str) -> None:
    data = dumps_state(VersionedState.new(extra={"value": value})).decode()
    assert f'"map":{{"value":{written}}}' in data
