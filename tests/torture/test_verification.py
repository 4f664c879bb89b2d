"""``find_faults`` reports each kind of fault."""

from __future__ import annotations

from functools import partial

import pytest

from tests.torture.content import build_checkpoint
from tests.torture.journal import REFUSED, REPLACE_LABELS, UNKNOWN
from tests.torture.labels import LABELLED, build_labels
from tests.torture.recorder import CallRecorder
from tests.torture.verification import RevisionMonitor, count_deltas, find_faults
from tests.torture.writer import KEEP_LAST
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Session, Step

STEPS = 4

pytestmark = pytest.mark.django_db


@pytest.fixture
def recorder() -> CallRecorder:
    """A recorder of a history without faults."""
    recorder = CallRecorder()
    for name in ("chain/0", "free/0"):
        for step in range(1, STEPS + 1):
            recorder.save(name, step, f"{name}.{step}")
    recorder.save("short/0", 1, "gone")
    recorder.delete("short/0")
    recorder.fork("free/0", "fork/0/1")
    assert find_faults(recorder.journal, "default") == []
    return recorder


def found(recorder: CallRecorder) -> str:
    return "\n".join(find_faults(recorder.journal, "default"))


def test_a_lost_save(recorder: CallRecorder) -> None:
    Step.objects.filter(session_id="free/0", step=STEPS).delete()
    assert f"free/0 step {STEPS}: an acknowledged save is lost" in found(recorder)


@pytest.mark.parametrize(("newer", "is_lost"), [(KEEP_LAST, False), (KEEP_LAST - 1, True)])
def test_a_pruned_step(recorder: CallRecorder, newer: int, is_lost: bool) -> None:
    for step in range(newer + 1):
        recorder.save("pruned/0", step, f"pruned.{step}")
    recorder.call(lambda: 1, "prune", "pruned/0")
    Step.objects.filter(session_id="pruned/0", step=0).delete()
    assert ("pruned/0 step 0: an acknowledged save is lost" in found(recorder)) is is_lost


def test_a_gap(recorder: CallRecorder) -> None:
    Step.objects.filter(session_id="chain/0", step=2).delete()
    assert f"chain/0: there are gaps between its {STEPS - 1} steps" in found(recorder)


def test_a_session_that_came_back(recorder: CallRecorder) -> None:
    DjangoCheckpointer().save(build_checkpoint("short/0", 1, "gone"))
    assert "short/0 step 1: holds gone, and a later acknowledged call is lost" in found(recorder)


def test_an_overwritten_save_that_came_back(recorder: CallRecorder) -> None:
    recorder.save("free/0", 1, "newer")
    DjangoCheckpointer().save(build_checkpoint("free/0", 1, "free/0.1"))
    assert "free/0 step 1: holds free/0.1, and a later" in found(recorder)


def test_a_save_that_was_refused(recorder: CallRecorder) -> None:
    recorder.save("free/0", 9, "refused").outcome = REFUSED
    assert "free/0 step 9: holds refused, which nobody saved there" in found(recorder)


def test_a_save_of_another_step(recorder: CallRecorder) -> None:
    Step.objects.filter(session_id="free/0", step=STEPS).update(step=90)
    assert "free/0 step 90: holds free/0.4, which nobody saved there" in found(recorder)


def test_a_torn_checkpoint(recorder: CallRecorder) -> None:
    Step.objects.filter(session_id="free/0", step=2).update(updated_channels=[])
    assert "free/0 step 2: what is stored is not what free/0.2 saved" in found(recorder)


def test_a_damaged_keyframe(recorder: CallRecorder) -> None:
    for step in range(STEPS + 1, 30):
        recorder.save("free/0", step, f"free/0.{step}")
    assert found(recorder) == ""
    assert count_deltas("default") > 0
    Keyframe.objects.filter(session="free/0").update(state={})
    assert "free/0: session 'free/0', step 29: keyframe " in found(recorder)


def test_a_torn_snapshot(recorder: CallRecorder) -> None:
    Session.objects.filter(id="free/0").update(last_step=STEPS - 1)
    assert "torn snapshot of free/0" in found(recorder)


def test_a_session_without_a_step(recorder: CallRecorder) -> None:
    Session.objects.create(id="short/1")
    assert "short/1: created without a step" in found(recorder)


def test_two_winners(recorder: CallRecorder) -> None:
    recorder.save("chain/0", STEPS, "second")
    assert f"chain/0 step {STEPS}: won by ['chain/0.{STEPS}', 'second']" in found(recorder)


def test_a_lost_fork(recorder: CallRecorder) -> None:
    DjangoCheckpointer().delete_session("fork/0/1")
    assert "fork/0/1: an acknowledged fork is lost" in found(recorder)


def test_only_a_writer_of_a_stale_node_may_miss_steps_in_a_fork(recorder: CallRecorder) -> None:
    Step.objects.filter(session_id="fork/0/1", step=1).delete()
    assert "fork/0/1 step 1: was not copied" in found(recorder)
    stale = find_faults(recorder.journal, "default", stale_slots=[0])
    assert not any("was not copied" in fault for fault in stale)


def test_half_a_fork(recorder: CallRecorder) -> None:
    recorder.journal.forks["fork/0/1"].outcome = UNKNOWN
    Step.objects.filter(session_id="fork/0/1", step__gt=2).delete()
    assert "fork/0/1: the fork is half written" in found(recorder)
    assert "fork/0/1 step 3: was not copied" in found(recorder)


@pytest.fixture
def labelled(recorder: CallRecorder) -> CallRecorder:
    """A recorder of calls that merged labels, and of calls that replaced them."""
    recorder.save("free/1", 1, "free/1.1")
    for kind, session_id in LABELLED.items():
        for token in ("first", "second"):
            set_labels(recorder, kind, session_id, token)
    assert find_faults(recorder.journal, "default") == []
    return recorder


def set_labels(recorder: CallRecorder, kind: str, session_id: str, token: str) -> None:
    labels = build_labels(0, token)
    call = partial(recorder.checkpointer.set_labels, session_id, labels)
    recorder.call(partial(call, replace=kind == REPLACE_LABELS), kind, session_id, token=token)


@pytest.mark.parametrize("session_id", LABELLED.values())
def test_lost_labels(labelled: CallRecorder, session_id: str) -> None:
    for labels in (build_labels(0, "first"), {}):
        labelled.checkpointer.set_labels(session_id, labels, replace=True)
        assert f"{session_id}: has the labels" in found(labelled)
        assert "and those of a later call are lost" in found(labelled)


@pytest.mark.parametrize("session_id", LABELLED.values())
def test_labels_that_nobody_set(labelled: CallRecorder, session_id: str) -> None:
    labelled.checkpointer.set_labels(session_id, build_labels(0, "unknown"))
    assert f"{session_id}: nobody set the labels" in found(labelled)


def test_mixed_labels(labelled: CallRecorder) -> None:
    labelled.checkpointer.set_labels("free/1", {"slot-1": "first"})
    assert "free/1: no call set exactly the labels" in found(labelled)


def test_a_fork_with_labels_that_nobody_set(labelled: CallRecorder) -> None:
    labelled.fork("free/1", "fork/0/2")
    assert found(labelled) == ""
    labelled.checkpointer.set_labels("fork/0/2", {"slot-1": "first"})
    assert "fork/0/2: no call set exactly the labels" in found(labelled)


def test_a_save_that_did_not_count(recorder: CallRecorder) -> None:
    revisions = RevisionMonitor("default")
    assert check(revisions) == []
    Session.objects.filter(id="free/0").update(revision=STEPS - 1)
    assert f"free/0: revision {STEPS - 1}, not {STEPS} to {STEPS}" in found(recorder)
    assert check(revisions) == [f"free/0: the revision went from {STEPS} to {STEPS - 1}"]


def check(revisions: RevisionMonitor) -> list[str]:
    return revisions.find_faults(close=False)


@pytest.mark.django_db(transaction=True)
def test_a_missing_trigger(recorder: CallRecorder) -> None:
    triggers.remove()
    try:
        assert "trigger-missing" in found(recorder)
    finally:
        triggers.install()
