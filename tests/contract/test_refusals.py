"""What cannot be stored is refused before anything is written."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from tests.worst_states import WORST_STATES, worst_checkpoint
from weavegraph_checkpoints import (
    CheckpointerError,
    ErrorEvent,
    InvalidCheckpoint,
    InvalidQuery,
    LimitExceeded,
    Message,
    SerializationError,
    StateTooLarge,
    StepQuery,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.backends.rows import JSON_COLUMNS, StepRow
from weavegraph_checkpoints.checkpointer import Checkpointer, DjangoCheckpointer
from weavegraph_checkpoints.models import Step
from weavegraph_checkpoints.serde import dumps, dumps_state

NOT_JSON = {
    "nan": (VersionedState.new(extra={"a": float("nan")}), "$.state.extra.map.a"),
    "infinity": (VersionedState.new(extra={"a": [1, float("-inf")]}), "$.state.extra.map.a[1]"),
    "surrogate": (
        VersionedState.new(messages=[Message.user("\ud800")]),
        "$.state.messages.items[0].content",
    ),
    "bytes": (VersionedState.new(extra={"a b": b"x"}), '$.state.extra.map["a b"]'),
    "set": (VersionedState.new(extra={"a": {1}}), "$.state.extra.map.a"),
    "key": (
        VersionedState.new(errors=[ErrorEvent(error=WeaveError(message="m", details={1: 2}))]),
        "$.state.errors.items[0].error.details",
    ),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_json_cannot_hold_is_refused_with_its_path(
    checkpointer: Checkpointer, name: str
) -> None:
    save_history(checkpointer, "session", [1])
    before = everything_stored()
    latest = checkpointer.load_latest("session")
    state, path = NOT_JSON[name]
    for session_id in ("session", "new"):
        with pytest.raises(SerializationError) as refused:
            checkpointer.save(a_checkpoint(session_id, 2, state=state))
        assert refused.value.path == path
        assert isinstance(refused.value, CheckpointerError)
        assert isinstance(refused.value, ValueError)
    assert checkpointer.list_sessions() == ["session"]
    assert checkpointer.load_latest("session") == latest
    assert everything_stored() == before


@pytest.mark.parametrize(
    "fields",
    [
        {"step": -1},
        {"step": 2**63},
        {"step": True},
        {"step": 1.0},
        {"session_id": ""},
        {"concurrency_limit": -1},
        {"concurrency_limit": 2**63},
        {"versions_seen": {"a": {"b": 2**64}}},
        {"versions_seen": {"a": {"b": -1}}},
        {"versions_seen": {"\0": {}}},
        {"frontier": ["\0"]},
        {"ran_nodes": ["\ud800"]},
        {"skipped_nodes": "plan"},
        {"updated_channels": ["\0"]},
        {"created_at": "now"},
        {"state": {}},
    ],
    ids=str,
)
def test_what_is_outside_its_range_is_refused(
    checkpointer: Checkpointer, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidCheckpoint) as refused:
        checkpointer.save(a_checkpoint(**{"session_id": "session", "step": 1, **fields}))
    assert isinstance(refused.value, ValueError)
    assert checkpointer.list_sessions() == []


@pytest.mark.parametrize("expected", [-1, 2**63, True, 1.0, "1"], ids=repr)
def test_an_expected_step_outside_its_range_is_refused(
    django: DjangoCheckpointer, expected: Any
) -> None:
    with pytest.raises(InvalidCheckpoint) as refused:
        django.save_with_concurrency_check(a_checkpoint(step=5), expected)
    assert refused.value.path == "$.expected_last_step"
    assert django.list_sessions() == []


@pytest.mark.parametrize("at_step", [-1, 2**63, True, 1.0, "1"], ids=repr)
def test_a_step_to_fork_at_outside_its_range_is_refused(
    django: DjangoCheckpointer, at_step: Any
) -> None:
    save_history(django, "session", [1])
    with pytest.raises(InvalidQuery) as refused:
        django.fork_session("session", "fork", at_step=at_step)
    assert refused.value.path == "at_step"
    assert django.list_sessions() == ["session"]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": -1},
        {"offset": 2**63},
        {"min_step": True},
        {"max_step": "1"},
        {"ran_node": "\0"},
        {"skipped_node": "\udcff"},
        {"ran_node": 1},
    ],
    ids=str,
)
def test_a_malformed_query_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuery) as refused:
        StepQuery(**query)
    assert refused.value.path == next(iter(query))


def sized(size: int) -> VersionedState:
    """Return a state of exactly so many bytes of JSON, in characters of two bytes."""
    empty = VersionedState.new_with_user_message("")
    content = size - len(dumps_state(empty))
    return VersionedState.new_with_user_message("é" * (content // 2) + "x" * (content % 2))


@pytest.mark.parametrize("limit", [1000, 1001])
def test_a_state_of_the_limit_is_saved_and_one_byte_more_is_too_large(
    checkpointer: Checkpointer, settings: Any, limit: int
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": limit}
    checkpointer.save(a_checkpoint(state=sized(limit)))
    before = everything_stored()
    for session_id in ("session", "new"):
        with pytest.raises(StateTooLarge) as refused:
            checkpointer.save(a_checkpoint(session_id, 2, state=sized(limit + 1)))
        assert (refused.value.size, refused.value.limit) == (limit + 1, limit)
        assert isinstance(refused.value, InvalidCheckpoint)
        assert refused.value.path == "$.state"
        again = pickle.loads(pickle.dumps(refused.value))
        assert (again.size, again.limit, str(again)) == (limit + 1, limit, str(refused.value))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert latest.state == sized(limit)
    assert everything_stored() == before


TOO_LARGE: dict[str, dict[str, Any]] = {
    "frontier": {"frontier": [f"n{number}" for number in range(257)]},
    "ran_nodes": {"ran_nodes": ["x" * 256]},
    "skipped_nodes": {"skipped_nodes": [f"{number}".ljust(255, "日") for number in range(30)]},
    "updated_channels": {"updated_channels": ["messages"] * 257},
    "versions_seen": {"versions_seen": {"a": {str(number): 1 for number in range(1024)}}},
    "state.errors.items[0]": {
        "state": VersionedState.new(
            errors=[ErrorEvent(error=WeaveError(message="m", details="x" * 262_144))]
        )
    },
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_column_that_is_too_large_is_refused_and_nothing_is_written(
    checkpointer: Checkpointer, name: str
) -> None:
    save_history(checkpointer, "session", [1])
    before = everything_stored()
    latest = checkpointer.load_latest("session")
    for session_id in ("session", "new"):
        with pytest.raises(LimitExceeded) as refused:
            checkpointer.save(a_checkpoint(session_id, 2, **TOO_LARGE[name]))
        assert isinstance(refused.value, InvalidCheckpoint)
        assert refused.value.path.startswith(f"$.{name}")
    assert checkpointer.load_latest("session") == latest
    assert everything_stored() == before


@pytest.mark.parametrize("kind", WORST_STATES)
def test_the_largest_checkpoints_are_saved_and_read(django: DjangoCheckpointer, kind: str) -> None:
    checkpoints = [worst_checkpoint(kind, step=step) for step in (1, 2)]
    for checkpoint in checkpoints:
        django.save(checkpoint)
        assert django.load("worst", checkpoint.step) == checkpoint
    latest = django.load_latest("worst")
    assert latest is not None
    assert latest.state == checkpoints[1].state


@pytest.mark.parametrize("name", TOO_LARGE)
def test_rows_of_other_programs_are_read_however_large_they_are(
    django: DjangoCheckpointer, name: str
) -> None:
    checkpoint = a_checkpoint(**TOO_LARGE[name])
    row = StepRow.from_checkpoint(checkpoint, None, is_stored=True)
    django.save(a_checkpoint())
    columns = {column: json.loads(getattr(row, column)) for column in ("state", *JSON_COLUMNS)}
    Step.objects.update(**columns)
    assert django.load("session", 1) == checkpoint
    assert django.query_steps("session").checkpoints == (checkpoint,)
    latest = django.load_latest("session")
    assert latest is not None
    assert (latest.state, latest.frontier) == (checkpoint.state, checkpoint.frontier)
    fork = django.fork_session("session", "fork")
    assert fork.versions_seen == checkpoint.versions_seen


def test_a_checked_save_refuses_a_state_that_is_too_large(
    django: DjangoCheckpointer, settings: Any
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": 100}
    with pytest.raises(StateTooLarge):
        django.save_with_concurrency_check(a_checkpoint(state=sized(200)), 0)
    assert django.list_sessions() == []


def test_by_default_a_state_of_7_mib_is_saved_even_where_every_byte_is_escaped(
    checkpointer: Checkpointer, settings: Any
) -> None:
    del settings.WEAVEGRAPH_CHECKPOINTS
    limit = 7 * 1024 * 1024
    empty = len(dumps_state(VersionedState.new_with_user_message("")))
    quotes = Message.user('"' * ((limit - empty) // 2) + "x" * ((limit - empty) % 2))
    state = VersionedState.new(messages=[quotes])
    assert len(dumps_state(state)) == limit
    checkpointer.save(a_checkpoint(state=state))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert latest.state == state
    with pytest.raises(StateTooLarge) as refused:
        checkpointer.save(a_checkpoint(state=sized(limit + 1)))
    assert (refused.value.size, refused.value.limit) == (limit + 1, limit)


def test_none_is_no_limit(checkpointer: Checkpointer, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": None}
    state = sized(7 * 1024 * 1024 + 1)
    checkpointer.save(a_checkpoint(state=state))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert latest.state == state


def test_a_malformed_limit_is_a_fault_of_the_settings(
    checkpointer: Checkpointer, settings: Any
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": "7 MiB"}
    with pytest.raises(ImproperlyConfigured):
        checkpointer.save(a_checkpoint())
    assert checkpointer.list_sessions() == []


@pytest.mark.parametrize("counter", [float("nan"), -1, 2**64, True, b"1", None])
def test_versions_that_were_spoilt_after_they_were_checked_are_refused(
    checkpointer: Checkpointer, counter: Any
) -> None:
    checkpoint = a_checkpoint(versions_seen={"a": {"messages": 1}})
    checkpoint.versions_seen["a"]["messages"] = counter
    with pytest.raises(InvalidCheckpoint) as caught:
        checkpointer.save(checkpoint)
    assert caught.value.path == "$.versions_seen.a.messages"
    with pytest.raises(InvalidCheckpoint):
        dumps(checkpoint)
    assert checkpointer.list_sessions() == []
