"""Every id of 1 to 255 characters is a session of its own; what none can be is not there."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings

from tests import strategies
from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import InvalidCheckpoint, SessionNotFound, StepQuery
from weavegraph_checkpoints.checkpointer import (
    Checkpointer,
    DjangoCheckpointer,
    InMemoryCheckpointer,
)

IDS = [
    *[
        "a",
        "A",
        "á",
        "a\u0301",
        "a ",
        " a",
        "a  ",
        " ",
        "a/b",
        "a\\b",
        "..",
        ".",
        "100%",
        "a_b",
        "%",
    ],
    *[
        "tab\tid",
        "new\nline",
        "a\r\n",
        "\x01",
        "\x7f",
        "日本",
        "😀",
        "quote'\"",
        "`",
        "--",
        "; DROP",
    ],
    *["x" * 255, "x" * 254, "x" * 254 + "y", "😀" * 255, "é" * 255, "ß", "SS", "ss", "ı", "I", "i"],
    *["airline/12/trial-3", "conversation", "%s", "%(id)s", "null", "0", "~YQ", "\ufeff", "\u2028"],
    *["\uffff", "\U0010ffff", "https://example.test/?q=1&r=2#top"],
]
IMPOSSIBLE: list[Any] = [
    *["", "x" * 256, "\0", "a\0b", "\ud800", "a\udfffb", "😀" * 256],
    *[None, 1, b"a", ["a"], {"a": 1}, object()],
]


def test_each_id_is_a_session_of_its_own(checkpointer: Checkpointer) -> None:
    for step, session_id in enumerate(IDS):
        checkpointer.save(a_checkpoint(session_id, step))
    assert sorted(checkpointer.list_sessions()) == sorted(IDS)
    for step, session_id in enumerate(IDS):
        latest = checkpointer.load_latest(session_id)
        assert latest is not None
        assert (latest.session_id, latest.step) == (session_id, step)


def test_each_id_has_a_history_of_its_own(django: DjangoCheckpointer) -> None:
    for session_id in IDS:
        save_history(django, session_id, [1, 2])
    for session_id in IDS:
        assert django.query_steps(session_id).page_info.total_count == 2
        found = django.load(session_id, 1)
        assert found is not None
        assert found.session_id == session_id


def test_each_id_may_be_forked_and_deleted(django: DjangoCheckpointer) -> None:
    save_history(django, "origin", [1, 2])
    for session_id in IDS:
        assert django.fork_session("origin", session_id).session_id == session_id
    for position, session_id in enumerate(IDS, 1):
        assert django.delete_session(session_id)
        assert not django.delete_session(session_id)
        assert len(django.list_sessions()) == len(IDS) + 1 - position


@pytest.mark.parametrize("session_id", IMPOSSIBLE, ids=lambda value: ascii(value)[:12])
def test_an_id_that_none_can_hold_is_not_there(django: DjangoCheckpointer, session_id: Any) -> None:
    save_history(django, "a", [1])
    assert django.load_latest(session_id) is None
    assert django.load(session_id, 1) is None
    assert django.query_steps(session_id) == django.query_steps("unknown")
    assert django.query_steps(session_id, StepQuery(offset=3)).page_info.offset == 3
    assert django.delete_session(session_id) is False
    with pytest.raises(SessionNotFound):
        django.fork_session(session_id, "b")
    assert InMemoryCheckpointer().load_latest(session_id) is None


@pytest.mark.parametrize(
    "step", [-1, 2**63, 2**64, 10**400, True, 1.0, "1", None, [1]], ids=lambda step: str(step)[:9]
)
def test_a_step_that_none_can_hold_is_not_there(django: DjangoCheckpointer, step: Any) -> None:
    save_history(django, "a", [0, 1, 2**63 - 1])
    assert django.load("a", step) is None


@pytest.mark.parametrize("session_id", IMPOSSIBLE, ids=lambda value: ascii(value)[:12])
def test_an_id_that_none_can_hold_is_refused_on_writes(
    django: DjangoCheckpointer, session_id: Any
) -> None:
    save_history(django, "a", [1])
    before = everything_stored()
    with pytest.raises(InvalidCheckpoint):
        django.save(a_checkpoint(session_id))
    with pytest.raises(InvalidCheckpoint) as refused:
        django.fork_session("a", session_id)
    assert refused.value.path == "$.target_id"
    assert everything_stored() == before


@pytest.mark.django_db
@settings(max_examples=40)
@given(session_id=strategies.session_ids())
def test_any_id_comes_back(session_id: str) -> None:
    checkpointer = DjangoCheckpointer()
    others = {session_id.swapcase(), session_id + " ", unicodedata.normalize("NFD", session_id)}
    saved = a_checkpoint(session_id)
    checkpointer.save(saved)
    assert checkpointer.load(session_id, 1) == saved
    assert session_id in checkpointer.list_sessions()
    for other in others - {session_id}:
        assert checkpointer.load_latest(other) is None
    assert checkpointer.delete_session(session_id)
