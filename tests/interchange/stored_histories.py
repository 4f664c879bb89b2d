"""Load what an import has stored, and compare it with what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.assertions import assert_same
from weavegraph_checkpoints import Checkpoint, StepQuery, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

ALL_STEPS = StepQuery(limit=1000)


def load_history(session_id: str, using: str = "default") -> list[Checkpoint]:
    """Return the steps of a session, by ascending number."""
    page = DjangoCheckpointer(using).query_steps(session_id, ALL_STEPS)
    assert not page.page_info.has_next_page
    return list(reversed(page.checkpoints))


def load_histories(using: str = "default") -> dict[str, list[Checkpoint]]:
    """Return all stored steps, as checkpoints, by session."""
    return {
        session_id: load_history(session_id, using)
        for session_id in Session.objects.using(using).values_list("id", flat=True)
    }


def group_by_session(checkpoints: Iterable[Checkpoint]) -> dict[str, list[Checkpoint]]:
    """Return checkpoints as ``histories`` would, with the limit of the first one saved."""
    sessions: dict[str, dict[int, Checkpoint]] = {}
    for checkpoint in checkpoints:
        steps = sessions.setdefault(checkpoint.session_id, {})
        first = next(iter(steps.values()), checkpoint)
        steps[checkpoint.step] = replace(checkpoint, concurrency_limit=first.concurrency_limit)
    return {key: [steps[step] for step in sorted(steps)] for key, steps in sessions.items()}


def assert_stored(expected: dict[str, list[Checkpoint]], using: str = "default") -> None:
    """Fail unless exactly these histories are stored, with the same values and types."""
    assert_same(load_histories(using), expected)


def assert_stored_as_crate_reads(sessions: dict[str, Any], using: str = "default") -> None:
    """Fail unless what is stored is what the crate itself has read."""
    checkpointer = DjangoCheckpointer(using)
    assert set(checkpointer.list_sessions()) == set(sessions)
    for session_id, read in sessions.items():
        steps = [
            build_checkpoint(document, session_id, using) for document in reversed(read["steps"])
        ]
        assert_same(load_history(session_id, using), steps)
        latest = checkpointer.load_latest(session_id)
        assert latest is not None
        if latest.step == read["latest"]["step"]:
            assert_same(latest, build_checkpoint(read["latest"], session_id, using))
        else:
            # The crate's trigger on SQLite had moved its snapshot back.
            assert session_id == "late"
            assert (latest.step, read["latest"]["step"]) == (9, 5)
            assert_same(latest.state, steps[-1].state)


def build_checkpoint(document: dict[str, Any], session_id: str, using: str) -> Checkpoint:
    """Return a checkpoint that the crate read, with the limit of its session.

    On SQLite the crate reports 1 as the limit of each step.
    """
    limit = Session.objects.using(using).values_list("concurrency_limit", flat=True)
    return replace(serde.loads(json.dumps(document)), concurrency_limit=limit.get(pk=session_id))


def get_timestamps(using: str = "default") -> dict[str, tuple[datetime, datetime]]:
    """Return ``created_at`` and ``updated_at`` of each stored session."""
    rows = Session.objects.using(using).values_list("id", "created_at", "updated_at")
    return {session_id: (created, updated) for session_id, created, updated in rows}


def delete_all() -> None:
    """Delete all sessions and steps."""
    for model in (Step, Session):
        model.objects.all().delete()
