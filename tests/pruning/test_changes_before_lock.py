"""Rows that change after a prune selects a batch, and before it locks their sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from tests.builders import orphans, wrong_snapshots
from tests.pruning.histories import DAY, NOW, build_history, create_histories, get_stored_steps
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import retries
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.pruning import PruneResult, prune

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_noon")]

LONG_AGO = NOW - 9 * DAY
INACTIVE = RetentionPolicy(delete_inactive=DAY)

Before = Callable[[Callable[[], Any]], None]


@pytest.fixture
def before_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> Before:
    """Lets something happen once, after a selection and before its lock."""

    def arrange(action: Callable[[], Any]) -> None:
        actions = [action]
        run_batch = retries.run_batch

        def hooked(*args: Any, **options: Any) -> Any:
            while actions:
                actions.pop()()
            return run_batch(*args, **options)

        monkeypatch.setattr(retries, "run_batch", hooked)

    return arrange


def save(session_id: str, steps: Iterable[int], **fields: Any) -> None:
    for step in steps:
        DjangoCheckpointer().save(a_checkpoint(session_id, step, **fields))


def assert_sound() -> None:
    assert wrong_snapshots() == []
    assert orphans() == []


def test_newer_steps_saved_in_between_stay(before_the_first_batch: Before) -> None:
    create_histories({"s": build_history(range(6))})
    before_the_first_batch(lambda: save("s", [6, 7]))
    assert prune(RetentionPolicy(keep_last=2)).steps == 4
    assert get_stored_steps() == {"s": {4, 5, 6, 7}}
    assert_sound()


def test_newest_steps_deleted_in_between_are_made_up_for(before_the_first_batch: Before) -> None:
    """The selection named steps that are now among the newest two."""
    create_histories({"s": build_history(range(6)), "t": build_history(range(6))})
    before_the_first_batch(lambda: Step.objects.filter(session_id="s", step__gte=4).delete())
    policy = RetentionPolicy(keep_last=2)
    prune(policy)
    assert get_stored_steps()["s"] >= {2, 3}
    assert get_stored_steps()["t"] == {4, 5}
    prune(policy)
    assert get_stored_steps() == {"s": {2, 3}, "t": {4, 5}}
    assert_sound()


@pytest.mark.parametrize("keep_last", [None, 1])
def test_all_but_old_steps_deleted_in_between_the_newest_stays(
    before_the_first_batch: Before, keep_last: int | None
) -> None:
    create_histories({"s": build_history(range(6))})
    before_the_first_batch(lambda: Step.objects.filter(session_id="s", step__gte=3).delete())
    policy = RetentionPolicy(keep_last=keep_last, older_than=timedelta(0))
    prune(policy)
    assert 2 in get_stored_steps()["s"]
    prune(policy)
    assert get_stored_steps() == {"s": {2}}
    assert_sound()


def test_a_step_saved_again_in_between_is_young(before_the_first_batch: Before) -> None:
    create_histories({"s": build_history(range(6))})
    before_the_first_batch(lambda: save("s", [1], created_at=NOW))
    assert prune(RetentionPolicy(older_than=2 * DAY)).steps == 2
    assert get_stored_steps() == {"s": {1, 3, 4, 5}}
    assert_sound()


@pytest.mark.parametrize(
    ("narrowing", "change"),
    [
        ({"status": "resumable"}, lambda: save("s", [6], frontier=["End"])),
        ({"owner": "me"}, lambda: Session.objects.filter(id="s").update(owner="you")),
    ],
)
@pytest.mark.parametrize("rule", [{"keep_last": 1}, {"delete_inactive": timedelta(0)}])
def test_a_session_that_no_longer_matches_is_left(
    before_the_first_batch: Before,
    narrowing: dict[str, str],
    change: Callable[[], Any],
    rule: dict[str, Any],
) -> None:
    create_histories({"s": build_history(range(6), owner="me", updated_at=LONG_AGO)})
    before_the_first_batch(change)
    assert prune(RetentionPolicy(**rule, **narrowing)).steps == 0
    assert get_stored_steps()["s"] >= set(range(6))


def test_a_session_deleted_in_between_is_passed_over(before_the_first_batch: Before) -> None:
    for policy in (RetentionPolicy(keep_last=1), INACTIVE):
        create_histories({name: build_history(range(3), updated_at=LONG_AGO) for name in "abc"})
        before_the_first_batch(lambda: DjangoCheckpointer().delete_session("b"))
        result = prune(policy)
        assert (result.steps, result.finished) == (4 if policy.keep_last else 6, True)
        assert "b" not in get_stored_steps()
        Session.objects.all().delete()


def test_an_idle_session_saved_to_in_between_stays_whole(before_the_first_batch: Before) -> None:
    create_histories({name: build_history(range(3), updated_at=LONG_AGO) for name in "abc"})
    before_the_first_batch(lambda: save("b", [3]))
    assert prune(INACTIVE).sessions == 2
    assert get_stored_steps() == {"b": {0, 1, 2, 3}}
    assert_sound()


def test_an_idle_session_that_grew_out_of_its_batch_goes_in_several(
    before_the_first_batch: Before,
) -> None:
    create_histories({name: build_history(range(3), updated_at=LONG_AGO) for name in "abc"})

    def grow() -> None:
        save("b", range(3, 20))
        Session.objects.filter(id="b").update(updated_at=LONG_AGO)

    before_the_first_batch(grow)
    result = prune(INACTIVE, batch_size=9)
    assert (result.steps, result.sessions, get_stored_steps()) == (26, 3, {})


@pytest.mark.parametrize("late", [12, 2])
def test_saved_to_in_the_middle_of_its_removal_it_keeps_what_is_left(late: int) -> None:
    create_histories(
        {
            "s": build_history(range(12), updated_at=LONG_AGO),
            "t": build_history([1], updated_at=LONG_AGO),
        }
    )

    def on_progress(result: PruneResult) -> None:
        if result.steps == 8:
            save("s", [late])

    result = prune(INACTIVE, batch_size=4, on_progress=on_progress)
    assert (result.steps, result.sessions, result.finished) == (9, 1, True)
    assert get_stored_steps() == {"s": {8, 9, 10, 11, late}}
    assert_sound()


def test_an_older_step_that_appears_in_the_middle_of_a_removal_goes_too() -> None:
    """As when a row arrives without the trigger: ``updated_at`` does not tell of it."""
    create_histories({"s": build_history(range(12), updated_at=LONG_AGO)})

    def on_progress(result: PruneResult) -> None:
        if result.steps == 8:
            save("s", [0, 1])
            Session.objects.filter(id="s").update(updated_at=LONG_AGO)

    result = prune(INACTIVE, batch_size=4, on_progress=on_progress)
    assert (result.steps, result.sessions, get_stored_steps()) == (14, 1, {})


def test_both_rules_after_an_interrupted_removal() -> None:
    """What the removal has left, the step rules may still take."""
    create_histories({"s": build_history(range(12), updated_at=LONG_AGO)})

    def on_progress(result: PruneResult) -> None:
        if result.steps == 4:
            save("s", [12])

    policy = RetentionPolicy(keep_last=2, delete_inactive=DAY)
    result = prune(policy, batch_size=4, on_progress=on_progress)
    assert get_stored_steps() == {"s": {11, 12}}
    assert (result.steps, result.sessions) == (11, 0)
    assert [loss.session_id for loss in result.largest] == ["s"]
    assert_sound()
