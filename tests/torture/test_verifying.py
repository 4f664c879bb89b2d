"""The verifier finds what it is there to find, so that its silence means something."""

from __future__ import annotations

import pytest

from tests.torture.content import checkpoint_of
from tests.torture.journal import REFUSED, UNKNOWN
from tests.torture.told import Told
from tests.torture.verifying import Revisions, faults
from tests.torture.writer import KEEP_LAST
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

STEPS = 4

pytestmark = pytest.mark.django_db


@pytest.fixture
def told() -> Told:
    """A history without a fault."""
    told = Told()
    for name in ("chain/0", "free/0"):
        for step in range(1, STEPS + 1):
            told.save(name, step, f"{name}.{step}")
    told.save("short/0", 1, "gone")
    told.delete("short/0")
    told.fork("free/0", "fork/0/1")
    assert faults(told.journal, "default") == []
    return told


def found(told: Told) -> str:
    return "\n".join(faults(told.journal, "default"))


def test_a_lost_save(told: Told) -> None:
    Step.objects.filter(session_id="free/0", step=STEPS).delete()
    assert f"free/0 step {STEPS}: an acknowledged save is lost" in found(told)


@pytest.mark.parametrize(("newer", "is_lost"), [(KEEP_LAST, False), (KEEP_LAST - 1, True)])
def test_a_pruned_step(told: Told, newer: int, is_lost: bool) -> None:
    for step in range(newer + 1):
        told.save("pruned/0", step, f"pruned.{step}")
    told.call(lambda: 1, "prune", "pruned/0")
    Step.objects.filter(session_id="pruned/0", step=0).delete()
    assert ("pruned/0 step 0: an acknowledged save is lost" in found(told)) is is_lost


def test_a_gap(told: Told) -> None:
    Step.objects.filter(session_id="chain/0", step=2).delete()
    assert f"chain/0: there are gaps between its {STEPS - 1} steps" in found(told)


def test_a_session_that_came_back(told: Told) -> None:
    DjangoCheckpointer().save(checkpoint_of("short/0", 1, "gone"))
    assert "short/0 step 1: holds gone, and a later acknowledged call is lost" in found(told)


def test_an_overwritten_save_that_came_back(told: Told) -> None:
    told.save("free/0", 1, "newer")
    DjangoCheckpointer().save(checkpoint_of("free/0", 1, "free/0.1"))
    assert "free/0 step 1: holds free/0.1, and a later" in found(told)


def test_a_save_that_was_refused(told: Told) -> None:
    told.save("free/0", 9, "refused").outcome = REFUSED
    assert "free/0 step 9: holds refused, which nobody saved there" in found(told)


def test_a_save_of_another_place(told: Told) -> None:
    Step.objects.filter(session_id="free/0", step=STEPS).update(step=90)
    assert "free/0 step 90: holds free/0.4, which nobody saved there" in found(told)


def test_a_torn_checkpoint(told: Told) -> None:
    Step.objects.filter(session_id="free/0", step=2).update(updated_channels=[])
    assert "free/0 step 2: what is stored is not what free/0.2 saved" in found(told)


def test_a_torn_snapshot(told: Told) -> None:
    Session.objects.filter(id="free/0").update(last_step=STEPS - 1)
    assert "torn snapshot of free/0" in found(told)


def test_a_birth_without_a_step(told: Told) -> None:
    Session.objects.create(id="short/1")
    assert "short/1: born without a step" in found(told)


def test_two_winners(told: Told) -> None:
    told.save("chain/0", STEPS, "second")
    assert f"chain/0 step {STEPS}: won by ['chain/0.{STEPS}', 'second']" in found(told)


def test_a_lost_fork(told: Told) -> None:
    DjangoCheckpointer().delete_session("fork/0/1")
    assert "fork/0/1: an acknowledged fork is lost" in found(told)


def test_half_a_fork(told: Told) -> None:
    told.journal.forks["fork/0/1"].outcome = UNKNOWN
    Step.objects.filter(session_id="fork/0/1", step__gt=2).delete()
    assert "fork/0/1: the fork is half written" in found(told)
    assert "fork/0/1 step 3: was not copied" in found(told)


def test_a_save_that_did_not_count(told: Told) -> None:
    revisions = Revisions("default")
    assert look(revisions) == []
    Session.objects.filter(id="free/0").update(revision=STEPS - 1)
    assert f"free/0: revision {STEPS - 1}, not {STEPS} to {STEPS}" in found(told)
    assert look(revisions) == [f"free/0: the revision went from {STEPS} to {STEPS - 1}"]


def look(revisions: Revisions) -> list[str]:
    return revisions.faults(close=False)


@pytest.mark.django_db(transaction=True)
def test_a_missing_trigger(told: Told) -> None:
    triggers.remove()
    try:
        assert "trigger-missing" in found(told)
    finally:
        triggers.install()
