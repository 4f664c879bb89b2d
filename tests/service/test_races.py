"""Threads that race: one winner, no trace of the others, and no deadlock."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from tests.builders import orphans, save_history, wrong_snapshots
from tests.service.racing import alias_like, assert_one_won, race, wait_for_waiters
from tests.service.random_calls import CallContext, RandomCalls, build_checkpoint
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    ConcurrencyConflict,
    SessionExists,
    SessionNotFound,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

RACERS = 8
ROUNDS = 6

CALLERS: dict[str, CallContext] = {"by themselves": nullcontext, "in atomic()": transaction.atomic}
EITHER_WAY = pytest.mark.parametrize("call_context", CALLERS.values(), ids=CALLERS)


def assert_saved_by(using: str, session_id: str, step: int, winner: int) -> None:
    checkpointer = DjangoCheckpointer(using)
    saved = build_checkpoint(session_id, step, winner)
    assert checkpointer.load(session_id, step) == saved
    latest = checkpointer.load_latest(session_id)
    assert latest is not None
    assert (latest.step, latest.state) == (step, saved.state)


def race_to(
    session_id: str, step: int, expected: int, call_context: CallContext, *, stored: int
) -> None:
    """Let racers save the same step after the same one."""

    def save(racer: int) -> None:
        with call_context():
            DjangoCheckpointer().save_with_concurrency_check(
                build_checkpoint(session_id, step, racer), expected
            )

    results = race(RACERS, save)
    winner = assert_one_won(
        results, session_id, expected, step=step, stored=stored, using="default"
    )
    assert_saved_by("default", session_id, step, winner)


@EITHER_WAY
def test_of_threads_that_expect_the_same_one_wins(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord], call_context: CallContext
) -> None:
    for attempt in range(ROUNDS):
        born, from_zero = f"born {attempt}", f"zero {attempt}"
        race_to(born, 1, 0, call_context, stored=1)
        race_to(born, 2, 1, call_context, stored=2)
        race_to(born, 9, 2, call_context, stored=3)
        race_to(from_zero, 0, 0, call_context, stored=1)
        race_to(from_zero, 1, 0, call_context, stored=2)
        Session.objects.create(id=f"empty {attempt}")
        race_to(f"empty {attempt}", 0, 0, call_context, stored=1)
    assert warnings == []
    assert wrong_snapshots() == []


@EITHER_WAY
def test_of_threads_that_save_different_steps_after_the_same_one_wins(
    checkpointer: DjangoCheckpointer, call_context: CallContext
) -> None:
    for attempt in range(ROUNDS):
        for stored, expected in ((1, 0), (2, 100)):
            session_id = f"s{attempt}"
            steps = [101 + racer if expected else 100 for racer in range(RACERS)]

            def save(racer: int, session_id=session_id, steps=steps, expected=expected) -> None:
                with call_context():
                    DjangoCheckpointer().save_with_concurrency_check(
                        build_checkpoint(session_id, steps[racer], racer), expected
                    )

            results = race(RACERS, save)
            winner = results.index(None)
            step = steps[winner]
            assert_one_won(results, session_id, expected, step=step, stored=stored, using="default")
            assert_saved_by("default", session_id, step, winner)


@EITHER_WAY
def test_of_threads_that_fork_onto_one_target_one_wins(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord], call_context: CallContext
) -> None:
    save_history(checkpointer, "source", range(1, 6))
    for attempt in range(ROUNDS):
        target = f"fork {attempt}"

        def fork(racer: int, target=target) -> int:
            with call_context():
                return DjangoCheckpointer().fork_session("source", target).step

        results = race(RACERS, fork)
        assert results.count(5) == 1, results
        assert sum(type(result) is SessionExists for result in results) == RACERS - 1, results
        assert checkpointer.query_steps(target).page_info.total_count == 5
    assert warnings == []
    assert wrong_snapshots() == []


@EITHER_WAY
def test_of_threads_that_delete_one_session_one_did(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord], call_context: CallContext
) -> None:
    for _ in range(ROUNDS):
        save_history(checkpointer, "session", [1, 2, 3])

        def delete(racer: int) -> bool:
            with call_context():
                return DjangoCheckpointer().delete_session("session")

        assert sorted(race(RACERS, delete)) == [False] * (RACERS - 1) + [True]
        assert (Session.objects.count(), Step.objects.count()) == (0, 0)
    assert warnings == []


def run_mixtures(
    racers: int, calls: int, call_context: CallContext, using: str = "default"
) -> set[type[Exception]]:
    """Run mixtures in threads; return the kinds of errors, all of them of the contract."""
    results = race(racers, lambda racer: RandomCalls(racer, call_context, using).run(calls))
    failures = [result for result in results if isinstance(result, Exception)]
    assert failures == []
    return {kind for result in results for kind in result}


@EITHER_WAY
def test_any_calls_side_by_side_raise_what_the_contract_names_alone(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord], call_context: CallContext
) -> None:
    kinds = run_mixtures(racers=6, calls=60, call_context=call_context)
    assert kinds <= {ConcurrencyConflict, SessionNotFound, SessionExists}
    assert [record.getMessage() for record in warnings] == []
    assert orphans() == []
    assert wrong_snapshots() == []


def test_several_sessions_in_the_order_of_their_ids_never_deadlock(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord]
) -> None:
    def save_several(racer: int) -> None:
        chooser = random.Random(racer)
        for step in range(10):
            with transaction.atomic():
                for session_id in sorted(chooser.sample("abcdef", 3)):
                    DjangoCheckpointer().save(build_checkpoint(session_id, step, racer))

    assert race(6, save_several) == [None] * 6
    assert warnings == []
    assert wrong_snapshots() == []


def test_savers_of_one_new_session_all_succeed(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord]
) -> None:
    def save(racer: int) -> None:
        for attempt in range(ROUNDS):
            DjangoCheckpointer().save(build_checkpoint(f"s{attempt}", racer, racer))

    assert race(RACERS, save) == [None] * RACERS
    for attempt in range(ROUNDS):
        assert checkpointer.query_steps(f"s{attempt}").page_info.total_count == RACERS
    assert warnings == []
    assert wrong_snapshots() == []


@pytest.mark.vendor("mysql")
def test_conflicts_at_a_birth_that_is_rolled_back_are_no_deadlock(
    checkpointer: DjangoCheckpointer, warnings: list[logging.LogRecord]
) -> None:
    """Whoever waits for a row that vanishes holds its gap: none of them may insert there."""
    save_history(checkpointer, "z", [1])

    def save(racer: int) -> None:
        DjangoCheckpointer().save_with_concurrency_check(build_checkpoint("born", 5, racer), 4)

    results: list[Any] = []
    racers = threading.Thread(target=lambda: results.extend(race(4, save)))
    with transaction.atomic():
        checkpointer.save(a_checkpoint("born"))
        racers.start()
        wait_for_waiters(4)
        transaction.set_rollback(True)
    racers.join()
    assert [type(result) for result in results] == [ConcurrencyConflict] * 4
    assert warnings == []
    assert checkpointer.list_sessions() == ["z"]


def isolation_levels(vendor: str) -> dict[str, Any]:
    if vendor == "mysql":
        return {"repeatable read": "repeatable read", "serializable": "serializable"}
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    return {
        "repeatable read": IsolationLevel.REPEATABLE_READ,
        "serializable": IsolationLevel.SERIALIZABLE,
    }


@pytest.fixture(params=["repeatable read", "serializable"])
def isolated(request: pytest.FixtureRequest, committed: None) -> Iterator[str]:
    """An alias whose transactions are isolated more than by default."""
    level = isolation_levels(connections["default"].vendor)[request.param]
    with alias_like("default", "isolated", OPTIONS={"isolation_level": level}) as alias:
        yield alias


@pytest.mark.vendor("postgresql", "mysql")
def test_under_stronger_isolation_one_wins_too(
    isolated: str, warnings: list[logging.LogRecord]
) -> None:
    lost = 0
    for attempt in range(ROUNDS):
        session_id = f"s{attempt}"
        for stored, (step, expected) in enumerate([(1, 0), (2, 1), (3, 2)], 1):

            def save(racer: int, session_id=session_id, step=step, expected=expected) -> None:
                DjangoCheckpointer(isolated).save_with_concurrency_check(
                    build_checkpoint(session_id, step, racer), expected
                )

            results = race(RACERS, save)
            lost += sum(type(result) is ConcurrencyConflict for result in results)
            winner = assert_one_won(
                results, session_id, expected, step=step, stored=stored, using="default"
            )
            assert_saved_by("default", session_id, step, winner)
    assert lost == ROUNDS * 3 * (RACERS - 1)
    assert {record.levelname for record in warnings} <= {"WARNING"}


@pytest.mark.vendor("mysql")
def test_under_stronger_isolation_no_locking_read_misses_its_session(isolated: str) -> None:
    """It would keep the gap, and two that create sessions there end in a deadlock."""
    with CaptureQueriesContext(connections[isolated]) as captured:
        DjangoCheckpointer(isolated).save(a_checkpoint("new"))
    first = next(query["sql"] for query in captured if "checkpoints_session" in query["sql"])
    assert first.startswith("INSERT INTO")


@pytest.mark.vendor("postgresql", "mysql")
def test_under_stronger_isolation_everything_works(isolated: str) -> None:
    checkpointer = DjangoCheckpointer(isolated)
    save_history(checkpointer, "session", [1, 2, 3])
    with transaction.atomic(isolated):
        assert checkpointer.load_latest("session") is not None
        checkpointer.save_with_concurrency_check(a_checkpoint("session", 4), 3)
        checkpointer.save_with_concurrency_check(a_checkpoint("new", 1), 0)
        with pytest.raises(ConcurrencyConflict):
            checkpointer.save_with_concurrency_check(a_checkpoint("new", 2), 0)
        checkpointer.fork_session("session", "fork", at_step=2)
        assert checkpointer.delete_session("new")
    assert sorted(checkpointer.list_sessions()) == ["fork", "session"]
    assert wrong_snapshots() == []
