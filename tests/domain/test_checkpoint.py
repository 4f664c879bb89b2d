from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.assertions import assert_same
from tests.strategies import (
    MAX_COUNTER,
    MAX_STEP,
    a_checkpoint,
    a_full_checkpoint,
    checkpoints,
    instants,
    node_kinds,
    session_ids,
    storable_text,
    versions_seen,
    within,
)
from weavegraph_checkpoints import (
    Checkpoint,
    InvalidCheckpoint,
    NodeKind,
    SessionState,
    VersionedState,
    VersionsSeen,
    restore_session_state,
)

HUGE = pytest.param(10**5000, id="huge")
NODE_FIELDS = ["frontier", "ran_nodes", "skipped_nodes"]
UNSTORABLE_TEXTS = ["\0", "a\0b", "\ud800", "a\udfff", "\ud83d\ude00"]


class One(IntEnum):
    ONE = 1


class Plan(StrEnum):
    PLAN = "plan"


def a_session_state(**fields: Any) -> SessionState:
    few: dict[str, Any] = {
        "state": VersionedState.new_with_user_message("hello"),
        "step": 3,
        "frontier": ["plan"],
        "versions_seen": {"plan": {"messages": 1}},
    }
    return SessionState(**(few | fields))


def path_of_refusal(make: Callable[..., Any], **fields: Any) -> str:
    with pytest.raises(InvalidCheckpoint) as refusal:
        make(**fields)
    return refusal.value.path


def test_the_defaults_of_a_checkpoint() -> None:
    before = datetime.now(UTC)
    checkpoint = Checkpoint(
        session_id="run", step=0, state=VersionedState(), frontier=[], versions_seen={}
    )
    assert checkpoint.concurrency_limit == 1
    assert before <= checkpoint.created_at <= datetime.now(UTC)
    assert checkpoint.created_at.tzinfo is UTC
    assert checkpoint.ran_nodes == ()
    assert checkpoint.skipped_nodes == ()
    assert checkpoint.updated_channels == ()


@pytest.mark.parametrize("missing", ["session_id", "step", "state", "frontier", "versions_seen"])
def test_everything_else_must_be_given(missing: str) -> None:
    fields: dict[str, Any] = {
        "session_id": "run",
        "step": 0,
        "state": VersionedState(),
        "frontier": [],
        "versions_seen": {},
    }
    del fields[missing]
    with pytest.raises(TypeError):
        Checkpoint(**fields)


def test_checkpoints_are_constructed_by_keywords() -> None:
    with pytest.raises(TypeError):
        Checkpoint("run", 0, VersionedState(), [], {})  # type: ignore[misc]
    with pytest.raises(TypeError):
        SessionState(VersionedState(), 0, [], {})  # type: ignore[misc]


@pytest.mark.parametrize("record", [a_checkpoint(), a_session_state()])
@pytest.mark.parametrize("field", ["step", "state", "frontier", "versions_seen"])
def test_records_are_frozen(record: Any, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(record, field, getattr(record, field))


@given(checkpoint=checkpoints())
def test_checkpoints_compare_by_value(checkpoint: Checkpoint) -> None:
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
    assert Checkpoint(**fields) == checkpoint
    fields["session_id"] = "another" + checkpoint.session_id[:200]
    assert Checkpoint(**fields) != checkpoint


@pytest.mark.parametrize(
    "change",
    [
        {"step": 2},
        {"state": VersionedState()},
        {"frontier": []},
        {"versions_seen": {}},
        {"concurrency_limit": 2},
        {"created_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"ran_nodes": ["plan"]},
        {"skipped_nodes": ["plan"]},
        {"updated_channels": ["messages"]},
    ],
)
def test_a_difference_in_any_field_is_a_difference(change: dict[str, Any]) -> None:
    assert a_checkpoint(**change) != a_checkpoint()


@pytest.mark.parametrize("field", NODE_FIELDS)
@given(node=node_kinds())
def test_nodes_are_given_as_nodes_or_as_text(field: str, node: NodeKind) -> None:
    checkpoint = a_checkpoint(**{field: [node, node.encode(), "Start", "End", "plan"]})
    assert getattr(checkpoint, field) == (
        node,
        node,
        NodeKind.START,
        NodeKind.END,
        NodeKind.custom("plan"),
    )


def test_a_session_state_takes_nodes_as_text_too() -> None:
    assert a_session_state(frontier=["Custom:a", "End"]).frontier == (
        NodeKind.custom("a"),
        NodeKind.END,
    )


@pytest.mark.parametrize("field", NODE_FIELDS)
def test_lists_of_nodes_are_copied_into_tuples(field: str) -> None:
    nodes: list[NodeKind | str] = ["a"]
    checkpoint = a_checkpoint(**{field: nodes})
    nodes.append("b")
    assert getattr(checkpoint, field) == (NodeKind.custom("a"),)
    assert getattr(a_checkpoint(**{field: iter(["a"])}), field) == (NodeKind.custom("a"),)


def test_the_list_of_channels_is_copied_into_a_tuple() -> None:
    channels = ["messages"]
    checkpoint = a_checkpoint(updated_channels=channels)
    channels.append("extra")
    assert checkpoint.updated_channels == ("messages",)
    assert a_checkpoint(updated_channels=iter(["extra"])).updated_channels == ("extra",)


@pytest.mark.parametrize("make", [a_checkpoint, a_session_state])
def test_versions_seen_is_copied_two_levels_deep(make: Callable[..., Any]) -> None:
    seen = {"plan": {"messages": 1}}
    record = make(versions_seen=seen)
    seen["plan"]["messages"] = 2
    seen["plan"]["extra"] = 1
    seen["other"] = {}
    assert record.versions_seen == {"plan": {"messages": 1}}


def test_versions_seen_is_copied_into_dicts() -> None:
    seen = MappingProxyType({"plan": OrderedDict(messages=1)})
    assert_same(a_checkpoint(versions_seen=seen).versions_seen, {"plan": {"messages": 1}})


def test_a_session_state_copies_its_frontier() -> None:
    nodes = ["a"]
    record = a_session_state(frontier=nodes)
    nodes.append("b")
    assert record.frontier == (NodeKind.custom("a"),)


def test_the_state_is_not_copied() -> None:
    state = VersionedState.new(extra={"a": [1]})
    assert a_checkpoint(state=state).state is state


@given(session_id=session_ids())
def test_session_ids_of_1_to_255_characters_are_kept(session_id: str) -> None:
    assert a_checkpoint(session_id).session_id == session_id


@pytest.mark.parametrize("session_id", ["x", " ", "x" * 255, "😀" * 255, "é" * 255])
def test_the_length_of_a_session_id_is_counted_in_characters(session_id: str) -> None:
    assert a_checkpoint(session_id).session_id == session_id


@pytest.mark.parametrize(
    "session_id", ["", "x" * 256, "😀" * 256, *UNSTORABLE_TEXTS, None, 1, b"run", Plan.PLAN]
)
def test_other_session_ids_are_refused(session_id: Any) -> None:
    assert path_of_refusal(a_checkpoint, session_id=session_id) == "$.session_id"


@given(step=within(MAX_STEP), limit=within(MAX_STEP))
def test_steps_and_limits_reach_from_0_to_2_63(step: int, limit: int) -> None:
    for record in (
        a_checkpoint(step=step, concurrency_limit=limit),
        a_session_state(step=step, concurrency_limit=limit),
    ):
        assert (record.step, record.concurrency_limit) == (step, limit)


@pytest.mark.parametrize("make", [a_checkpoint, a_session_state])
@pytest.mark.parametrize("field", ["step", "concurrency_limit"])
@pytest.mark.parametrize(
    "value",
    [
        -1,
        MAX_STEP + 1,
        HUGE,
        True,
        False,
        1.0,
        "1",
        None,
        One.ONE,
        pytest.param([10**5000], id="huge inside"),
    ],
)
def test_integers_outside_their_range_are_refused(
    make: Callable[..., Any], field: str, value: Any
) -> None:
    assert path_of_refusal(make, **{field: value}) == f"$.{field}"


@given(seen=versions_seen())
def test_versions_seen_is_kept_as_it_is(seen: VersionsSeen) -> None:
    assert_same(a_checkpoint(versions_seen=seen).versions_seen, seen)


def test_the_keys_of_versions_seen_are_never_read_as_nodes() -> None:
    keys = ['Custom("plan")', "Custom:plan", "plan", "Start", ""]
    seen = {key: {"messages": 1} for key in keys}
    assert list(a_checkpoint(versions_seen=seen).versions_seen) == keys


@pytest.mark.parametrize("counter", [0, 1, 2**53 + 1, 2**63, MAX_COUNTER])
def test_counters_reach_from_0_to_2_64(counter: int) -> None:
    assert a_checkpoint(versions_seen={"a": {"b": counter}}).versions_seen["a"]["b"] == counter


@pytest.mark.parametrize("make", [a_checkpoint, a_session_state])
@pytest.mark.parametrize("counter", [-1, MAX_COUNTER + 1, HUGE, True, 1.0, "1", None, One.ONE, {}])
def test_counters_outside_their_range_are_refused(make: Callable[..., Any], counter: Any) -> None:
    seen = {"a": {"b": 1}, "p q": {"y": 2, "z": counter}}
    assert path_of_refusal(make, versions_seen=seen) == '$.versions_seen["p q"].z'


@pytest.mark.parametrize("key", [*UNSTORABLE_TEXTS, None, 1, b"a", ("a",), Plan.PLAN])
def test_the_keys_of_versions_seen_are_storable_text(key: Any) -> None:
    assert path_of_refusal(a_checkpoint, versions_seen={key: {}}) == "$.versions_seen"
    seen = {"a": {key: 1}}
    assert path_of_refusal(a_checkpoint, versions_seen=seen) == "$.versions_seen.a"


@pytest.mark.parametrize("seen", [None, [], "text", 1, [("a", {})]])
def test_versions_seen_is_a_mapping_of_mappings(seen: Any) -> None:
    assert path_of_refusal(a_checkpoint, versions_seen=seen) == "$.versions_seen"
    inner = {"a": {}, "b": seen}
    assert path_of_refusal(a_checkpoint, versions_seen=inner) == "$.versions_seen.b"


@pytest.mark.parametrize("field", NODE_FIELDS)
@pytest.mark.parametrize(
    "node", [*UNSTORABLE_TEXTS, NodeKind.custom("a\0"), NodeKind.custom("\ud800")]
)
def test_the_names_of_nodes_are_storable_text(field: str, node: Any) -> None:
    assert path_of_refusal(a_checkpoint, **{field: ["a", node]}) == f"$.{field}[1]"


@pytest.mark.parametrize("field", NODE_FIELDS)
@pytest.mark.parametrize("node", [None, 1, b"a", ["a"], Plan.PLAN])
def test_what_is_no_node_is_refused(field: str, node: Any) -> None:
    assert path_of_refusal(a_checkpoint, **{field: ["a", node]}) == f"$.{field}[1]"


@pytest.mark.parametrize("field", [*NODE_FIELDS, "updated_channels"])
@pytest.mark.parametrize("value", [None, 1, "plan", NodeKind.START])
def test_one_node_or_channel_does_not_stand_for_a_list(field: str, value: Any) -> None:
    assert path_of_refusal(a_checkpoint, **{field: value}) == f"$.{field}"


@given(names=st.lists(storable_text(), max_size=4))
def test_channels_have_any_storable_name(names: list[str]) -> None:
    assert a_checkpoint(updated_channels=names).updated_channels == tuple(names)


@pytest.mark.parametrize("name", [*UNSTORABLE_TEXTS, None, 1, b"a", Plan.PLAN])
def test_other_names_of_channels_are_refused(name: Any) -> None:
    path = path_of_refusal(a_checkpoint, updated_channels=["a", "b", name])
    assert path == "$.updated_channels[2]"


@pytest.mark.parametrize("make", [a_checkpoint, a_session_state])
@pytest.mark.parametrize("state", [None, {}, "text", VersionedState])
def test_a_state_is_a_versioned_state(make: Callable[..., Any], state: Any) -> None:
    assert path_of_refusal(make, state=state) == "$.state"


@given(instant=instants())
def test_created_at_is_kept_to_the_microsecond_in_utc(instant: datetime) -> None:
    created_at = a_checkpoint(created_at=instant).created_at
    assert created_at == instant
    assert created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "created_at",
    [
        datetime(2026, 1, 2),
        date(2026, 1, 2),
        time(3, 4, tzinfo=UTC),
        "2026-01-02T03:04:05Z",
        1767322800,
        None,
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_created_at_is_an_aware_datetime(created_at: Any) -> None:
    assert path_of_refusal(a_checkpoint, created_at=created_at) == "$.created_at"


def test_a_checkpoint_is_made_of_a_session_state() -> None:
    before = datetime.now(UTC)
    session_state = a_session_state(concurrency_limit=5)
    checkpoint = Checkpoint.from_session("run", session_state)
    assert before <= checkpoint.created_at <= datetime.now(UTC)
    assert checkpoint == Checkpoint(
        session_id="run",
        step=3,
        state=session_state.state,
        frontier=["plan"],
        versions_seen={"plan": {"messages": 1}},
        concurrency_limit=5,
        created_at=checkpoint.created_at,
    )


def test_a_session_state_is_restored_from_a_checkpoint() -> None:
    checkpoint = a_full_checkpoint()
    assert restore_session_state(checkpoint) == SessionState(
        state=checkpoint.state,
        step=checkpoint.step,
        frontier=checkpoint.frontier,
        versions_seen=checkpoint.versions_seen,
        concurrency_limit=7,
    )


@given(checkpoint=checkpoints())
def test_restoring_and_saving_again_changes_nothing(checkpoint: Checkpoint) -> None:
    session_state = restore_session_state(checkpoint)
    again = Checkpoint.from_session(checkpoint.session_id, session_state)
    assert restore_session_state(again) == session_state


def test_a_restored_session_state_is_independent_of_its_checkpoint() -> None:
    checkpoint = a_checkpoint()
    restore_session_state(checkpoint).versions_seen["Custom:plan"]["messages"] = 9
    assert checkpoint == a_checkpoint()


def test_the_concurrency_limit_of_a_session_state_is_1_by_default() -> None:
    assert a_session_state().concurrency_limit == 1


def test_a_refused_value_is_shown_in_short() -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        a_checkpoint("é" * 10_000)
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).isascii()
