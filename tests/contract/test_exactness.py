"""What is read equals what was saved, in value and in type."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given

from tests import strategies
from tests.assertions import assert_same, checkpoint_as_read
from tests.strategies import EDGE_FLOATS, EDGE_INTEGERS, EDGE_TEXTS, a_checkpoint
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorsChannel,
    ExtrasChannel,
    MessagesChannel,
    SerializationError,
    StepQuery,
    VersionedState,
)
from weavegraph_checkpoints.checkpointer import (
    Checkpointer,
    DjangoCheckpointer,
    InMemoryCheckpointer,
)
from weavegraph_checkpoints.models import Session, Step


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"k": value}
    return value


EXTRAS: dict[str, Any] = {
    "integers": list(EDGE_INTEGERS),
    "floats": list(EDGE_FLOATS),
    "texts": list(EDGE_TEXTS),
    "one": [1, 1.0, True, "1", None, False, 0, 0.0, -0.0, ""],
    "empty": [{}, [], {"": {"": []}}],
    "keys": {text: number for number, text in enumerate(EDGE_TEXTS)},
    "": "an empty key",
    "deep": nested(199),
    "long": "x" * 100_000,
}


@pytest.mark.parametrize("name", EXTRAS)
def test_awkward_values_come_back_as_they_went_in(checkpointer: Checkpointer, name: str) -> None:
    state = VersionedState.new(extra={name: EXTRAS[name]})
    checkpointer.save(a_checkpoint(state=state))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert_same(latest.state, state)


def test_all_awkward_values_come_back_from_the_history(django: DjangoCheckpointer) -> None:
    saved = a_checkpoint(state=VersionedState.new(extra=EXTRAS))
    django.save(saved)
    assert_same(django.load("session", 1), saved)
    assert_same(django.query_steps("session").checkpoints, (saved,))
    fork = django.fork_session("session", "fork")
    assert_same(fork.state, saved.state)


def test_free_values_of_200_levels_are_kept(checkpointer: Checkpointer) -> None:
    state = VersionedState.new(extra={"deep": nested(200)})
    checkpointer.save(a_checkpoint(state=state))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert_same(latest.state, state)


def test_counters_and_versions_reach_the_limits_of_their_types(
    checkpointer: Checkpointer,
) -> None:
    seen = {
        "Custom:plan": {"messages": 2**64 - 1, "extra": 2**63, "errors": 2**53 + 1, "": 0},
        'Custom("plan")': {"%": 1},
        "": {},
    }
    top = 2**32 - 1
    state = VersionedState(
        messages=MessagesChannel(version=top),
        extra=ExtrasChannel(version=0),
        errors=ErrorsChannel(version=top),
    )
    checkpointer.save(a_checkpoint(versions_seen=seen, state=state))
    latest = checkpointer.load_latest("session")
    assert latest is not None
    assert_same(latest.versions_seen, seen)
    assert_same(latest.state, state)


def test_counters_are_exact_in_the_history_too(django: DjangoCheckpointer) -> None:
    saved = a_checkpoint(versions_seen={"n": {"c": 2**64 - 1, "d": 2**63 + 1}})
    django.save(saved)
    assert_same(django.load("session", 1), saved)
    django.fork_session("session", "fork")
    assert_same(django.load("fork", 1), dataclasses.replace(saved, session_id="fork"))


@pytest.mark.django_db
@given(saved=strategies.checkpoints())
def test_any_checkpoint_comes_back_whole(saved: Checkpoint) -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.delete_session(saved.session_id)
    checkpointer.save(saved)
    expected = checkpoint_as_read(saved)
    assert_same(checkpointer.load(saved.session_id, saved.step), expected)
    page = checkpointer.query_steps(saved.session_id, StepQuery(limit=1))
    assert_same(page.checkpoints, (expected,))
    in_memory = InMemoryCheckpointer()
    in_memory.save(saved)
    for kept in (checkpointer, in_memory):
        latest = kept.load_latest(saved.session_id)
        assert latest is not None
        assert_same(
            latest,
            dataclasses.replace(
                expected,
                created_at=latest.created_at,
                ran_nodes=(),
                skipped_nodes=(),
                updated_channels=(),
            ),
        )


BROKEN = {
    "state": ({"messages": {"items": []}, "extra": {"version": 1}}, "$.state.messages.version"),
    "frontier": ([1], "$.frontier[0]"),
    "versions_seen": ({"a": {"b": "c"}}, "$.versions_seen"),
}


@pytest.mark.parametrize("column", BROKEN)
def test_a_broken_record_is_an_error_that_names_it(django: DjangoCheckpointer, column: str) -> None:
    django.save(a_checkpoint("broken", 3))
    value, path = BROKEN[column]
    Step.objects.update(**{column: value})
    Session.objects.update(**{f"last_{column}": value})
    for read in (
        lambda: django.load("broken", 3),
        lambda: django.load_latest("broken"),
        lambda: django.query_steps("broken"),
    ):
        with pytest.raises(SerializationError) as broken:
            read()
        assert broken.value.path.startswith(path)
        assert "'broken', step 3" in str(broken.value)
