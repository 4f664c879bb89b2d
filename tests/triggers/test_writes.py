"""The snapshot after each kind of write, by the ORM and by plain SQL."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from tests.scratch import execute
from tests.triggers.helpers import (
    MAX_STEP,
    SESSION,
    STEP,
    assert_snapshots_right,
    case_of,
    content,
    create_session,
    create_step,
    derived,
    forget_updates,
    moved,
    revision,
    snapshot,
    upsert_suffix,
    write_sql,
)
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sessions(db: None) -> None:
    create_session("a")
    create_session("b")


def with_steps(*steps: int, session_id: str = "a") -> None:
    """Give a session steps, then forget that it was updated."""
    for step in steps:
        create_step(session_id, step, tag=step % 100)
    forget_updates()


def assert_touched(session_id: str = "a", *, revisions: int) -> None:
    """Fail unless writes were counted and moved ``updated_at``."""
    assert revision(session_id) == revisions
    assert moved(session_id)
    assert_snapshots_right()


def assert_left_alone(session_id: str, *, revisions: int) -> None:
    assert revision(session_id) == revisions
    assert not moved(session_id)
    assert_snapshots_right()


@pytest.mark.parametrize("order", list(permutations([0, 1, 7])))
def test_inserts_in_any_order_leave_the_highest_step(order: tuple[int, ...]) -> None:
    for count, step in enumerate(order, start=1):
        forget_updates()
        create_step("a", step, tag=step)
        assert_touched(revisions=count)
    assert snapshot("a") == derived({7: content(7)})
    assert_left_alone("b", revisions=0)


@pytest.mark.parametrize("order", list(permutations([2, 0, 5])))
def test_several_rows_in_one_statement(order: tuple[int, ...]) -> None:
    write_sql({"session_id": "a", "step": step, **content(step)} for step in order)
    assert_touched(revisions=3)
    Step.objects.bulk_create(Step(session_id="b", step=step, **content(step)) for step in order)
    assert_touched("b", revisions=3)
    assert snapshot("b")["last_step"] == 5


def test_step_0_counts_as_a_step() -> None:
    create_step("a", 0, tag=1)
    assert_touched(revisions=1)
    assert snapshot("a") == derived({0: content(1)})
    Step.objects.filter(session_id="a", step=0).update(**content(2))
    assert snapshot("a") == derived({0: content(2)})


def test_the_highest_step_of_all() -> None:
    with_steps(MAX_STEP - 1, MAX_STEP)
    assert snapshot("a")["last_step"] == MAX_STEP
    Step.objects.filter(session_id="a", step=MAX_STEP).delete()
    assert snapshot("a")["last_step"] == MAX_STEP - 1
    assert_left_alone("a", revisions=3)


def test_a_late_write_never_moves_the_snapshot_back() -> None:
    with_steps(5)
    create_step("a", 3, tag=33)
    assert_touched(revisions=2)
    forget_updates()
    Step.objects.filter(step=3).update(**content(34, ["End"]))
    assert_touched(revisions=3)
    assert snapshot("a") == derived({5: content(5)})


def test_an_update_of_the_newest_step() -> None:
    with_steps(1, 2)
    Step.objects.filter(session_id="a", step=2).update(**content(77, []))
    assert_touched(revisions=3)
    assert snapshot("a") == derived({2: content(77, [])})


def test_an_update_of_every_step_in_one_statement() -> None:
    with_steps(1, 2, 3)
    execute(connection, f"UPDATE {STEP} SET message_count = 40 + step WHERE session_id = 'a'")
    assert_touched(revisions=6)
    assert snapshot("a")["last_message_count"] == 43


def test_an_update_that_changes_nothing_counts_as_an_update() -> None:
    with_steps(1)
    execute(connection, f"UPDATE {STEP} SET step = step, message_count = message_count")
    assert_touched(revisions=2)


def test_a_model_instance_saved_again() -> None:
    with_steps(1, 2)
    step = Step.objects.get(session_id="a", step=2)
    step.state = {"saved": "again"}
    step.save()
    assert_touched(revisions=3)
    step.step = 0
    step.save()
    assert_touched(revisions=4)
    assert snapshot("a")["last_step"] == 1


def test_update_or_create_and_bulk_update() -> None:
    Step.objects.update_or_create(session_id="a", step=1, defaults=content(1))
    assert_touched(revisions=1)
    Step.objects.update_or_create(session_id="a", step=1, defaults=content(2))
    assert_touched(revisions=2)
    create_step("a", 2)
    steps = list(Step.objects.filter(session_id="a"))
    for step in steps:
        step.state, step.frontier = {"exact": -0.0, "step": step.step}, ["End"]
    Step.objects.bulk_update(steps, ["state", "frontier"])
    assert_touched(revisions=5)
    assert repr(snapshot("a")["last_state"]) == "{'exact': -0.0, 'step': 2}"


def test_bulk_create_that_updates_or_ignores_what_is_there() -> None:
    with_steps(1, 2)
    again = [Step(session_id="a", step=step, **content(50 + step)) for step in (1, 2, 3)]
    Step.objects.bulk_create(again[:2], ignore_conflicts=True)
    assert_left_alone("a", revisions=2)
    unique = [] if connection.vendor == "mysql" else ["session", "step"]
    Step.objects.bulk_create(
        again, update_conflicts=True, unique_fields=unique, update_fields=list(content(0))
    )
    assert_touched(revisions=5)
    assert snapshot("a") == derived({3: content(53)})


def test_an_upsert_in_plain_sql() -> None:
    with_steps(1, 2)
    rows = [{"session_id": "a", "step": step, **content(60 + step)} for step in (2, 1)]
    write_sql(rows, upsert_suffix(connection))
    assert_touched(revisions=4)
    assert snapshot("a") == derived({2: content(62)})


@pytest.mark.vendor("mysql", "sqlite")
def test_replace_in_plain_sql() -> None:
    with_steps(1, 2)
    for name, value in (("step", 1), ("step", 2)):
        execute(
            connection,
            f"REPLACE INTO {STEP} (session_id, step, created_at, frontier, ran_nodes,"
            " skipped_nodes, versions_seen, state) VALUES ('a', "
            f"{value}, '2026-01-01', '[\"End\"]', '[]', '[]', '{{}}', '{{\"{name}\": {value}}}')",
        )
        assert_snapshots_right()
    assert moved("a")
    assert snapshot("a")["last_state"] == {"step": 2}


class TestMoves:
    """Updates of ``step`` and ``session_id`` re-derive both sessions."""

    @pytest.mark.parametrize(
        ("step", "target", "last"),
        [(3, 9, 9), (3, 0, 2), (1, 9, 9), (2, 0, 3), (3, MAX_STEP, MAX_STEP)],
    )
    def test_of_a_step(self, step: int, target: int, last: int) -> None:
        with_steps(1, 2, 3)
        Step.objects.filter(session_id="a", step=step).update(step=target)
        assert_touched(revisions=4)
        assert snapshot("a")["last_step"] == last
        assert_left_alone("b", revisions=0)

    @pytest.mark.parametrize("step", [1, 2, 3])
    @pytest.mark.parametrize("there", [(), (0,), (9,)])
    def test_to_another_session(self, step: int, there: tuple[int, ...]) -> None:
        with_steps(1, 2, 3)
        with_steps(*there, session_id="b")
        Step.objects.filter(session_id="a", step=step).update(session_id="b")
        assert_touched("a", revisions=4)
        assert_touched("b", revisions=1 + len(there))

    def test_of_both_at_once(self) -> None:
        with_steps(1, 2)
        with_steps(5, session_id="b")
        Step.objects.filter(session_id="a", step=2).update(
            session_id="b", step=7, **content(70, ["End"])
        )
        assert_touched("a", revisions=3)
        assert_touched("b", revisions=2)
        assert snapshot("b") == derived({7: content(70, ["End"])})

    def test_of_the_only_step(self) -> None:
        with_steps(0)
        Step.objects.filter(session_id="a").update(session_id="b")
        assert_touched("a", revisions=2)
        assert_touched("b", revisions=1)
        assert snapshot("a") == derived({})

    def test_of_every_step_in_one_statement(self) -> None:
        with_steps(1, 2, 3)
        with_steps(4, session_id="b")
        Step.objects.filter(session_id="a").update(step=F("step") + 100)
        assert_touched("a", revisions=6)
        assert snapshot("a")["last_step"] == 103
        Step.objects.filter(session_id="a").update(session_id="b", step=F("step") - 100)
        assert snapshot("a") == derived({})
        assert snapshot("b")["last_step"] == 4
        assert_touched("a", revisions=9)
        assert_touched("b", revisions=4)

    def test_that_swap_two_sessions_in_one_statement(self) -> None:
        with_steps(1, 2)
        with_steps(8, 9, session_id="b")
        exchange = case_of("session_id", {("a", 2): "b", ("b", 9): "a"})
        Step.objects.filter(step__in=[2, 9]).update(session_id=exchange)
        assert_touched("a", revisions=4)
        assert_touched("b", revisions=4)
        assert (snapshot("a")["last_step"], snapshot("b")["last_step"]) == (9, 8)

    def test_that_swap_two_steps(self) -> None:
        with_steps(1, 2)
        for step, target in ((2, 50), (1, 2), (50, 1)):
            Step.objects.filter(session_id="a", step=step).update(step=target)
            assert_snapshots_right()
        assert_touched(revisions=5)
        assert snapshot("a") == derived({2: content(1)})

    def test_that_mix_with_plain_updates_in_one_statement(self) -> None:
        with_steps(3, 5)
        target = case_of("step", {("a", 5): 1})
        Step.objects.filter(session_id="a").update(step=target, message_count=88)
        assert_touched(revisions=4)
        assert (snapshot("a")["last_step"], snapshot("a")["last_message_count"]) == (3, 88)


class TestDeletes:
    def test_of_the_newest_fall_back_and_leave_updated_at(self) -> None:
        with_steps(0, 1, 2)
        for count, left in enumerate(([0, 1], [0], []), start=4):
            Step.objects.filter(session_id="a", step=len(left)).delete()
            assert_left_alone("a", revisions=count)
            assert snapshot("a") == derived({step: content(step) for step in left})

    def test_of_older_steps_leave_the_session_row_alone(self) -> None:
        with_steps(0, 1, 2, 3)
        before = Session.objects.filter(pk="a").values().get()
        Step.objects.filter(session_id="a", step__in=[0, 2]).delete()
        execute(connection, f"DELETE FROM {STEP} WHERE session_id = 'a' AND step = 1")
        assert Session.objects.filter(pk="a").values().get() == before

    @pytest.mark.parametrize("order", ["ASC", "DESC"])
    def test_of_several_in_one_statement(self, order: str) -> None:
        steps = (0, 1, 2, 3, 4) if order == "ASC" else (4, 3, 2, 1, 0)
        with_steps(*steps)
        execute(connection, f"DELETE FROM {STEP} WHERE session_id = 'a' AND step IN (4, 2, 3)")
        assert snapshot("a") == derived({1: content(1)})
        assert 6 <= revision("a") <= 8
        assert not moved("a")
        Step.objects.filter(session_id="a").delete()
        assert snapshot("a") == derived({})

    def test_by_the_instance_and_of_the_whole_session(self) -> None:
        with_steps(1, 2)
        with_steps(3, session_id="b")
        Step.objects.get(session_id="a", step=2).delete()
        assert snapshot("a") == derived({1: content(1)})
        Session.objects.get(pk="a").delete()
        assert list(Step.objects.values_list("session_id", flat=True)) == ["b"]
        assert_left_alone("b", revisions=1)

    def test_of_an_empty_session_is_no_update(self) -> None:
        Step.objects.filter(session_id="a").delete()
        assert_left_alone("a", revisions=0)


def test_revision_and_snapshot_roll_back_with_the_write() -> None:
    with_steps(1)

    class Undo(Exception):
        pass

    def undone(write: Any) -> None:
        with pytest.raises(Undo), transaction.atomic():
            write()
            raise Undo

    undone(lambda: create_step("a", 2, tag=2))
    undone(lambda: Step.objects.filter(session_id="a").update(session_id="b"))
    undone(lambda: Step.objects.filter(session_id="a").delete())
    assert_left_alone("a", revisions=1)
    assert_left_alone("b", revisions=0)
    assert snapshot("a") == derived({1: content(1)})


@pytest.mark.parametrize(
    ("frontier", "status"),
    [
        ([], "finished"),
        (["End"], "finished"),
        (["End", "End"], "finished"),
        (["End"] * 5, "finished"),
        (["Start"], "resumable"),
        (["Custom:End"], "resumable"),
        (["Custom:x", "End"], "resumable"),
        (["End", "Custom:x"], "resumable"),
        (["End", "Custom:End"], "resumable"),
        (["end"], "resumable"),
        (["End "], "resumable"),
        (["Énd"], "resumable"),
        (["End", ""], "resumable"),
        ([""], "resumable"),
        (['Custom:"End"', "\\"], "resumable"),
    ],
)
def test_status(frontier: list[str], status: str) -> None:
    assert snapshot("a")["status"] == "empty"
    create_step("a", 2)
    create_step("b", 3).delete()
    Step.objects.filter(session_id="a").update(frontier=frontier)
    assert snapshot("a")["status"] == status
    write_sql([{"session_id": "b", "step": 9, **content(9, frontier)}])
    assert snapshot("b")["status"] == status
    Step.objects.filter(session_id="a").update(session_id="b", step=10)
    assert snapshot("b")["status"] == status
    assert snapshot("a")["status"] == "empty"
    create_step("b", 11)
    Step.objects.filter(session_id="b", step=11).delete()
    assert snapshot("b")["status"] == status
    assert snapshot("b")["last_frontier"] == frontier


def test_a_frontier_with_spaces_in_its_json() -> None:
    with_steps(1)
    execute(connection, f"""UPDATE {STEP} SET frontier = ' [ "End" ,\n "End" ] '""")
    assert snapshot("a")["status"] == "finished"
    assert snapshot("a")["last_frontier"] == ["End", "End"]


def test_a_session_row_that_is_written_by_hand_is_put_right_by_the_next_write() -> None:
    with_steps(1, 2)
    execute(connection, f"UPDATE {SESSION} SET status = 'empty', last_state = NULL")
    Step.objects.filter(session_id="a", step=2).update(message_count=5)
    assert_touched(revisions=3)
