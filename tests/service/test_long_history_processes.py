"""What processes, threads of an event loop and transactions of the caller do to long histories."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from tests.builders import wrong_snapshots
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Message, SessionNotFound, StepQuery, VersionedState, serde
from weavegraph_checkpoints.backends.chains import MAX_MEMORY_BYTES, Base, ChainMemory, memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.serde.deltas import FoldedState, build_delta, planning

ROOT = Path(__file__).resolve().parent.parent.parent


def build_state(step: int, text: str = "") -> VersionedState:
    messages = [Message.user(f"{number} {text}{'x' * 150}") for number in range(step)]
    return VersionedState.new(messages=messages, extra={"step": step})


@pytest.fixture
def checkpointer(
    committed: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> DjangoCheckpointer:
    """A checkpointer that stores each state as changes."""
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 600)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": 0}
    memory.clear()
    return DjangoCheckpointer()


def save(checkpointer: DjangoCheckpointer, step: int, text: str = "") -> None:
    checkpointer.save(a_checkpoint("s", step, state=build_state(step, text)))


def assert_stored(text_by_step: dict[int, str]) -> None:
    """Check all steps, as this process and as a new one reads them."""
    for _ in range(2):
        page = DjangoCheckpointer().query_steps("s", StepQuery(limit=1000))
        states = {each.step: each.state for each in page.checkpoints}
        assert states == {step: build_state(step, text) for step, text in text_by_step.items()}
        memory.clear()
    assert wrong_snapshots() == []


def test_a_savepoint_takes_several_saves_back(checkpointer: DjangoCheckpointer) -> None:
    with transaction.atomic():
        for step in range(1, 8):
            save(checkpointer, step)
        for _ in range(3):
            with transaction.atomic():
                for step in range(8, 20):
                    save(checkpointer, step, "lost ")
                    latest = checkpointer.load_latest("s")
                    assert latest is not None
                    assert latest.state == build_state(step, "lost ")
                transaction.set_rollback(True)
            latest = checkpointer.load_latest("s")
            assert latest is not None
            assert latest.step == 7
        for step in range(8, 15):
            save(checkpointer, step, "kept ")
    assert_stored(dict.fromkeys(range(1, 8), "") | dict.fromkeys(range(8, 15), "kept "))
    bases = set(Step.objects.values_list("base", flat=True))
    assert bases <= set(Keyframe.objects.values_list("pk", flat=True))


def test_async(checkpointer: DjangoCheckpointer) -> None:
    async def run() -> None:
        for step in range(1, 20):
            await checkpointer.asave(a_checkpoint("s", step, state=build_state(step)))
            latest = await checkpointer.aload_latest("s")
            assert latest is not None
            assert latest.state == build_state(step)
        fork = await checkpointer.afork_session("s", "fork", at_step=9)
        assert fork.state == build_state(9)
        await checkpointer.adelete_session("fork")

    async_to_sync(run)()
    assert Keyframe.objects.count() > 3
    assert_stored(dict.fromkeys(range(1, 20), ""))


def test_owners(checkpointer: DjangoCheckpointer) -> None:
    """What the process remembers of a session is of no use to another owner."""
    ann, ben = DjangoCheckpointer(owner="ann"), DjangoCheckpointer(owner="ben")
    for step in range(1, 12):
        save(ann, step)
    for step in (5, 11, 12):
        with pytest.raises(SessionNotFound):
            save(ben, step)
    assert ben.load_latest("s") is None
    assert ben.load("s", 5) is None
    assert ben.query_steps("s").checkpoints == ()
    with pytest.raises(SessionNotFound):
        ben.fork_session("s", "fork")
    assert not ben.delete_session("s")
    fork = ann.fork_session("s", "fork")
    assert fork.state == build_state(11)
    assert_stored(dict.fromkeys(range(1, 12), ""))


def count_bytes() -> int:
    rows = [*Step.objects.all(), *Keyframe.objects.all(), *Session.objects.all()]
    states = [row.last_state if isinstance(row, Session) else row.state for row in rows]
    return sum(len(serde.dumps_json(state)) for state in states)


@pytest.mark.vendor("sqlite")
def test_processes_that_remember_nothing_write_only_changes(
    checkpointer: DjangoCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each save reads the chain, and makes links as often as a process that remembers it."""
    stored = {}
    for is_cold in (False, True):
        for step in range(1, 201):
            if is_cold:
                memory.clear()
            save(checkpointer, step)
        stored[is_cold] = count_bytes()
        checkpointer.delete_session("s")
    whole = sum(len(serde.dumps_state(build_state(step))) for step in range(1, 201))
    assert stored[True] < 1.5 * stored[False]
    assert stored[True] < whole / 8


def test_forked_processes(settings: Any) -> None:
    """They share neither the ids of keyframes nor a lock that is held."""
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.service.forking"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = finished.stdout.split("\n")[:-1]
    assert len(lines) == 2, finished.stderr
    assert lines[0] != lines[1]


TEXTS = {"ASCII": "x" * 100, "an emoji": "😀" + "x" * 100}
BASES = 4


def build_large_state(text: str, messages: int) -> VersionedState:
    items = [Message.user(f"{number} {text}") for number in range(messages)]
    return VersionedState.new(messages=items, extra={"log": [text] * (messages // 4)})


def build_chain(text: str) -> list[bytes]:
    """Return the documents of a chain of keyframes; a list in ``extra`` grows."""
    documents = [serde.dumps_state(build_large_state(text, 100))]
    folded = FoldedState.from_whole(documents[0])
    for link in range(1, BASES):
        document = build_delta(folded, build_large_state(text, 100 + 5 * link)).document
        documents.append(document)
        folded = folded.apply(document)
    return documents


def remember_chain(remembered: ChainMemory, session_id: str, chain: list[bytes], text: str) -> None:
    """Remember a chain as saves do whose caller builds all messages anew for each."""
    folded = FoldedState.from_whole(chain[0])
    for link in range(BASES):
        folded = folded.apply(chain[link]) if link else folded
        folded.adopt(build_large_state(text, 100 + 5 * link).messages.items)
        base = Base(id=2**62 - link, root_id=2**62, links=link, folded=folded)
        remembered.set_newest("default", session_id, base, base.get_chain_state())


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_memory_of_a_thousand_sessions(text: str) -> None:
    remembered = ChainMemory()
    chain = build_chain(text)
    tracemalloc.start()
    try:
        for number in range(1000):
            remember_chain(remembered, f"session {number}", chain, text)
        occupied, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert remembered.get("default", "session 999").newest is not None
    assert remembered.get("default", "session 0").newest is None
    assert MAX_MEMORY_BYTES / 5 < occupied < MAX_MEMORY_BYTES
