"""Prunes that run at the same time as writers and other prunes: locks, waiting, deadlocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from tests.builders import orphans, wrong_snapshots
from tests.pruning.histories import (
    DAY,
    NOW,
    History,
    build_history,
    create_histories,
    get_stored_steps,
)
from tests.service.racing import race
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.backends.base import SESSION, STEP
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Step
from weavegraph_checkpoints.pruning import PruneResult, prune
from weavegraph_checkpoints.pruning.sql import PruneStatements

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_noon")]

STUCK_AFTER_SECONDS = 60
LONG_AGO = NOW - 9 * DAY
RULES = {"steps": {"keep_last": 2}, "sessions": {"delete_inactive": DAY}}

InOtherThread = Callable[[Callable[[], Any]], "Future[Any]"]


@pytest.fixture
def in_other_thread() -> Iterator[InOtherThread]:
    """Runs something on a connection of another thread."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda action: thread.submit(action)
        thread.submit(connections.close_all).result(STUCK_AFTER_SECONDS)


@pytest.fixture(params=RULES.values(), ids=list(RULES))
def rule(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Either kind of rule."""
    return request.param  # type: ignore[no-any-return]


class Names:
    """Ids that no other test has used, neighbours in the order of ids.

    On MariaDB an INSERT that meets the trace of a deleted row with its key locks the next
    row too, whosever it is.
    """

    def __init__(self, tag: int) -> None:
        self.touched = [f"{tag}{name}" for name in ("a", "b", *(f"s{n}" for n in range(8)))]
        self.others = [f"{tag}{name}" for name in ("A", "a ", "c", "s4 ")]

    def policy(self, rule: dict[str, Any]) -> RetentionPolicy:
        return RetentionPolicy(session_ids=self.touched, **rule)


_tags = count(1)


@pytest.fixture
def names() -> Names:
    return Names(next(_tags))


@pytest.fixture
def inside_a_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Lets something happen once, when a batch has deleted steps and not yet committed."""

    def arrange(action: Callable[[], Any]) -> None:
        actions = [action]
        for name in ("delete_steps", "delete_steps_if_older"):
            method = getattr(PruneStatements, name)

            def hooked(self: PruneStatements, *args: Any, method: Any = method) -> Any:
                deleted = method(self, *args)
                while actions:
                    actions.pop()()
                return deleted

            monkeypatch.setattr(PruneStatements, name, hooked)

    return arrange


def build_histories(*names: str, steps: int = 8) -> dict[str, History]:
    return {name: build_history(range(steps), updated_at=LONG_AGO) for name in names}


def save(session_id: str, step: int) -> None:
    DjangoCheckpointer().save(a_checkpoint(session_id, step))


def assert_sound() -> None:
    assert wrong_snapshots() == []
    assert orphans() == []


def lock_now(session_id: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {SESSION} WHERE id = %s FOR UPDATE NOWAIT", [session_id])
        assert len(cursor.fetchall()) == 1


def lock_steps_now(session_id: str) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT step FROM {STEP} WHERE session_id = %s FOR UPDATE NOWAIT", [session_id]
        )
        return len(cursor.fetchall())


@pytest.mark.vendor("postgresql", "mysql")
def test_a_batch_locks_its_own_sessions_alone(
    rule: dict[str, Any],
    names: Names,
    in_other_thread: InOtherThread,
    inside_a_batch: Callable[..., None],
) -> None:
    create_histories(build_histories(*names.touched, *names.others))

    def look() -> None:
        for name in names.others:
            in_other_thread(lambda name=name: lock_now(name)).result(STUCK_AFTER_SECONDS)
            assert (
                in_other_thread(lambda name=name: lock_steps_now(name)).result(STUCK_AFTER_SECONDS)
                == 8
            )
            in_other_thread(lambda name=name: save(name, 8)).result(STUCK_AFTER_SECONDS)
        in_other_thread(lambda: save(f"{names.others[0]}new", 0)).result(STUCK_AFTER_SECONDS)
        for name in names.touched:
            with pytest.raises(OperationalError):
                in_other_thread(lambda name=name: lock_now(name)).result(STUCK_AFTER_SECONDS)

    inside_a_batch(look)
    assert prune(names.policy(rule)).steps > 0
    assert all(get_stored_steps()[name] == set(range(9)) for name in names.others)
    assert_sound()


@pytest.mark.vendor("postgresql", "mysql")
@pytest.mark.parametrize("size", [3, 60])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_it_never_waits_for_a_session_that_it_does_not_touch(
    rule: dict[str, Any], size: int, batch_size: int, names: Names, in_other_thread: InOtherThread
) -> None:
    """Whatever plan the database makes for tables as small as these."""
    create_histories(build_histories(*names.touched, *names.others, steps=size))
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            for name in names.others:
                save(name, 0)
                save(name, size)
            begun.set()
            assert done.wait(STUCK_AFTER_SECONDS)

    holding = in_other_thread(hold)
    assert begun.wait(STUCK_AFTER_SECONDS)
    _short_lock_timeout()
    try:
        result = prune(names.policy(rule), batch_size=batch_size)
    finally:
        done.set()
        holding.result(STUCK_AFTER_SECONDS)
        connection.close()
    assert result.finished
    assert result.steps == len(names.touched) * (size - rule.get("keep_last", 0))
    assert_sound()


def _short_lock_timeout() -> None:
    statement = {
        "mysql": "SET SESSION innodb_lock_wait_timeout = 2",
        "postgresql": "SET lock_timeout = '2s'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_writer_waits_for_one_batch_at_the_most(
    rule: dict[str, Any],
    names: Names,
    in_other_thread: InOtherThread,
    inside_a_batch: Callable[..., None],
) -> None:
    name = names.touched[0]
    create_histories(build_histories(name, steps=12))
    waiting: list[Future[Any]] = []

    def write() -> None:
        waiting.append(in_other_thread(lambda: save(name, 12)))
        time.sleep(0.1)
        assert not waiting[0].done()

    def on_progress(_result: PruneResult) -> None:
        """The batch has committed, and the next one has not begun."""
        while waiting:
            waiting.pop().result(STUCK_AFTER_SECONDS)

    inside_a_batch(write)
    assert prune(RetentionPolicy(**rule), batch_size=3, on_progress=on_progress).finished
    assert waiting == []
    assert get_stored_steps() == {name: {10, 11, 12} if "keep_last" in rule else set(range(3, 13))}
    assert_sound()


def test_prunes_side_by_side_share_the_work(rule: dict[str, Any], names: Names) -> None:
    create_histories(build_histories(*names.touched, *names.others, steps=40))
    results = race(3, lambda _racer: prune(names.policy(rule), batch_size=20))
    assert [type(result) for result in results] == [PruneResult] * 3, results
    sessions = len(names.touched)
    assert sum(each.steps for each in results) == sessions * (40 - rule.get("keep_last", 0))
    assert sum(each.sessions for each in results) == (0 if "keep_last" in rule else sessions)
    assert all(each.finished for each in results)
    assert all(get_stored_steps()[name] == set(range(40)) for name in names.others)
    assert_sound()


class Writer:
    """Saves the next step of some sessions again and again, and remembers how long it took."""

    def __init__(self, names: list[str], first: int) -> None:
        self.names, self.first = names, first
        self.saves = 0
        self.longest = 0.0

    @property
    def newest(self) -> int:
        return self.first + self.saves - 1

    def work(self, until: threading.Event) -> None:
        while not until.is_set() or self.saves == 0:
            started = time.monotonic()
            for name in self.names:
                save(name, self.first + self.saves)
            self.longest = max(self.longest, time.monotonic() - started)
            self.saves += 1


def test_writers_beside_a_prune_neither_fail_nor_starve(rule: dict[str, Any], names: Names) -> None:
    create_histories(build_histories(*names.touched, *names.others, steps=60))
    busy = names.touched[::4]
    done = threading.Event()
    writers = [Writer(busy, 100), Writer(busy[::-1], 10_000), Writer(names.others, 100)]

    def act(racer: int) -> PruneResult | None:
        if racer < len(writers):
            writers[racer].work(done)
            return None
        try:
            return prune(names.policy(rule), batch_size=60)
        finally:
            done.set()

    results = race(len(writers) + 1, act)
    assert results[:-1] == [None] * len(writers), results
    assert results[-1].finished
    assert max(writer.longest for writer in writers) < 5
    assert_sound()
    left = get_stored_steps()
    assert all(writers[1].newest in left[name] for name in busy)
    assert all({*range(60), writers[2].newest} <= left[name] for name in names.others)
    for name in set(names.touched) - set(busy):
        assert len(left.get(name, ())) == rule.get("keep_last", 0)


def test_prunes_deletes_and_saves_in_every_order_never_meet_in_a_deadlock(names: Names) -> None:
    ids = names.touched[:6]
    create_histories(build_histories(*ids, steps=30))
    rules: list[dict[str, Any]] = [*RULES.values(), {"older_than": DAY}]

    def act(racer: int) -> None:
        for turn in range(4):
            if racer < len(rules):
                prune(RetentionPolicy(**rules[racer]), batch_size=3 + turn)
            else:
                for name in ids[:: 1 if racer == len(rules) else -1]:
                    save(name, 30 + turn)
                DjangoCheckpointer().delete_session(ids[turn])

    assert race(len(rules) + 2, act) == [None] * (len(rules) + 2)
    assert_sound()


def test_a_prune_inside_the_callers_transaction_is_undone_with_it() -> None:
    create_histories(build_histories("a"))
    with transaction.atomic():
        assert prune(RetentionPolicy(keep_last=2)).steps == 6
        transaction.set_rollback(True)
    assert Step.objects.count() == 8
