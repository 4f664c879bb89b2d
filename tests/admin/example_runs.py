"""Runs to look at, and the URLs of the pages that show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.strategies import an_error_event
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    VersionedState,
)
from weavegraph_checkpoints.admin.urls import Addresses
from weavegraph_checkpoints.models import Session, Step

BASE = "/admin/weavegraph_checkpoints/session/"
START = datetime(2026, 1, 1, tzinfo=UTC)

addresses = Addresses("admin")


def a_run(session_id: str, steps: int = 6) -> list[Checkpoint]:
    """Return a run whose errors rise at steps 3 and 5, and which ends at the last step."""
    history = []
    for step in range(1, steps + 1):
        errors = [an_error_event(tags=[f"at-{at}"]) for at in (3, 5) if at <= step]
        history.append(
            Checkpoint(
                session_id=session_id,
                step=step,
                state=VersionedState(
                    messages=MessagesChannel(
                        version=step, items=[Message.user(f"message {n}") for n in range(step)]
                    ),
                    extra=ExtrasChannel(map={"count": step, "deep": {"list": [1, 1.0, "1"]}}),
                    errors=ErrorsChannel(items=errors),
                ),
                frontier=["End"] if step == steps else ["act", "plan"],
                versions_seen={"Custom:plan": {"messages": step - 1, "extra": 1}},
                created_at=START + timedelta(seconds=step),
                ran_nodes=["plan" if step % 2 else "act"],
                skipped_nodes=["review"],
                updated_channels=["messages"],
            )
        )
    return history


def many_steps(session_id: str, count: int, **fields: Any) -> None:
    """Write a session of many small steps, straight into the table."""
    Session.objects.create(id=session_id)
    small: dict[str, Any] = {
        "message_count": 1,
        "error_count": 0,
        "state_bytes": 90,
        "frontier": ["Custom:plan"],
        "ran_nodes": ["Custom:plan"],
        "updated_channels": ["messages"],
        "state": {
            "messages": {"version": 1, "items": [{"role": "user", "content": "hi"}]},
            "extra": {"version": 1, "map": {}},
        },
    }
    Step.objects.bulk_create(
        [
            Step(
                session_id=session_id,
                step=step,
                created_at=START + timedelta(seconds=step),
                **(small | fields),
            )
            for step in range(1, count + 1)
        ],
        batch_size=500,
    )


def pages_of(session_id: str, step: int) -> dict[str, str]:
    """Return the URL of every page that one can get, by its name."""
    return {
        "list": addresses.sessions(),
        "session": addresses.session(session_id),
        "session, one node": addresses.session(session_id, node="plan"),
        "step": addresses.step(session_id, step),
        "value": addresses.of("value", session_id, step),
        "compare": addresses.of("compare", session_id),
        "raw": addresses.of("raw", session_id, step),
        "download": addresses.of("download", session_id),
        "log": addresses.of("history", session_id),
        "fork": addresses.of("fork", session_id),
        "delete": addresses.of("delete", session_id),
        "prune": addresses.of("prune"),
    }


def body(response: Any) -> str:
    """Return the text of a response, streamed or not."""
    if response.streaming:
        return b"".join(response.streaming_content).decode()
    return str(response.content.decode())
