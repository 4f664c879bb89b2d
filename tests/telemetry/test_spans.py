"""The span of each call of the service."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from tests.builders import save_history
from tests.strategies import a_checkpoint
from tests.telemetry.recording import Recording
from weavegraph_checkpoints import StepQuery, VersionedState, __version__, telemetry
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.compaction import compact
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import stats, verify
from weavegraph_checkpoints.interchange import export_history, import_history, open_source
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde import dumps_state

SESSION, STEP, ROWS = "weavegraph.session.id", "weavegraph.step", "weavegraph.rows"
BYTES = "weavegraph.state.bytes"
SAVED = a_checkpoint(step=4)
SAVED_BYTES = len(dumps_state(SAVED.state))

Use = Callable[[DjangoCheckpointer], Any]
# Of a session "session" with the steps 1 to 3.
CALLS: dict[str, tuple[Use, dict[str, Any]]] = {
    "save": (lambda it: it.save(SAVED), {SESSION: "session", STEP: 4, BYTES: SAVED_BYTES, ROWS: 1}),
    "save_with_concurrency_check": (
        lambda it: it.save_with_concurrency_check(SAVED, 3),
        {SESSION: "session", STEP: 4, BYTES: SAVED_BYTES, ROWS: 1},
    ),
    "load_latest": (lambda it: it.load_latest("session"), {SESSION: "session", STEP: 3, ROWS: 1}),
    "load_latest_with_version": (
        lambda it: it.load_latest_with_version("session"),
        {SESSION: "session", STEP: 3, ROWS: 1},
    ),
    "load_version": (lambda it: it.load_version("session"), {SESSION: "session", ROWS: 1}),
    "load": (lambda it: it.load("session", 2), {SESSION: "session", STEP: 2, ROWS: 1}),
    "list_sessions": (lambda it: it.list_sessions(), {ROWS: 1}),
    "query_steps": (
        lambda it: it.query_steps("session", StepQuery(limit=2)),
        {SESSION: "session", ROWS: 2},
    ),
    "delete_session": (lambda it: it.delete_session("session"), {SESSION: "session", ROWS: 3}),
    "fork_session": (
        lambda it: it.fork_session("session", "fork", at_step=2),
        {SESSION: "session", "weavegraph.fork.session.id": "fork", STEP: 2, ROWS: 2},
    ),
    "set_labels": (
        lambda it: it.set_labels("session", {"customer": "4711", "env": "prod"}),
        {SESSION: "session", ROWS: 2},
    ),
    "get_labels": (lambda it: it.get_labels("session"), {SESSION: "session", ROWS: 0}),
    "find_sessions": (lambda it: it.find_sessions(status="resumable"), {ROWS: 1}),
}
OTHER_CALLS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "prune": (lambda: prune(RetentionPolicy(keep_last=1)), {ROWS: 2}),
    "compact": (compact, {ROWS: 0}),
    "verify": (lambda: list(verify(deep=True)), {ROWS: 3}),
}
FOUND_NOTHING: dict[str, Use] = {
    "load_latest": lambda it: it.load_latest("unknown"),
    "load_latest_with_version": lambda it: it.load_latest_with_version("unknown"),
    "load_version": lambda it: it.load_version("unknown"),
    "load": lambda it: it.load("unknown", 1),
    "query_steps": lambda it: it.query_steps("unknown"),
}


class Untraced(DjangoCheckpointer):
    """A checkpointer without the decorators."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        wrapped = getattr(found, "__wrapped__", None)
        return found if wrapped is None else partial(wrapped, self)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run in an event loop of its own, as a script does."""

    async def and_close() -> Any:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(and_close())


def test_every_call_of_the_checkpointer_has_a_span() -> None:
    calls = {
        name
        for name, member in inspect.getmembers(DjangoCheckpointer, inspect.isfunction)
        if name[0] != "_" and not inspect.iscoroutinefunction(member)
    }
    assert calls == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_span_of_a_call(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str], name: str
) -> None:
    save_history(checkpointer, "session", [1, 2, 3])
    recording.clear()
    call, expected = CALLS[name]
    call(checkpointer)
    span = recording.only_span()
    assert span.name == f"weavegraph.checkpoint.{name}"
    assert span.attributes == {**expected, **database, "weavegraph.retries": 0}
    assert span.status.status_code is StatusCode.UNSET
    assert span.kind is SpanKind.INTERNAL
    assert span.events == ()
    assert span.instrumentation_scope is not None
    scope = span.instrumentation_scope
    assert (scope.name, scope.version) == ("weavegraph_checkpoints", __version__)


@pytest.mark.parametrize("name", OTHER_CALLS)
def test_the_span_of_another_service(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str], name: str
) -> None:
    save_history(checkpointer, "session", [1, 2, 3])
    recording.clear()
    call, expected = OTHER_CALLS[name]
    call()
    span = recording.only_span()
    assert span.name == f"weavegraph.checkpoint.{name}"
    assert span.attributes == {**expected, **database, "weavegraph.retries": 0}


@pytest.mark.parametrize("size", [3, 30])
def test_rows_are_those_of_the_call(
    checkpointer: DjangoCheckpointer, recording: Recording, size: int
) -> None:
    save_history(checkpointer, "session", range(size))
    recording.clear()
    checkpointer.query_steps("session")
    checkpointer.fork_session("session", "fork")
    list(verify())
    prune(RetentionPolicy(older_than=timedelta(0)), batch_size=2)
    checkpointer.delete_session("session")
    rows = {
        name: (span.attributes or {})[ROWS]
        for name, span in zip(recording.names, recording.spans, strict=True)
    }
    assert rows == {
        "query_steps": size,
        "fork_session": size,
        "verify": 2 * size,
        "prune": 2 * size - 2,
        "delete_session": 1,
    }


@pytest.mark.parametrize("name", FOUND_NOTHING)
def test_a_read_that_finds_nothing_is_no_error(
    checkpointer: DjangoCheckpointer, recording: Recording, name: str
) -> None:
    FOUND_NOTHING[name](checkpointer)
    span = recording.only_span()
    assert span.attributes is not None
    assert (span.attributes[ROWS], span.status.status_code) == (0, StatusCode.UNSET)


def test_a_dry_run_says_so(checkpointer: DjangoCheckpointer, recording: Recording) -> None:
    save_history(checkpointer, "session", [1, 2, 3])
    recording.clear()
    prune(RetentionPolicy(keep_last=1), dry_run=True)
    attributes = recording.only_span().attributes or {}
    assert (attributes["weavegraph.dry_run"], attributes[ROWS]) == (True, 2)


def test_the_span_of_an_export_and_an_import(
    checkpointer: DjangoCheckpointer, recording: Recording, database: dict[str, str], tmp_path: Path
) -> None:
    path = str(tmp_path / "exported.sqlite3")
    save_history(checkpointer, "session", [1, 2, 3])
    recording.clear()
    export_history(path)
    checkpointer.delete_session("session")
    with open_source(path) as source:
        import_history(source)
    with open_source(path) as source:
        import_history(source, dry_run=True)
    assert recording.names == [
        "export_history",
        "delete_session",
        "import_history",
        "import_history",
    ]
    exported, _, imported, dry_run = (span.attributes or {} for span in recording.spans)
    assert exported == imported == {ROWS: 3, **database, "weavegraph.retries": 0}
    assert (dry_run[ROWS], dry_run["weavegraph.dry_run"]) == (0, True)


def test_a_policy_that_is_measured_is_a_span_inside(
    checkpointer: DjangoCheckpointer, recording: Recording, settings: Any
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": [{"keep_last": 1}]}
    stats.collect()
    inner, outer = recording.spans
    assert recording.names == ["prune", "collect"]
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id


def test_other_databases_and_owners(committed: None, recording: Recording) -> None:
    other = connections["other"]
    DjangoCheckpointer("other", owner="ann").save(a_checkpoint())
    attributes = recording.only_span().attributes or {}
    assert attributes["db.namespace"] == str(other.settings_dict["NAME"]).rpartition("/")[2]
    assert "ann" not in recording.read_everything()


def test_a_span_belongs_to_that_of_its_caller(
    checkpointer: DjangoCheckpointer, recording: Recording
) -> None:
    with recording.tracer.start_as_current_span("request") as request:
        checkpointer.save(a_checkpoint())
        assert trace.get_current_span() is request
    span = recording.spans[0]
    assert span.parent == request.get_span_context()


def test_a_statement_belongs_to_the_span_of_the_call(
    checkpointer: DjangoCheckpointer, recording: Recording
) -> None:
    seen = []

    def see(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(trace.get_current_span())
        return execute(sql, params, many, context)

    save_history(checkpointer, "session", [1, 2])
    before = trace.get_current_span()
    calls: list[Callable[[], Any]] = [
        lambda: checkpointer.save(a_checkpoint(step=3)),
        lambda: checkpointer.load("session", 3),
        lambda: list(verify()),
    ]
    for call in calls:
        recording.clear()
        seen.clear()
        with connection.execute_wrapper(see):
            call()
        span = recording.only_span()
        assert {each.get_span_context().span_id for each in seen} == {span.context.span_id}
        assert trace.get_current_span() is before


@pytest.mark.parametrize("name", CALLS)
def test_the_span_of_an_async_twin(
    checkpointer: DjangoCheckpointer, recording: Recording, name: str
) -> None:
    save_history(checkpointer, "session", [1, 2, 3])
    recording.clear()
    call, expected = CALLS[name]

    class Twins:
        def __getattr__(self, twin: str) -> Any:
            return getattr(checkpointer, f"a{twin}")

    async def use() -> None:
        with recording.tracer.start_as_current_span("task") as task:
            await call(Twins())  # type: ignore[arg-type]
            assert trace.get_current_span() is task

    run(use())
    span, task = recording.spans
    assert span.name == f"weavegraph.checkpoint.{name}"
    assert (span.attributes or {}).items() >= expected.items()
    assert span.parent == task.get_span_context()


def test_gathered_calls_do_not_mix(checkpointer: DjangoCheckpointer, recording: Recording) -> None:
    async def one(number: int) -> None:
        with recording.tracer.start_as_current_span(f"task {number}"):
            await checkpointer.asave(a_checkpoint(f"s{number}", number))
            await checkpointer.aload_latest(f"s{number}")

    async def use() -> None:
        await asyncio.gather(*map(one, range(10)))

    run(use())
    tasks = {span.context.span_id: span.name for span in recording.spans if span.parent is None}
    assert len(tasks) == 10
    for span in recording.spans:
        if span.parent is not None:
            number = tasks[span.parent.span_id].removeprefix("task ")
            assert (span.attributes or {})[SESSION] == f"s{number}"


def test_a_verification_is_one_span_that_its_reader_is_not_in(
    checkpointer: DjangoCheckpointer, recording: Recording
) -> None:
    save_history(checkpointer, "a", [1])
    save_history(checkpointer, "b", [1])
    Session.objects.update(status="empty")
    recording.clear()
    before = trace.get_current_span()
    findings = verify()
    assert recording.spans == []
    for _ in findings:
        assert trace.get_current_span() is before
        assert recording.spans == []
    assert recording.names == ["verify"]


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "fails"])
def test_a_verification_that_ends_early(
    checkpointer: DjangoCheckpointer, recording: Recording, is_closed: bool
) -> None:
    save_history(checkpointer, "session", [1])
    Session.objects.update(status="empty")
    recording.clear()
    findings: Any = verify()
    next(findings)
    if is_closed:
        findings.close()
        assert recording.only_span().status.status_code is StatusCode.UNSET
        return

    def fail(*args: Any) -> Any:
        raise OperationalError("gone")

    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        list(findings)
    span = recording.only_span()
    assert (span.attributes or {})["error.type"] == "django.db.utils.OperationalError"
    assert span.status.status_code is StatusCode.ERROR


def test_a_verification_that_nobody_reads_is_no_span(committed: None, recording: Recording) -> None:
    findings: Any = verify()
    findings.close()
    assert recording.spans == []


def test_calls_inside_a_callers_transaction(
    checkpointer: DjangoCheckpointer, recording: Recording
) -> None:
    with transaction.atomic():
        checkpointer.save(a_checkpoint())
        transaction.set_rollback(True)
    assert recording.names == ["save"]


def test_a_span_that_is_not_sampled(
    checkpointer: DjangoCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording(sampler=ALWAYS_OFF)
    monkeypatch.setattr(telemetry, "_instruments", recording.instruments)
    sampled = []

    def see(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        sampled.append(trace.get_current_span().get_span_context())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(see):
        checkpointer.save(a_checkpoint(state=VersionedState()))
    assert all(each.is_valid and not each.trace_flags.sampled for each in sampled)
    assert recording.spans == []
    assert recording.read_metrics()["saves"][0].sum == 1
    recording.shut_down()


def test_without_an_sdk_nothing_is_attached(checkpointer: DjangoCheckpointer) -> None:
    before = trace.get_current_span()
    seen = []

    def see(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(trace.get_current_span())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(see):
        checkpointer.save(a_checkpoint())
    assert all(each is before for each in seen)
    assert checkpointer.load("session", 1) == a_checkpoint()


@pytest.mark.parametrize("others", [1, 20])
@pytest.mark.parametrize("name", CALLS)
def test_a_traced_call_sends_the_same_statements(
    checkpointer: DjangoCheckpointer, recording: Recording, name: str, others: int
) -> None:
    call, _ = CALLS[name]
    for number in range(others):
        save_history(checkpointer, f"other {number}", [1, 2])
    numbers = []
    for saver in (checkpointer, Untraced()):
        save_history(checkpointer, "session", [1, 2, 3])
        recording.clear()
        with CaptureQueriesContext(connection) as statements:
            call(saver)
        numbers.append((len(statements), len(recording.spans)))
        for session_id in ("session", "fork"):
            checkpointer.delete_session(session_id)
    (traced, spans), (untraced, no_spans) = numbers
    assert traced == untraced > 0
    assert (spans, no_spans) == (1, 0)
