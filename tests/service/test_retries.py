"""A deadlock or serialization failure is tried again where the service owns the transaction."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from tests.builders import save_history, wrong_snapshots
from tests.service.racing import wait_for_waiters
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import ConcurrencyConflict, retries
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step


class DriverError(Exception):
    """An error of PostgreSQL's driver, with its SQLSTATE."""


def of_postgresql(code: str, attribute: str = "sqlstate") -> OperationalError:
    error = OperationalError("given up")
    error.__cause__ = DriverError()
    setattr(error.__cause__, attribute, code)
    return error


def of_mariadb(code: int) -> OperationalError:
    error = OperationalError(code, "given up")
    error.__cause__ = DriverError()
    return error


TRANSIENT: dict[str, Callable[[], DatabaseError]] = {
    "40P01": lambda: of_postgresql("40P01"),
    "40001": lambda: of_postgresql("40001"),
    "40P01 of psycopg2": lambda: of_postgresql("40P01", "pgcode"),
    "1213": lambda: of_mariadb(1213),
    "1020": lambda: of_mariadb(1020),
    "1047": lambda: of_mariadb(1047),
}
OTHER: dict[str, Callable[[], Exception]] = {
    "53300": lambda: of_postgresql("53300"),
    "57014": lambda: of_postgresql("57014"),
    "1205": lambda: of_mariadb(1205),
    "2006": lambda: of_mariadb(2006),
    "locked": lambda: OperationalError("database is locked"),
    "nothing known": lambda: OperationalError(),
    "integrity": lambda: IntegrityError(1213, "not an operational error"),
    "interface": lambda: InterfaceError("connection already closed"),
    "conflict": lambda: ConcurrencyConflict("session", 1, 2),
    "bug": lambda: ZeroDivisionError(),
}


class Failing:
    """A transaction that fails the first times."""

    def __init__(self, failures: int, error: Callable[[], Exception]) -> None:
        self.failures = failures
        self.error = error
        self.attempts = 0

    def __call__(self) -> int:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise self.error()
        return self.attempts


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("name", TRANSIENT)
@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_up_to_three_times_it_is_tried_again(
    committed: None,
    pauses: list[float],
    warnings: list[logging.LogRecord],
    name: str,
    failures: int,
) -> None:
    operation = Failing(failures, TRANSIENT[name])
    assert retries.run(connection, operation) == failures + 1
    assert len(pauses) == len(warnings) == failures
    for record in warnings:
        assert (record.levelname, record.name) == ("WARNING", "weavegraph_checkpoints.retries")
        assert "'default'" in record.getMessage()
        assert "given up" in record.getMessage()


@pytest.mark.parametrize("name", TRANSIENT)
def test_after_three_times_the_error_passes(
    committed: None, pauses: list[float], warnings: list[logging.LogRecord], name: str
) -> None:
    operation = Failing(99, TRANSIENT[name])
    with pytest.raises(OperationalError, match="given up"):
        retries.run(connection, operation)
    assert (operation.attempts, len(pauses), len(warnings)) == (4, 3, 3)


def test_the_pauses_grow_and_are_never_the_same(committed: None, pauses: list[float]) -> None:
    for _ in range(20):
        retries.run(connection, Failing(3, TRANSIENT["40001"]))
    rounds = list(zip(*[iter(pauses)] * 3, strict=True))
    assert len(set(pauses)) > 50
    for first, second, third in rounds:
        assert 0.005 < first < 0.05
        assert 0.01 < second < 0.1
        assert 0.02 < third < 0.2
    assert sum(third for _, _, third in rounds) > 2 * sum(first for first, _, _ in rounds)


@pytest.mark.parametrize("name", TRANSIENT)
def test_inside_a_callers_transaction_it_passes_at_once(
    committed: None, pauses: list[float], warnings: list[logging.LogRecord], name: str
) -> None:
    operation = Failing(1, TRANSIENT[name])
    with transaction.atomic(), pytest.raises(OperationalError):
        retries.run(connection, operation)
    assert (operation.attempts, pauses, warnings) == (1, [], [])


def test_with_autocommit_off_it_passes_at_once(committed: None, pauses: list[float]) -> None:
    connection.set_autocommit(False)
    operation = Failing(1, TRANSIENT["1213"])
    with pytest.raises(OperationalError):
        retries.run(connection, operation)
    assert (operation.attempts, pauses) == (1, [])


@pytest.mark.parametrize("name", OTHER)
def test_any_other_error_passes_unchanged_and_at_once(
    committed: None, pauses: list[float], warnings: list[logging.LogRecord], name: str
) -> None:
    error = OTHER[name]()
    operation = Failing(99, lambda: error)
    with pytest.raises(type(error)) as passed:
        retries.run(connection, operation)
    assert passed.value is error
    assert (operation.attempts, pauses, warnings) == (1, [], [])


WRITES: dict[str, Callable[[DjangoCheckpointer], Any]] = {
    "save": lambda kept: kept.save(a_checkpoint(step=3)),
    "save into a new one": lambda kept: kept.save(a_checkpoint("new")),
    "checked save": lambda kept: kept.save_with_concurrency_check(a_checkpoint(step=3), 2),
    "fork": lambda kept: kept.fork_session("session", "fork"),
    "delete": lambda kept: kept.delete_session("session"),
}


class GivesUp:
    """Lets the first transactions fail at a statement that names a table of the app."""

    def __init__(self, failures: int, statement: int) -> None:
        self.failures = failures
        self.statement = statement
        self.failed = 0
        self.seen = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "weavegraph_checkpoints" in sql and self.failed < self.failures:
            self.seen += 1
            if self.seen == self.statement:
                self.seen, self.failed = 0, self.failed + 1
                raise of_mariadb(1213) if connection.vendor == "mysql" else of_postgresql("40P01")
        return execute(sql, params, many, context)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("statement", [1, 2, 3])
def test_every_write_is_tried_again_as_a_whole(
    checkpointer: DjangoCheckpointer, pauses: list[float], name: str, statement: int
) -> None:
    save_history(checkpointer, "session", [1, 2])
    database = GivesUp(2, statement)
    with connection.execute_wrapper(database):
        WRITES[name](checkpointer)
    assert len(pauses) == database.failed
    assert database.failed == 2 or statement > 1
    assert wrong_snapshots() == []
    expected = {
        "save": {"session": 3},
        "save into a new one": {"session": 2, "new": 1},
        "checked save": {"session": 3},
        "fork": {"session": 2, "fork": 2},
        "delete": {},
    }
    assert dict(Session.objects.values_list("id", "last_step")) == expected[name]


@pytest.mark.parametrize("name", WRITES)
def test_no_write_is_tried_again_inside_a_callers_transaction(
    checkpointer: DjangoCheckpointer, pauses: list[float], name: str
) -> None:
    save_history(checkpointer, "session", [1, 2])
    database = GivesUp(1, 1)
    with (
        pytest.raises(OperationalError),
        transaction.atomic(),
        connection.execute_wrapper(database),
    ):
        WRITES[name](checkpointer)
    assert pauses == []
    assert dict(Session.objects.values_list("id", "last_step")) == {"session": 2}


@pytest.mark.vendor("postgresql", "mysql")
def test_the_victim_of_a_deadlock_saves_all_the_same(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord]
) -> None:
    """Someone locks a step, then its session; the service locks the other way round."""
    save_history(checkpointer, "session", [1, 2])
    save_history(checkpointer, "heavy", range(50))
    held, outcome = threading.Event(), []

    def find_deadlocks_after(seconds: int) -> None:
        """Set how long this connection waits; PostgreSQL aborts the one that finds a deadlock."""
        if connection.vendor == "postgresql":
            connection.cursor().execute(f"SET deadlock_timeout = '{seconds}s'")

    def write_by_hand() -> None:
        try:
            find_deadlocks_after(60)
            with transaction.atomic():
                Step.objects.filter(session_id="heavy").delete()
                Step.objects.select_for_update().get(session_id="session", step=2)
                held.set()
                wait_for_waiters(1)
                Session.objects.filter(id="session").update(forked_from="by hand")
            outcome.append("committed")
        finally:
            connections.close_all()

    other = threading.Thread(target=write_by_hand)
    other.start()
    assert held.wait(30)
    find_deadlocks_after(3)
    checkpointer.save(a_checkpoint(step=2))
    find_deadlocks_after(1)
    other.join(30)
    assert outcome == ["committed"]
    assert [record.levelname for record in warnings] == ["WARNING"]
    assert checkpointer.load("session", 2) == a_checkpoint(step=2)
    assert Session.objects.get(id="session").forked_from == "by hand"
    assert wrong_snapshots() == []
