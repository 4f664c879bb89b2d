from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given

from tests.strategies import MAX_VERSION, an_error_event, text, within
from weavegraph_checkpoints import (
    AppScope,
    ErrorEvent,
    ErrorsChannel,
    ExtrasChannel,
    InvalidCheckpoint,
    Message,
    MessagesChannel,
    NodeScope,
    RunnerScope,
    SchedulerScope,
    VersionedState,
    WeaveError,
)

HUGE = pytest.param(10**5000, id="huge")
CHANNELS = [MessagesChannel, ExtrasChannel, ErrorsChannel]


@given(content=text())
def test_messages_have_a_helper_for_each_common_role(content: str) -> None:
    assert Message.user(content) == Message(role="user", content=content)
    assert Message.assistant(content) == Message(role="assistant", content=content)
    assert Message.system(content) == Message(role="system", content=content)
    assert Message.tool(content) == Message(role="tool", content=content)


@given(role=text(), content=text())
def test_any_role_is_allowed(role: str, content: str) -> None:
    message = Message(role=role, content=content)
    assert (message.role, message.content) == (role, content)


def test_the_defaults_of_an_error_event() -> None:
    event = ErrorEvent(error=WeaveError(message="boom"))
    assert event.scope == AppScope()
    assert event.tags == ()
    assert event.context is None


def test_the_defaults_of_an_error() -> None:
    error = WeaveError(message="boom")
    assert error.cause is None
    assert error.details is None


def test_an_error_remembers_its_chain_of_causes() -> None:
    root = WeaveError(message="dns", details={"tries": 3})
    error = WeaveError(message="connect", cause=root)
    assert error.cause is root


@pytest.mark.parametrize(
    ("scope", "fields"),
    [
        (NodeScope(kind="anything at all", step=3), {"kind": "anything at all", "step": 3}),
        (SchedulerScope(step=4), {"step": 4}),
        (RunnerScope(session="run", step=5), {"session": "run", "step": 5}),
        (AppScope(), {}),
    ],
)
def test_an_error_has_one_of_four_scopes(scope: Any, fields: dict[str, Any]) -> None:
    assert {name: getattr(scope, name) for name in scope.__struct_fields__} == fields
    assert an_error_event(scope=scope).scope == scope


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_is_empty_and_of_version_one_by_default(channel: type[Any]) -> None:
    empty = channel()
    assert empty.version == 1
    assert getattr(empty, "items", ()) == ()
    assert getattr(empty, "map", {}) == {}


def test_a_state_has_three_channels() -> None:
    state = VersionedState()
    assert state.messages == MessagesChannel(version=1, items=())
    assert state.extra == ExtrasChannel(version=1, map={})
    assert state.errors == ErrorsChannel(version=1, items=())


@given(content=text())
def test_a_new_state_may_hold_one_message_of_the_user(content: str) -> None:
    state = VersionedState.new_with_user_message(content)
    assert state.messages == MessagesChannel(version=1, items=(Message.user(content),))
    assert state.extra == ExtrasChannel()
    assert state.errors == ErrorsChannel()


def test_a_new_state_takes_what_its_channels_hold() -> None:
    event = an_error_event()
    state = VersionedState.new(messages=[Message.tool("x")], extra={"a": 1}, errors=[event])
    assert state == VersionedState(
        messages=MessagesChannel(version=1, items=(Message.tool("x"),)),
        extra=ExtrasChannel(version=1, map={"a": 1}),
        errors=ErrorsChannel(version=1, items=(event,)),
    )


def test_a_new_state_is_empty_by_default() -> None:
    assert VersionedState.new() == VersionedState()
    assert VersionedState.new((), None, ()) == VersionedState()


@pytest.mark.parametrize("extra", [[], 0, "", (), False])
def test_only_none_stands_for_no_extras(extra: Any) -> None:
    with pytest.raises(InvalidCheckpoint):
        VersionedState.new(extra=extra)


def test_states_do_not_share_their_extras() -> None:
    VersionedState().extra.map["a"] = 1
    VersionedState.new().extra.map["a"] = 1
    ExtrasChannel().map["a"] = 1
    assert VersionedState().extra.map == {}
    assert VersionedState.new().extra.map == {}
    assert ExtrasChannel().map == {}


def test_sequences_are_copied_into_tuples() -> None:
    messages, errors, tags = [Message.user("a")], [an_error_event()], ["network"]
    state = VersionedState.new(messages=messages, errors=errors)
    event = an_error_event(tags=tags)
    messages.append(Message.user("b"))
    errors.clear()
    tags.append("retry")
    assert state.messages.items == (Message.user("a"),)
    assert state.errors.items == (an_error_event(),)
    assert event.tags == ("network",)


def test_any_iterable_will_do_for_a_sequence() -> None:
    channel = MessagesChannel(items=(Message.user(word) for word in ("a", "b")))
    assert channel.items == (Message.user("a"), Message.user("b"))


def test_mappings_are_copied_into_dicts_one_level_deep() -> None:
    inner: list[int] = [1]
    extra = OrderedDict(a=inner)
    channel = ExtrasChannel(map=extra)
    extra["b"] = [2]
    assert channel.map == {"a": [1]}
    assert type(channel.map) is dict
    assert channel.map["a"] is inner
    assert type(ExtrasChannel(map=MappingProxyType({"a": 1})).map) is dict


def test_the_json_inside_an_error_is_not_copied() -> None:
    details, context = {"tries": 3}, [1]
    event = an_error_event(error=WeaveError(message="", details=details), context=context)
    assert event.error.details is details
    assert event.context is context


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Message.user("a"), "role"),
        (WeaveError(message="a"), "message"),
        (an_error_event(), "when"),
        (NodeScope(kind="a", step=1), "kind"),
        (SchedulerScope(step=1), "step"),
        (RunnerScope(session="a", step=1), "session"),
        (MessagesChannel(), "items"),
        (ExtrasChannel(), "map"),
        (ErrorsChannel(), "version"),
        (VersionedState(), "extra"),
    ],
)
def test_every_value_is_frozen(value: Any, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, getattr(value, field))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Message, ("user", "a")),
        (WeaveError, ("a",)),
        (ErrorEvent, (WeaveError(message="a"),)),
        (NodeScope, ("a", 1)),
        (SchedulerScope, (1,)),
        (RunnerScope, ("a", 1)),
        (MessagesChannel, (1,)),
        (ExtrasChannel, (1,)),
        (ErrorsChannel, (1,)),
        (VersionedState, (MessagesChannel(),)),
    ],
)
def test_every_value_is_constructed_by_keywords(kind: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        kind(*arguments)


def test_values_compare_by_value() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    left = VersionedState.new(extra={"a": [1]}, errors=[an_error_event(when=when)])
    assert left == VersionedState.new(extra={"a": [1]}, errors=[an_error_event(when=when)])
    assert left != VersionedState.new(extra={"a": [2]}, errors=[an_error_event(when=when)])
    assert left != VersionedState.new(extra={"a": [1]}, errors=[an_error_event(tags=())])
    assert NodeScope(kind="a", step=1) != RunnerScope(session="a", step=1)


@pytest.mark.parametrize("channel", CHANNELS)
@given(version=within(MAX_VERSION))
def test_channel_versions_reach_from_0_to_2_32(channel: type[Any], version: int) -> None:
    assert channel(version=version).version == version


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("version", [-1, MAX_VERSION + 1, HUGE, True, 1.0, "1", None])
def test_a_version_outside_its_range_is_refused(channel: type[Any], version: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        channel(version=version)
    assert refusal.value.path == "$.version"


@pytest.mark.parametrize("channel", [MessagesChannel, ErrorsChannel])
@pytest.mark.parametrize("items", [None, 1, "text", ""])
def test_items_that_are_no_sequence_are_refused(channel: type[Any], items: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        channel(items=items)
    assert refusal.value.path == "$.items"


@pytest.mark.parametrize("tags", [None, 1, "network", ""])
def test_tags_that_are_no_sequence_are_refused(tags: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        an_error_event(tags=tags)
    assert refusal.value.path == "$.tags"


@pytest.mark.parametrize("extra", [None, 1, "text", "", [("a", 1)]])
def test_a_map_that_is_no_mapping_is_refused(extra: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refusal:
        ExtrasChannel(map=extra)
    assert refusal.value.path == "$.map"
