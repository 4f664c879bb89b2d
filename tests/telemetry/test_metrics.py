"""The metrics of the service."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from tests.builders import save_history
from tests.strategies import a_checkpoint
from tests.telemetry.recording import Point, Recording
from weavegraph_checkpoints import (
    ConcurrencyConflict,
    SessionNotFound,
    VersionedState,
    retries,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde import dumps_state
from weavegraph_checkpoints.telemetry import instruments

ERRORS = "weavegraph_checkpoints.exceptions"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)


def operation(name: str, database: dict[str, str], **labels: str) -> dict[str, Any]:
    return {"weavegraph.operation": name, **database, **labels}


def test_a_save(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str]
) -> None:
    states = [VersionedState.new_with_user_message("x" * size) for size in (1, 500)]
    for step, state in enumerate(states):
        checkpointer.save(a_checkpoint(step=step, state=state))
    labels = operation("save", database)
    metrics = recording.read_metrics()
    assert set(metrics) == {"duration", "saves", "state.size"}
    sizes = sum(len(dumps_state(state)) for state in states)
    assert metrics["saves"] == [Point(attributes=labels, count=1, sum=2)]
    assert metrics["state.size"] == [Point(attributes=labels, count=2, sum=sizes)]
    (duration,) = metrics["duration"]
    assert (duration.attributes, duration.count) == (labels, 2)
    assert 0 < duration.sum < 10


def test_the_size_is_that_of_the_whole_state(
    checkpointer: DjangoCheckpointer, recording: Recording, changes: None
) -> None:
    """However it is stored."""
    state = VersionedState.new_with_user_message("x" * 5000)
    for step in range(5):
        checkpointer.save(a_checkpoint(step=step, state=state))
    (size,) = recording.read_metrics()["state.size"]
    assert (size.count, size.sum) == (5, 5 * len(dumps_state(state)))
    assert {(span.attributes or {})["weavegraph.state.bytes"] for span in recording.spans} == {
        len(dumps_state(state))
    }


def test_conflicts(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str]
) -> None:
    save_history(checkpointer, "session", [1, 2])
    recording.clear()
    for _ in range(3):
        with pytest.raises(ConcurrencyConflict):
            checkpointer.save_with_concurrency_check(a_checkpoint(step=2), 1)
    metrics = recording.read_metrics()
    labels = operation("save_with_concurrency_check", database)
    assert metrics["conflicts"] == [Point(attributes=labels, count=1, sum=3)]
    (duration,) = metrics["duration"]
    assert duration.attributes == {**labels, "error.type": f"{ERRORS}.ConcurrencyConflict"}
    assert "saves" not in metrics
    assert "state.size" not in metrics


def test_other_errors_are_no_conflicts(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str]
) -> None:
    with pytest.raises(SessionNotFound):
        checkpointer.fork_session("unknown", "fork")
    metrics = recording.read_metrics()
    assert set(metrics) == {"duration"}
    labels = operation("fork_session", database, **{"error.type": f"{ERRORS}.SessionNotFound"})
    assert [point.attributes for point in metrics["duration"]] == [labels]


@pytest.mark.parametrize("failures", [1, 3])
def test_retries_of_a_save(
    checkpointer: DjangoCheckpointer,
    recording: Recording,
    database: dict[str, str],
    failures: int,
) -> None:
    left = [failures]

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "weavegraph_checkpoints" in sql and left[0]:
            left[0] -= 1
            raise OperationalError(1213, "deadlock")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        checkpointer.save(a_checkpoint())
    metrics = recording.read_metrics()
    labels = operation("save", database)
    assert metrics["retries"] == [Point(attributes=labels, count=1, sum=failures)]
    assert [point.sum for point in metrics["saves"]] == [1]
    span = recording.only_span()
    assert (span.attributes or {})["weavegraph.retries"] == failures


def test_retries_that_do_not_help(checkpointer: DjangoCheckpointer, recording: Recording) -> None:
    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        raise OperationalError(1213, "deadlock")

    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        checkpointer.save(a_checkpoint())
    attributes = recording.only_span().attributes or {}
    assert attributes["weavegraph.retries"] == 3
    assert attributes["error.type"] == "django.db.utils.OperationalError"
    assert [point.sum for point in recording.read_metrics()["retries"]] == [3]


def test_a_retry_outside_a_call(
    committed: None, recording: Recording, database: dict[str, str]
) -> None:
    left = [1]

    def fail_once() -> None:
        if left[0]:
            left[0] -= 1
            raise OperationalError(1213, "deadlock")

    retries.run(connection, fail_once)
    assert recording.read_metrics() == {"retries": [Point(attributes=database, count=1, sum=1)]}


def test_pruned_steps(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str]
) -> None:
    save_history(checkpointer, "session", range(10))
    recording.clear()
    prune(RetentionPolicy(keep_last=1), dry_run=True)
    assert "pruned_steps" not in recording.read_metrics()
    prune(RetentionPolicy(keep_last=1), batch_size=4)
    labels = operation("prune", database)
    points = recording.read_metrics()["pruned_steps"]
    assert points == [Point(attributes=labels, count=1, sum=9)]


def test_an_interrupted_prune_counts_what_it_deleted(
    checkpointer: DjangoCheckpointer, recording: Recording
) -> None:
    save_history(checkpointer, "session", range(10))
    recording.clear()

    def interrupt(result: Any) -> None:
        if result.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(RetentionPolicy(keep_last=1), batch_size=4, on_progress=interrupt)
    assert [point.sum for point in recording.read_metrics()["pruned_steps"]] == [4]
    attributes = recording.only_span().attributes or {}
    assert (attributes["weavegraph.rows"], attributes["error.type"]) == (4, "KeyboardInterrupt")


def test_units_and_buckets(checkpointer: DjangoCheckpointer, recording: Recording) -> None:
    checkpointer.save(a_checkpoint())
    data = recording.reader.get_metrics_data()
    assert data is not None
    metrics = {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "weavegraph.checkpoint.duration": "s",
        "weavegraph.checkpoint.state.size": "By",
        "weavegraph.checkpoint.saves": "{save}",
    }
    assert all(metric.description for metric in metrics.values())
    for name, buckets in (
        ("duration", instruments.DURATION_BUCKETS),
        ("state.size", instruments.SIZE_BUCKETS),
    ):
        (point,) = metrics[f"weavegraph.checkpoint.{name}"].data.data_points
        assert tuple(point.explicit_bounds) == buckets  # type: ignore[union-attr]


@pytest.mark.parametrize("sessions", [3, 30])
def test_the_number_of_series_does_not_grow(
    checkpointer: DjangoCheckpointer, recording: Recording, sessions: int
) -> None:
    for number in range(sessions):
        save_history(checkpointer, f"session {number}", [1, 2])
        checkpointer.load_latest(f"session {number}")
    metrics = recording.read_metrics()
    assert {name: len(points) for name, points in metrics.items()} == {
        "duration": 2,
        "saves": 1,
        "state.size": 1,
    }


def test_a_version_of_the_api_without_buckets(recording: Recording) -> None:
    class OldMeter:
        """The meter of version 1.29."""

        def create_histogram(self, name: str, unit: str = "", description: str = "") -> str:
            return f"{name} {unit}"

    meter: Any = OldMeter()
    created: Any = instruments.create_histogram(meter, "duration", "s", "", (1.0,))
    assert created == "weavegraph.checkpoint.duration s"
