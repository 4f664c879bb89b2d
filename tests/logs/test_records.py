"""The log records of the app: their loggers, messages and structured fields."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import save_history
from tests.strategies import a_checkpoint, session_ids
from weavegraph_checkpoints import (
    CheckpointerError,
    ConcurrencyConflict,
    VersionedState,
    retries,
    triggers,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.compaction import compact
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import verify
from weavegraph_checkpoints.interchange import export_history, import_history, open_source
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.pruning import prune

HOSTILE_IDS = [
    "run 7\nERROR root: all data deleted",
    "run\r\n7",
    "\x1b[2Jrun",
    "run\u2028ERROR",
    "run\x85ERROR",
    "\u202eexe.nur",
    "'%s' %(name)s {0}",
    "r\u00fcn-\U0001f680",
]
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Handler(logging.Handler):
    """Formats each record in one line, as most handlers do, and keeps it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [self.format(record) for record in self.records]


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler, logger = Handler(), logging.getLogger("weavegraph_checkpoints")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def checkpointer(committed: None) -> DjangoCheckpointer:
    return DjangoCheckpointer()


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def conflict(checkpointer: DjangoCheckpointer, session_id: str) -> None:
    with pytest.raises(ConcurrencyConflict):
        checkpointer.save_with_concurrency_check(a_checkpoint(session_id, 8), 7)


def retry(checkpointer: DjangoCheckpointer, session_id: str) -> None:
    failures = iter([1])

    def fail_once(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "weavegraph_checkpoints" in sql and next(failures, None):
            raise OperationalError(1213, "deadlock\nfound")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail_once):
        checkpointer.save(a_checkpoint(session_id, 4))


def find_problem(checkpointer: DjangoCheckpointer, session_id: str) -> None:
    Session.objects.filter(id=session_id).update(status="empty")
    list(verify(repair=True))


Act = Callable[[DjangoCheckpointer, str], Any]
# Of a session with the steps 1 to 3: the call, the logger, the level, and further fields.
RECORDS: dict[str, tuple[Act, str, str, dict[str, Any]]] = {
    "delete": (lambda it, key: it.delete_session(key), "checkpointer", "INFO", {}),
    "fork": (
        lambda it, key: it.fork_session(key, f"{key}2", at_step=2),
        "checkpointer",
        "INFO",
        {"step": 2, "fork_id": "{key}2"},
    ),
    "conflict": (conflict, "checkpointer", "INFO", {"step": 8, "expected": 7, "actual": 3}),
    "retry": (retry, "retries", "WARNING", {"attempt": 1, "error_code": 1213}),
    "problem": (
        find_problem,
        "health",
        "INFO",
        {"step": 3, "problem": "status", "repaired": True},
    ),
}


@pytest.mark.parametrize("session_id", ["run-7", *HOSTILE_IDS])
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_a_session(
    checkpointer: DjangoCheckpointer, handler: Handler, name: str, session_id: str
) -> None:
    act, logger, level, fields = RECORDS[name]
    save_history(checkpointer, session_id, [1, 2, 3])
    act(checkpointer, session_id)
    (record,) = handler.records
    assert (record.name, record.levelname) == (f"weavegraph_checkpoints.{logger}", level)
    expected = {
        key: value.replace("{key}", session_id) if isinstance(value, str) else value
        for key, value in fields.items()
    }
    assert fields_of(record) == {**expected, "session_id": session_id, "database": "default"}
    (line,) = handler.lines
    assert line.isprintable()
    assert repr(session_id) in line
    json.dumps(fields_of(record))


def test_the_records_of_the_other_services(
    checkpointer: DjangoCheckpointer, handler: Handler, tmp_path: Path
) -> None:
    path = str(tmp_path / "exported.sqlite3")
    save_history(checkpointer, "a", range(3))
    save_history(checkpointer, "b", range(2))
    export_history(path)
    compact()
    prune(RetentionPolicy(keep_last=1))
    with open_source(path) as source:
        import_history(source)
    assert handler.lines == [
        "INFO weavegraph_checkpoints.interchange: Export finished: 2 sessions, 5 steps added,"
        " 0 replaced",
        "INFO weavegraph_checkpoints.compaction: Compacted 0 of 5 steps on 'default'",
        "INFO weavegraph_checkpoints.pruning: Pruned 3 steps and 0 sessions on 'default'",
        "INFO weavegraph_checkpoints.interchange: Import finished: 2 sessions, 3 steps added,"
        " 0 replaced",
    ]
    exported, compacted, pruned, imported = map(fields_of, handler.records)
    assert {each["database"] for each in map(fields_of, handler.records)} == {"default"}
    assert (exported["sessions"], exported["added"]) == (2, 5)
    assert (compacted["checked"], compacted["steps"], compacted["refused"]) == (5, 0, 0)
    assert (pruned["steps"], pruned["sessions"], pruned["protected"]) == (3, 0, 0)
    assert pruned["bytes"] > 0
    assert (imported["added"], imported["unchanged"]) == (3, 2)


def test_a_dry_run_logs_nothing(
    checkpointer: DjangoCheckpointer, handler: Handler, tmp_path: Path
) -> None:
    save_history(checkpointer, "a", range(3))
    path = str(tmp_path / "exported.sqlite3")
    export_history(path)
    handler.records.clear()
    prune(RetentionPolicy(keep_last=1), dry_run=True)
    compact(dry_run=True)
    with open_source(path) as source:
        import_history(source, dry_run=True)
    assert handler.records == []


def test_an_interrupted_prune_logs_what_it_deleted(
    checkpointer: DjangoCheckpointer, handler: Handler
) -> None:
    save_history(checkpointer, "a", range(9))

    def interrupt(result: Any) -> None:
        if result.steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(RetentionPolicy(keep_last=1), batch_size=4, on_progress=interrupt)
    assert [fields_of(record)["steps"] for record in handler.records] == [4]
    assert Step.objects.count() == 5


def test_a_problem_of_a_trigger_has_no_session(
    checkpointer: DjangoCheckpointer, handler: Handler
) -> None:
    triggers.remove()
    try:
        list(verify())
    finally:
        triggers.install()
    assert {fields_of(record)["problem"] for record in handler.records} == {"trigger-missing"}
    assert {fields_of(record)["session_id"] for record in handler.records} == {None}


def test_saves_and_reads_log_nothing(checkpointer: DjangoCheckpointer, handler: Handler) -> None:
    save_history(checkpointer, "a", range(3))
    checkpointer.load_latest("a")
    checkpointer.load("a", 1)
    checkpointer.query_steps("a")
    checkpointer.list_sessions()
    assert handler.records == []


def test_a_retry_without_a_session(committed: None, handler: Handler) -> None:
    failures = iter([1])

    def fail_once() -> None:
        if next(failures, None):
            raise OperationalError(1020, "\u202echanged\n")

    retries.run(connection, fail_once)
    (record,) = handler.records
    fields = {"database": "default", "session_id": None, "attempt": 1, "error_code": 1020}
    assert fields_of(record) == fields
    assert handler.lines[0].isprintable()


@given(session_id=session_ids(), code=st.sampled_from([1213, 1020]), message=st.text())
def test_no_id_and_no_message_makes_a_second_line(session_id: str, code: int, message: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    retries.logger.addHandler(handler)
    retries.logger.propagate = False
    try:
        error = OperationalError(code, message)
        retries._log_retry(connection, error, 1, session_id)
    finally:
        retries.logger.removeHandler(handler)
        retries.logger.propagate = True
    assert stream.getvalue().rstrip("\n").isprintable()


SECRET = "correct horse battery staple"
SECRETS: dict[str, VersionedState] = {
    "saved": VersionedState.new(extra={SECRET: SECRET}),
    "not JSON": VersionedState.new(extra={SECRET: {SECRET: {1}}}),
    "too large": VersionedState.new_with_user_message(SECRET * 30),
}


@pytest.mark.parametrize("name", SECRETS)
def test_no_record_contains_a_state(
    checkpointer: DjangoCheckpointer, handler: Handler, settings: Any, name: str
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": 500}
    save_history(checkpointer, "session", [1, 2, 3])
    with suppress(CheckpointerError):
        checkpointer.save(a_checkpoint(step=4, state=SECRETS[name]))
    Step.objects.filter(step=2).update(state={SECRET: SECRET})
    Session.objects.update(status="empty")
    assert [finding.problem for finding in verify(deep=True)] == ["status", "undecodable"]
    prune(RetentionPolicy(keep_last=1))
    checkpointer.delete_session("session")
    assert len(handler.records) == 4
    written = [*handler.lines, *(str(vars(record)) for record in handler.records)]
    assert SECRET not in "".join(written)
