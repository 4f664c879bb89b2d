"""Example sessions, and the URLs of their pages."""

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
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.models import Session, Step

BASE = "/admin/weavegraph_checkpoints/session/"
START = datetime(2026, 1, 1, tzinfo=UTC)

session_urls = SessionURLs("admin")


def a_run(session_id: str, steps: int = 6) -> list[Checkpoint]:
    """Return the steps of a finished run with new errors at steps 3 and 5."""
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


def create_session_with_steps(session_id: str, count: int, **fields: Any) -> None:
    """Insert a session with ``count`` small steps."""
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


def get_page_urls(session_id: str, step: int) -> dict[str, str]:
    """Return the URLs of all pages by name."""
    return {
        "list": session_urls.get_changelist_url(),
        "session": session_urls.get_session_url(session_id),
        "session, one node": session_urls.get_session_url(session_id, node="plan"),
        "follow": session_urls.get_url("follow", session_id),
        "step": session_urls.get_step_url(session_id, step),
        "value": session_urls.get_url("value", session_id, step),
        "compare": session_urls.get_url("compare", session_id),
        "raw": session_urls.get_url("raw", session_id, step),
        "download": session_urls.get_url("download", session_id),
        "log": session_urls.get_url("history", session_id),
        "fork": session_urls.get_url("fork", session_id),
        "labels": session_urls.get_url("labels", session_id),
        "delete": session_urls.get_url("delete", session_id),
        "prune": session_urls.get_url("prune"),
    }


def body(response: Any) -> str:
    """Return the text of a response, streamed or not."""
    if response.streaming:
        return b"".join(response.streaming_content).decode()
    return str(response.content.decode())
