"""Long histories under isolation levels that are stricter than the default ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from tests.service.long_histories import assert_reads, build_state, save, save_steps
from tests.service.racing import alias_like
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Step
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde.deltas import planning


@pytest.fixture(autouse=True)
def tiny_links(committed: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store each state as changes, with a link every three steps."""
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 600)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": 0}
    memory.clear()


@pytest.fixture(params=["repeatable read", "serializable"])
def isolated(request: pytest.FixtureRequest) -> Iterator[str]:
    """An alias with a stricter isolation level."""
    level: Any = request.param
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        level = IsolationLevel[level.upper().replace(" ", "_")]
    with alias_like("default", "isolated", OPTIONS={"isolation_level": level}) as alias:
        yield alias


ACTIONS: dict[str, Callable[[DjangoCheckpointer], Any]] = {
    "save": lambda it: it.save(a_checkpoint("s", 40, state=build_state(40))),
    "late save": lambda it: it.save(a_checkpoint("s", 0, state=build_state(0, messages=40))),
    "fork": lambda it: it.fork_session("s", "fork"),
    "prune": lambda it: prune(RetentionPolicy(keep_last=2), using=it.using),
    "delete": lambda it: it.delete_session("s"),
}


@pytest.mark.vendor("mysql")
@pytest.mark.parametrize("name", ACTIONS)
def test_an_older_snapshot_does_not_hide_keyframes(name: str) -> None:
    """Under REPEATABLE READ of MariaDB a lock shows more than the next read."""
    save_steps(10)
    level = {"isolation_level": "repeatable read"}
    with alias_like("default", "isolated", OPTIONS=level) as alias:
        isolated = DjangoCheckpointer(alias)
        with transaction.atomic(alias):
            assert isolated.load_latest("s") is not None
            for step in range(11, 31):
                save(step)
            ACTIONS[name](isolated)
            for session_id in isolated.list_sessions():
                isolated.load_latest(session_id)
    memory.clear()
    sessions = {"fork": {"s", "fork"}, "delete": set[str]()}.get(name, {"s"})
    assert set(DjangoCheckpointer().list_sessions()) == sessions
    for session_id in sessions:
        for found in DjangoCheckpointer().query_steps(session_id).checkpoints:
            messages = 40 if found.step == 0 else found.step
            assert found.state == build_state(found.step, messages=messages)
        assert not foreign_bases(session_id)


def foreign_bases(session_id: str) -> bool:
    """Return whether a step is stored as changes to a keyframe of another session."""
    rows = Step.objects.filter(session=session_id).exclude(base=None)
    return rows.exclude(base__session=session_id).exists()


@pytest.mark.vendor("postgresql", "mysql")
def test_stricter_isolation(isolated: str) -> None:
    checkpointer = DjangoCheckpointer(isolated)
    save_steps(5)
    for step in range(6, 15):
        save(step, using=isolated if step % 2 else "default")
    with transaction.atomic(isolated):
        for step in range(15, 25):
            save(step, using=isolated)
            assert checkpointer.load_latest("s").state == build_state(step)  # type: ignore[union-attr]
        checkpointer.fork_session("s", "fork", at_step=20)
    prune(RetentionPolicy(keep_last=8), using=isolated)
    for session_id, last in (("s", 24), ("fork", 20)):
        assert not foreign_bases(session_id)
        for step in range(last - 7, last + 1):
            assert_reads(step, session_id)
