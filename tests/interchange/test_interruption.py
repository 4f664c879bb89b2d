"""An import or export that is interrupted and run again ends as if it had run once."""

from __future__ import annotations

import signal
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.builders import a_history, everything_stored, wrong_snapshots
from tests.commands.processes import STUCK_AFTER_SECONDS, start
from tests.commands.runner import run
from tests.interchange.crate_databases import create_crate_file, get_file_timestamps, get_rows
from tests.interchange.stored_histories import (
    assert_stored,
    delete_all,
    get_timestamps,
    group_by_session,
)
from weavegraph_checkpoints import Checkpoint, VersionedState
from weavegraph_checkpoints.interchange import exporting, sql, transfer
from weavegraph_checkpoints.interchange.sources import base
from weavegraph_checkpoints.interchange.target import Target
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.usefixtures("tables")


def build_history() -> list[Checkpoint]:
    small = [step for name in "abcdef" for step in a_history(name, range(1, 4))]
    return [*small, *a_history("long", range(1, 41)), *a_history("z", [0])]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(transfer, "STEPS_BATCH_SIZE", 8)
    monkeypatch.setattr(sql, "IDS_BATCH_SIZE", 4)
    monkeypatch.setattr(base, "STEPS_PAGE_SIZE", 5)
    return create_crate_file(tmp_path / "crate.sqlite3", build_history())


class Interrupter:
    """Raises ``KeyboardInterrupt`` at the nth statement that names a table of the app."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if Session._meta.db_table in sql or Step._meta.db_table in sql:
            self.count()
        return execute(sql, *args)

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def counts() -> tuple[int, int]:
    return Session.objects.count(), Step.objects.count()


def test_an_import_stopped_at_every_statement(source: Path) -> None:
    expected = group_by_session(build_history())
    for nth in range(1, 10_000, 1 if connection.vendor == "sqlite" else 4):
        with connection.execute_wrapper(Interrupter(nth)):
            ran = run("import_weavegraph", str(source))
        if ran.status == 0:
            break
        assert ran.status == 130
        assert ran.err == "interrupted: run the command again to continue\n"
        assert_complete_except_long(source)
        if nth % 5 == 0:
            run("import_weavegraph", str(source))
            assert_stored(expected)
            delete_all()
    assert nth > 20
    assert_stored(expected)
    assert wrong_snapshots() == []
    assert get_timestamps() == get_file_timestamps(source)


def assert_complete_except_long(source: Path) -> None:
    """Snapshots and timestamps are right at any moment; the newest steps come first."""
    assert wrong_snapshots() == []
    assert get_timestamps().items() <= get_file_timestamps(source).items()
    for session_id, steps in group_by_session(build_history()).items():
        stored = list(
            Step.objects.filter(session=session_id).order_by("step").values_list("step", flat=True)
        )
        numbers = [checkpoint.step for checkpoint in steps]
        if session_id == "long":
            assert stored == numbers[len(numbers) - len(stored) :]
        else:
            assert stored in ([], numbers)


def test_an_export_stopped_at_every_statement(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import_weavegraph", str(source))
    whole = tmp_path / "whole.sqlite3"
    run("export_weavegraph", str(whole))
    real_run = Target._execute
    target = tmp_path / "export.sqlite3"
    for nth in range(1, 1000):
        interrupter = Interrupter(nth)

        def counted(*args: Any, interrupter: Interrupter = interrupter) -> None:
            interrupter.count()
            real_run(*args)

        monkeypatch.setattr(Target, "_execute", counted)
        ran = run("export_weavegraph", str(target))
        if ran.status == 0:
            break
        assert ran.status == 130
        assert_sessions_complete(target)
        if nth % 7 == 0:
            monkeypatch.setattr(Target, "_execute", real_run)
            run("export_weavegraph", str(target))
            assert_same_files(target, whole)
            target.unlink()
    assert nth > 10
    assert_same_files(target, whole)


def assert_sessions_complete(target: Path) -> None:
    """A session with a row in ``sessions`` has all its steps."""
    steps = group_by_session(build_history())
    stored = get_rows(target, "steps")
    for row in get_rows(target, "sessions"):
        numbers = [step for session_id, step, *_ in stored if session_id == row[0]]
        assert numbers == [checkpoint.step for checkpoint in steps[row[0]]]
        assert row[4] == numbers[-1]


def assert_same_files(target: Path, whole: Path) -> None:
    for table in ("sessions", "steps"):
        assert get_rows(target, table) == get_rows(whole, table)


def test_a_half_file_of_an_export_is_no_whole_source(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import_weavegraph", str(source))
    target = tmp_path / "export.sqlite3"
    interrupter = Interrupter(4)
    monkeypatch.setattr(exporting._Export, "_save_session", lambda *args: interrupter.count())
    assert run("export_weavegraph", str(target), "--session", "long").status == 0
    ran = run("import_weavegraph", str(target), "--skip-invalid")
    assert "session 'long': steps without a session" in ran.err


class Signal(Interrupter):
    """Sends SIGINT in the middle of a batch."""

    def __init__(self, words: str) -> None:
        super().__init__(1)
        self.words = words

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        return super().__call__(execute, sql, *args) if self.words in sql else execute(sql, *args)

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_sigint_lets_a_batch_of_an_import_come_in(source: Path) -> None:
    with connection.execute_wrapper(Signal("INSERT INTO weavegraph_checkpoints_step ")):
        ran = run("import_weavegraph", str(source))
    assert (ran.status, ran.err) == (130, "interrupted: run the command again to continue\n")
    assert 0 < Step.objects.count() < len(build_history())
    assert ran.lines[-1].startswith(f"imported {Step.objects.count()} steps into ")
    assert_complete_except_long(source)


def test_sigint_lets_a_batch_of_an_export_go_out(source: Path, tmp_path: Path) -> None:
    run("import_weavegraph", str(source))
    target = tmp_path / "export.sqlite3"
    with connection.execute_wrapper(Signal("FROM weavegraph_checkpoints_step ")):
        ran = run("export_weavegraph", str(target))
    assert (ran.status, ran.err) == (130, "interrupted: run the command again to continue\n")
    assert 0 < len(get_rows(target, "steps")) < len(build_history())
    assert_sessions_complete(target)


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_processes_that_die(tmp_path: Path, kill: signal.Signals) -> None:
    state = VersionedState.new(extra={"text": "x" * 20_000})
    history = a_history("s", range(500), state=state)
    path = create_crate_file(tmp_path / "crate.sqlite3", history)
    for _ in range(2):
        count = Step.objects.count()
        stop("import_weavegraph", path, kill, partial(has_more_steps_than, count))
        assert wrong_snapshots() == []
    run("import_weavegraph", str(path))
    assert Step.objects.count() == 500
    before = everything_stored()
    target = tmp_path / "export.sqlite3"
    for _ in range(2):
        size = target.stat().st_size if target.exists() else 0
        stop("export_weavegraph", target, kill, partial(is_larger_than, target, size))
    run("export_weavegraph", str(target))
    assert "500 unchanged" in run("import_weavegraph", str(target)).out
    assert everything_stored() == before


def has_more_steps_than(count: int) -> bool:
    return Step.objects.count() > count


def is_larger_than(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


def stop(command: str, argument: Path, kill: signal.Signals, when: Callable[[], bool]) -> None:
    """Run a command in a child process, and kill it when ``when`` returns true."""
    process = start(command, str(argument))
    while process.poll() is None:
        time.sleep(0.02)
        if when():
            process.send_signal(kill)
            break
    _, error = process.communicate(timeout=STUCK_AFTER_SECONDS)
    assert process.returncode in (0, 130, -kill), error


@pytest.mark.vendor("sqlite")
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (15, 60):
        state = VersionedState.new(extra={"text": "x" * 100_000})
        history = a_history("s", range(megabytes * 10), state=state)
        path = create_crate_file(tmp_path / f"{megabytes}.sqlite3", history)
        target = tmp_path / f"{megabytes}-export.sqlite3"
        tracemalloc.start()
        run("import_weavegraph", str(path))
        run("export_weavegraph", str(target))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        delete_all()
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 60 * 1024 * 1024
