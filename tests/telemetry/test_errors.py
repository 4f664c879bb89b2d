"""Errors set the status and the type of a span, and never their message; nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.trace import StatusCode

from tests.builders import save_history
from tests.strategies import a_checkpoint, an_error_event, session_ids
from tests.telemetry.recording import Recording
from weavegraph_checkpoints import CheckpointerError, StepQuery, VersionedState, telemetry
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import verify
from weavegraph_checkpoints.models import Step
from weavegraph_checkpoints.pruning import prune

OURS = "weavegraph_checkpoints.exceptions"
SECRET = "correct horse battery staple"
FAILURES: dict[str, tuple[Callable[[DjangoCheckpointer], Any], str]] = {
    "conflict": (
        lambda it: it.save_with_concurrency_check(a_checkpoint(step=9), 8),
        f"{OURS}.ConcurrencyConflict",
    ),
    "before the database": (
        lambda it: it.save_with_concurrency_check(a_checkpoint(step=1), 8),
        f"{OURS}.InvalidCheckpoint",
    ),
    "step exists": (lambda it: it.save(a_checkpoint(), replace=False), f"{OURS}.StepExists"),
    "not JSON": (
        lambda it: it.save(a_checkpoint(state=VersionedState.new(extra={SECRET: {SECRET}}))),
        f"{OURS}.SerializationError",
    ),
    "too large": (
        lambda it: it.save(a_checkpoint(state=VersionedState.new_with_user_message(SECRET * 99))),
        f"{OURS}.StateTooLarge",
    ),
    "corrupt": (lambda it: it.load("session", 2), f"{OURS}.SerializationError"),
    "fork exists": (lambda it: it.fork_session("session", "session"), f"{OURS}.SessionExists"),
    "unknown field": (
        lambda it: it.query_steps("session", fields=[SECRET]),
        f"{OURS}.InvalidQuery",
    ),
    "wrong type": (lambda it: it.save(None), "AttributeError"),  # type: ignore[arg-type]
}


@pytest.fixture
def small_states(settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": 500}


def read_written(recording: Recording) -> str:
    """Return everything that was recorded, as text and as bytes of OTLP."""
    spans = recording.spans
    return recording.read_everything() + repr(encode_spans(spans).SerializeToString())


@pytest.mark.parametrize("name", FAILURES)
def test_an_error_sets_status_and_type_alone(
    checkpointer: DjangoCheckpointer, recording: Recording, small_states: None, name: str
) -> None:
    save_history(checkpointer, "session", [1, 2])
    Step.objects.filter(step=2).update(state={SECRET: SECRET})
    recording.clear()
    call, error_type = FAILURES[name]
    before = trace.get_current_span()
    with pytest.raises(Exception) as raised:
        call(checkpointer)
    assert trace.get_current_span() is before
    span = recording.only_span()
    assert (span.attributes or {})["error.type"] == error_type
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert span.events == ()
    assert str(raised.value) not in read_written(recording)
    assert SECRET not in read_written(recording)


def test_the_error_that_is_raised_is_that_of_the_call(
    checkpointer: DjangoCheckpointer, recording: Recording
) -> None:
    error = OperationalError("gone")

    def fail(*args: Any) -> Any:
        raise error

    with connection.execute_wrapper(fail), pytest.raises(OperationalError) as raised:
        checkpointer.load("session", 1)
    assert raised.value is error
    assert (raised.value.__context__, raised.value.__cause__) == (None, None)


def test_no_state_is_ever_written(checkpointer: DjangoCheckpointer, recording: Recording) -> None:
    state = VersionedState.new(
        extra={SECRET: [SECRET]}, errors=[an_error_event(context={SECRET: SECRET})]
    )
    fields: dict[str, Any] = {
        "frontier": [SECRET],
        "ran_nodes": [SECRET],
        "versions_seen": {SECRET: {SECRET: 1}},
        "updated_channels": [SECRET],
    }
    for step in (1, 2, 3):
        checkpointer.save(a_checkpoint(step=step, state=state, **fields))
    checkpointer.load_latest("session")
    checkpointer.load("session", 1)
    checkpointer.query_steps("session", StepQuery(ran_node=SECRET))
    checkpointer.fork_session("session", "fork")
    list(verify(deep=True))
    prune(RetentionPolicy(keep_last=1))
    checkpointer.delete_session("session")
    assert len(recording.spans) == 10
    written = read_written(recording)
    assert SECRET not in written
    assert "session" in written


INVALID_IDS = [None, 7, "", "\0", "\ud800", "x" * 256, b"bytes", object()]


@pytest.mark.parametrize("value", INVALID_IDS, ids=repr)
def test_invalid_ids_are_not_attributes(
    checkpointer: DjangoCheckpointer, recording: Recording, value: Any
) -> None:
    assert checkpointer.load(value, value) is None
    assert checkpointer.delete_session(value) is False
    with suppress(CheckpointerError):
        checkpointer.fork_session(value, value)
    for span in recording.spans:
        assert not any(key.endswith("session.id") for key in span.attributes or {})
    encode_spans(recording.spans)


@pytest.mark.parametrize("step", [-1, 2**63, 1.5, True, "1", None])
def test_invalid_steps_are_not_attributes(
    checkpointer: DjangoCheckpointer, recording: Recording, step: Any
) -> None:
    assert checkpointer.load("session", step) is None
    assert "weavegraph.step" not in (recording.only_span().attributes or {})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(session_id=session_ids(), step=st.integers(0, 2**63 - 1), is_keyword=st.booleans())
def test_valid_ids_are_whole_and_can_be_exported(
    checkpointer: DjangoCheckpointer,
    recording: Recording,
    session_id: str,
    step: int,
    is_keyword: bool,
) -> None:
    recording.clear()
    if is_keyword:
        checkpointer.load(step=step, session_id=session_id)
    else:
        checkpointer.load(session_id, step)
    attributes = recording.only_span().attributes or {}
    assert attributes["weavegraph.session.id"] == session_id
    assert attributes["weavegraph.step"] == step
    (resource,) = encode_spans(recording.spans).resource_spans
    (encoded,) = resource.scope_spans[0].spans
    values = {each.key: each.value for each in encoded.attributes}
    assert values["weavegraph.session.id"].string_value == session_id
    assert values["weavegraph.step"].int_value == step


@pytest.mark.parametrize("cls", [KeyError, json.JSONDecodeError, telemetry.ConcurrencyConflict])
def test_names_of_errors(cls: type[Exception]) -> None:
    error = cls.__new__(cls)
    name = telemetry.get_error_type(error)
    assert (
        name
        == {
            "KeyError": "KeyError",
            "JSONDecodeError": "json.decoder.JSONDecodeError",
            "ConcurrencyConflict": f"{OURS}.ConcurrencyConflict",
        }[cls.__name__]
    )
