"""Recorded runs of real agents, replayed step by step and read back.

The folder that ``WEAVEGRAPH_TEST_DATA`` names holds ``trajectories/runs.jsonl.gz``; without
it nothing is replayed, and the test says so. Every run is replayed on SQLite, every fifth
on the servers.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.assertions import assert_same
from tests.builders import wrong_snapshots
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorEvent,
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    NodeKind,
    NodeScope,
    StepQuery,
    VersionedState,
    VersionsSeen,
    WeaveError,
    restore_session_state,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

BEGIN = datetime(2024, 6, 1, tzinfo=UTC)


def recorded_runs() -> Iterator[dict[str, Any]]:
    folder = os.environ.get("WEAVEGRAPH_TEST_DATA")
    path = Path(folder or ".") / "trajectories" / "runs.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip("WEAVEGRAPH_TEST_DATA names no directory with trajectories/runs.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Replay:
    """The checkpoints that a runtime would have saved during a recorded run."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.session_id: str = run["id"]
        self.steps: list[dict[str, Any]] = run["steps"]
        self.messages: list[Message] = []
        self.extra: dict[str, Any] = {}
        self.extra_version = 0
        self.errors: list[ErrorEvent] = []
        self.versions_seen: VersionsSeen = {}

    def __iter__(self) -> Iterator[Checkpoint]:
        for number, step in enumerate(self.steps, 1):
            yield self.checkpoint(number, step)

    def checkpoint(self, number: int, step: dict[str, Any]) -> Checkpoint:
        node = NodeKind.custom(step["node"])
        seen = {"messages": number - 1, "extra": max(self.extra_version, 1)}
        self.versions_seen[node.encode()] = seen
        self.merge(number, step)
        following = self.steps[number : number + 1]
        channels = ["messages", "extra", *(["errors"] if step["error"] is not None else [])]
        return Checkpoint(
            session_id=self.session_id,
            step=number,
            state=self.state(number),
            frontier=[NodeKind.custom(following[0]["node"]) if following else NodeKind.END],
            versions_seen=self.versions_seen,
            created_at=BEGIN + timedelta(seconds=number, microseconds=number),
            ran_nodes=[node],
            updated_channels=channels,
        )

    def merge(self, number: int, step: dict[str, Any]) -> None:
        self.messages += [Message(**message) for message in step["messages"]]
        self.extra |= step["extra"]
        self.extra_version += bool(step["extra"])
        if step["error"] is not None:
            self.errors.append(
                ErrorEvent(
                    error=WeaveError(message=step["error"]),
                    scope=NodeScope(kind=step["node"], step=number),
                    tags=["tool"],
                    when=BEGIN + timedelta(seconds=number),
                )
            )

    def state(self, number: int) -> VersionedState:
        return VersionedState(
            messages=MessagesChannel(version=number, items=self.messages),
            extra=ExtrasChannel(version=max(self.extra_version, 1), map=self.extra),
            errors=ErrorsChannel(version=len(self.errors) + 1, items=self.errors),
        )


def replay(checkpointer: DjangoCheckpointer, run: dict[str, Any]) -> list[Checkpoint]:
    """Save a run as it happened, resuming from the latest checkpoint before each step."""
    history: list[Checkpoint] = []
    for checkpoint in Replay(run):
        checkpointer.save_with_concurrency_check(checkpoint, len(history))
        history.append(checkpoint)
    return history


def check_history(checkpointer: DjangoCheckpointer, history: list[Checkpoint]) -> None:
    session_id = history[0].session_id
    page = checkpointer.query_steps(session_id, StepQuery(limit=1000))
    assert page.page_info.total_count == len(history)
    assert_same(page.checkpoints, tuple(reversed(history)))
    for checkpoint in history:
        assert_same(checkpointer.load(session_id, checkpoint.step), checkpoint)


def check_filters(checkpointer: DjangoCheckpointer, history: list[Checkpoint]) -> None:
    session_id = history[0].session_id
    for node in {node for checkpoint in history for node in checkpoint.ran_nodes}:
        page = checkpointer.query_steps(session_id, StepQuery(ran_node=node, limit=1000))
        expected = [kept.step for kept in reversed(history) if node in kept.ran_nodes]
        assert [kept.step for kept in page.checkpoints] == expected
        skipped = checkpointer.query_steps(session_id, StepQuery(skipped_node=node))
        assert skipped.page_info.total_count == 0


def check_resumption(checkpointer: DjangoCheckpointer, newest: Checkpoint) -> None:
    latest = checkpointer.load_latest(newest.session_id)
    assert latest is not None
    assert_same(restore_session_state(latest), restore_session_state(newest))
    again = Checkpoint.from_session(newest.session_id, restore_session_state(latest))
    assert again.frontier == (NodeKind.END,)


def check_fork(checkpointer: DjangoCheckpointer, history: list[Checkpoint]) -> None:
    """Fork in the middle, and go on from there as the run itself did."""
    middle = max(len(history) // 2, 1)
    session_id = history[0].session_id
    target = f"{session_id}/fork"
    fork = checkpointer.fork_session(session_id, target, at_step=middle)
    assert_same(restore_session_state(fork), restore_session_state(history[middle - 1]))
    for checkpoint in history[middle:]:
        resumed = checkpointer.load_latest(target)
        assert resumed is not None
        assert resumed.step == checkpoint.step - 1
        state = restore_session_state(checkpoint)
        checkpointer.save_with_concurrency_check(
            Checkpoint.from_session(target, state), resumed.step
        )
    newest = checkpointer.load_latest(target)
    assert newest is not None
    assert_same(restore_session_state(newest), restore_session_state(history[-1]))
    assert checkpointer.query_steps(target).page_info.total_count == len(history)


def test_recorded_runs_come_back_as_they_were(checkpointer: DjangoCheckpointer) -> None:
    every = 1 if connection.vendor == "sqlite" else 5
    runs = list(recorded_runs())
    assert (len(runs), sum(len(run["steps"]) for run in runs)) == (154, 3980)
    for run in runs[::every]:
        history = replay(checkpointer, run)
        check_history(checkpointer, history)
        check_filters(checkpointer, history)
        check_resumption(checkpointer, history[-1])
        check_fork(checkpointer, history)
    assert Session.objects.filter(status="finished").count() == 2 * len(runs[::every])
    assert Step.objects.count() == 2 * sum(len(run["steps"]) for run in runs[::every])
    assert wrong_snapshots() == []
