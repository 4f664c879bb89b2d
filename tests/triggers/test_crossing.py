"""The snapshot when transactions that write and delete cross, held open on purpose.

Writers here do not lock the session first, as the service does: one of two may be the
victim of a deadlock, but the snapshot is right either way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from tests.triggers.actors import STUCK_AFTER_SECONDS, Actor, Write, waits
from tests.triggers.helpers import (
    assert_snapshots_right,
    content,
    create_session,
    create_step,
    derived,
    revision,
    snapshot,
)
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.querysets import StepQuerySet

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["weavegraph_checkpoints"])


def steps(session_id: str, *numbers: int) -> StepQuerySet:
    return Step.objects.filter(session_id=session_id, step__in=numbers)


WRITES: dict[str, Write] = {
    "insert newer": lambda: create_step("a", 50, tag=1),
    "insert late": lambda: create_step("a", 25, tag=2),
    "update newest": lambda: steps("a", 30).update(**content(3)),
    "update older": lambda: steps("a", 10).update(**content(4)),
    "delete newest": lambda: steps("a", 30).delete(),
    "delete older": lambda: steps("a", 20).delete(),
    "delete all": lambda: steps("a", 10, 20, 30).delete(),
    "move newest down": lambda: steps("a", 30).update(step=15),
    "move older up": lambda: steps("a", 10).update(step=40),
    "move newest away": lambda: steps("a", 30).update(session_id="b"),
    "move a newer one in": lambda: steps("b", 60).update(session_id="a"),
}
MOVERS = ("insert late", "delete newest", "delete older", "move newest down")


@transaction.atomic
def start_over() -> None:
    Step.objects.all().delete()
    Session.objects.all().delete()
    create_session("a")
    create_session("b")
    Step.objects.bulk_create(
        Step(session_id=session_id, step=step, **content(step))
        for session_id, step in (("a", 10), ("a", 20), ("a", 30), ("b", 60))
    )


class Crossing:
    """Two transactions, the second of which writes while the first is open."""

    def __init__(self, one: Actor, other: Actor) -> None:
        self.one = one
        self.other = other

    def run(self, first: str, second: str, *, commit: bool = True, reads: bool = False) -> None:
        """Cross two writes; with ``reads``, the second transaction saw what was before both."""
        start_over()
        before = revision("a")
        if reads:
            self.other.do(lambda: list(Step.objects.values_list("step")))
        self.one.do(WRITES[first])
        pending = self.other.start(WRITES[second])
        waits(pending)
        if commit:
            self.one.commit()
        else:
            self.one.roll_back()
        pending.result(STUCK_AFTER_SECONDS)
        self.other.commit()
        assert_snapshots_right()
        assert revision("a") >= before

    @property
    def both_stand(self) -> bool:
        """Whether neither transaction was the victim of the other."""
        return self.one.failure is None and self.other.failure is None

    @property
    def none_stands(self) -> bool:
        return self.one.failure is not None and self.other.failure is not None


@pytest.fixture
def crossing(isolation: str | None) -> Iterator[Crossing]:
    with Actor(isolation) as one, Actor(isolation) as other:
        yield Crossing(one, other)


@pytest.fixture
def isolation() -> str | None:
    return None


@pytest.mark.parametrize("first", WRITES)
def test_any_two_writes(crossing: Crossing, first: str) -> None:
    for second in WRITES:
        crossing.run(first, second)
        assert not crossing.none_stands


@pytest.mark.parametrize("second", MOVERS)
def test_any_write_while_another_is_rolled_back(crossing: Crossing, second: str) -> None:
    for first in WRITES:
        crossing.run(first, second, commit=False)
        assert not crossing.none_stands


@pytest.mark.parametrize(
    "isolation",
    [
        pytest.param("REPEATABLE READ", marks=pytest.mark.vendor("mysql", "postgresql")),
        pytest.param("SERIALIZABLE", marks=pytest.mark.vendor("postgresql")),
    ],
)
@pytest.mark.parametrize("first", MOVERS)
def test_any_two_writes_at_a_higher_isolation(crossing: Crossing, first: str) -> None:
    for second in MOVERS:
        crossing.run(first, second, reads=True)
        assert not crossing.none_stands


def test_a_delete_of_the_newest_that_crosses_a_late_insert(crossing: Crossing) -> None:
    crossing.run("insert late", "delete newest")
    if crossing.both_stand:
        assert snapshot("a") == derived({25: content(2)})
    crossing.run("delete newest", "insert late")
    if crossing.both_stand:
        assert snapshot("a") == derived({25: content(2)})


def test_two_deletes_that_cross_fall_back_past_both(crossing: Crossing) -> None:
    crossing.run("delete older", "delete newest")
    if crossing.both_stand:
        assert snapshot("a") == derived({10: content(10)})
    crossing.run("delete newest", "delete older")
    if crossing.both_stand:
        assert snapshot("a") == derived({10: content(10)})


@pytest.mark.parametrize("name", ["insert late", "update older", "delete newest"])
def test_writers_of_one_session_wait_for_each_other(name: str) -> None:
    start_over()
    with Actor() as one, Actor() as other:
        one.do(lambda: create_step("a", 31, tag=31))
        pending = other.start(WRITES[name])
        assert waits(pending) or other.failure is not None
        one.commit()
        pending.result(STUCK_AFTER_SECONDS)


@pytest.mark.vendor("mysql", "postgresql")
def test_writers_of_two_sessions_do_not_wait() -> None:
    start_over()
    with Actor() as one, Actor() as other:
        one.do(lambda: create_step("a", 31, tag=31))
        other.do(lambda: create_step("b", 31, tag=31))
        other.commit()
        one.commit()
    assert_snapshots_right()


@pytest.mark.parametrize("seed", range(3))
def test_many_writers_and_deleters_at_once(seed: int) -> None:
    start_over()
    writers, rounds = 4, 12

    def work(number: int) -> int:
        chance = random.Random(f"{seed} {number}")
        try:
            return sum(_survives(_random_writes(chance)) for _ in range(rounds))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(writers) as threads:
        survivors = list(threads.map(work, range(writers), timeout=STUCK_AFTER_SECONDS))
    assert sum(survivors) > rounds
    assert_snapshots_right()


def _random_writes(chance: random.Random) -> list[Callable[[], object]]:
    def one() -> Callable[[], object]:
        session_id, step, tag = chance.choice("ab"), chance.randrange(8), chance.randrange(90)
        other, target = chance.choice("ab"), chance.randrange(8)
        return chance.choice(
            [
                lambda: create_step(session_id, step, tag),
                lambda: steps(session_id, step).update(**content(tag)),
                lambda: steps(session_id, step).update(session_id=other, step=target),
                lambda: steps(session_id, step, step + 1).delete(),
                lambda: Step.objects.filter(session_id=session_id, step__gte=step).delete(),
            ]
        )

    return [one() for _ in range(chance.randrange(1, 4))]


def _survives(writes: list[Callable[[], object]]) -> bool:
    """Run writes in one transaction; say whether it was no victim of another."""
    try:
        with transaction.atomic():
            for write in writes:
                write()
    except (IntegrityError, OperationalError):
        return connection.vendor == "sqlite"
    return True
