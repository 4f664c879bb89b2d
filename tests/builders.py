"""Build histories, and read what is stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Checkpoint, VersionedState
from weavegraph_checkpoints.checkpointer import Checkpointer
from weavegraph_checkpoints.models import Label, Session, Step


def a_history(session_id: str, steps: Iterable[int], **fields: Any) -> list[Checkpoint]:
    """Return a checkpoint for each step, with the step in its state."""
    return [
        a_checkpoint(
            session_id,
            step,
            **{
                "state": VersionedState.new_with_user_message(f"{session_id} at {step}"),
                "ran_nodes": ["even" if step % 2 == 0 else "odd"],
                "skipped_nodes": ["review"],
                "updated_channels": ["messages"],
                **fields,
            },
        )
        for step in steps
    ]


def save_history(
    checkpointer: Checkpointer, session_id: str, steps: Iterable[int], **fields: Any
) -> list[Checkpoint]:
    """Save a history in the given order, and return it."""
    history = a_history(session_id, steps, **fields)
    for checkpoint in history:
        checkpointer.save(checkpoint)
    return history


def everything_stored(using: str = "default") -> tuple[list[Any], list[Any], list[Any]]:
    """Return all columns of all rows."""
    sessions = Session.objects.using(using).order_by("id").values_list()
    steps = Step.objects.using(using).order_by("session_id", "step").values_list()
    labels = Label.objects.using(using).order_by("session_id", "key").values_list()
    return list(sessions), list(steps), list(labels)


def orphans(using: str = "default") -> list[Any]:
    """Return the steps without a session."""
    known = Session.objects.using(using).values("id")
    return list(Step.objects.using(using).exclude(session__in=known).values_list("session", "step"))


def wrong_snapshots(using: str = "default") -> list[str]:
    """Return the ids of the sessions whose snapshot differs from their newest step."""
    wrong = []
    for session in Session.objects.using(using).all():
        newest = Step.objects.using(using).filter(session_id=session.id).order_by("-step").first()
        kept = (
            session.last_step,
            session.last_state,
            session.last_frontier,
            session.last_versions_seen,
            session.last_message_count,
            session.last_error_count,
            session.last_state_bytes,
            session.last_base_id,
        )
        expected: tuple[Any, ...] = (0, *[None] * 7)
        if newest is not None:
            expected = (
                newest.step,
                newest.state,
                newest.frontier,
                newest.versions_seen,
                newest.message_count,
                newest.error_count,
                newest.state_bytes,
                newest.base_id,
            )
        if kept != expected or (newest is None) != (session.status == "empty"):
            wrong.append(session.id)
    return wrong
