"""Keyframes and changes: a check finds each that is damaged, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from tests.health.damage import get_findings, get_problems, set_session, without_foreign_keys
from tests.health.test_writers import after_first
from tests.long_histories import (
    BAD_STEP,
    DAMAGES,
    STEPS,
    Damage,
    get_chain,
    save_long_history,
    set_columns,
)
from tests.scratch import execute
from tests.triggers.helpers import forget_updates, moved, revision
from weavegraph_checkpoints import health
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.pruning import prune

pytestmark = pytest.mark.usefixtures("changes")


def get_all_rows() -> list[Any]:
    """Return all steps and keyframes."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Step, Keyframe)]


def is_about(findings: list[health.Finding], damage: Damage) -> None:
    """Fail unless the bad step is reported once, with the right problem and path."""
    (finding,) = (each for each in findings if (each.session_id, each.step) == ("a", BAD_STEP))
    assert finding.problem == damage.problem
    if damage.problem == "undecodable":
        assert damage.message in finding.detail
        assert damage.path in finding.detail
    assert not finding.repaired


@pytest.mark.django_db
@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_each_damage_is_found_and_never_repaired(damage: Damage, repair: bool) -> None:
    save_long_history("a")
    damage.apply("a")
    before = get_all_rows()
    is_about(get_findings(deep=True, repair=repair), damage)
    quick = [f for f in get_findings(repair=repair) if f.step == BAD_STEP]
    assert [f.problem for f in quick] == ["broken-chain"] * (damage.problem == "broken-chain")
    assert get_all_rows() == before


@pytest.mark.django_db
def test_what_this_process_remembers_hides_nothing() -> None:
    save_long_history("a")
    DjangoCheckpointer().load("a", BAD_STEP)
    set_columns(Keyframe, get_chain("a", BAD_STEP)[0].pk, state="{}")
    assert ("a", BAD_STEP, "undecodable", False) in get_problems(deep=True)


@pytest.mark.django_db
def test_sizes_are_compared_with_those_of_whole_states() -> None:
    save_long_history("a")
    step = Step.objects.get(session="a", step=BAD_STEP)
    set_columns(Step, step.pk, state_bytes=step.state_bytes + 1, message_count=0)
    assert get_findings() == []
    (finding,) = get_findings(deep=True)
    assert finding.detail == (
        f"message_count is 0, not {BAD_STEP}, "
        f"state_bytes is {step.state_bytes + 1}, not {step.state_bytes}"
    )
    assert get_problems(deep=True, repair=True) == [("a", BAD_STEP, "wrong-counts", True)]
    step.refresh_from_db()
    assert (step.message_count, get_findings(deep=True)) == (BAD_STEP, [])


@pytest.mark.django_db
def test_missing_counts_are_those_of_whole_states() -> None:
    save_long_history("a")
    steps = Step.objects.order_by("step")
    before = list(steps.values_list("state_bytes", "message_count", "error_count"))
    Step.objects.update(state_bytes=None, message_count=None, error_count=None)
    memory.clear()
    assert len(get_findings(repair=True)) == len(STEPS)
    assert list(steps.values_list("state_bytes", "message_count", "error_count")) == before


@pytest.mark.django_db
def test_the_keyframe_of_a_snapshot_is_compared_and_repaired() -> None:
    save_long_history("a")
    base = Session.objects.get(pk="a").last_base_id
    set_session("a", last_base_id=None)
    forget_updates()
    revised = revision("a")
    (finding,) = get_findings()
    assert finding.detail == "last_base_id not as in the newest step"
    assert get_problems(repair=True) == [("a", STEPS[-1], "snapshot", True)]
    assert Session.objects.get(pk="a").last_base_id == base
    assert (revision("a"), moved("a")) == (revised + 1, False)
    assert get_findings(deep=True) == []


@pytest.mark.usefixtures("committed")
class TestMissingRows:
    def test_a_base(self) -> None:
        save_long_history("a")
        step = Step.objects.get(session="a", step=BAD_STEP)
        with without_foreign_keys():
            set_columns(Step, step.pk, base_id=7)
            findings = get_findings(), get_findings(deep=True)
            set_columns(Step, step.pk, base_id=step.base_id)
        for (finding,) in findings:
            assert (finding.step, finding.problem) == (BAD_STEP, "broken-chain")
            assert finding.detail == "keyframe 7 is missing"
        assert get_findings(deep=True) == []

    def test_a_keyframe_in_the_middle_of_a_chain(self) -> None:
        save_long_history("a")
        base, middle, *_ = get_chain("a", BAD_STEP)
        with without_foreign_keys():
            set_columns(Keyframe, middle.pk, id=7)
            findings = get_findings(deep=True)
            set_columns(Keyframe, 7, id=middle.pk)
        assert {finding.problem for finding in findings} == {"broken-chain"}
        details = {finding.step: finding.detail for finding in findings}
        assert details[BAD_STEP] == f"the chain of keyframes is broken at {base.pk}"
        assert 1 not in details
        assert get_findings(deep=True) == []

    def test_the_session_of_a_keyframe(self) -> None:
        save_long_history("a", range(1, 4))
        key = Keyframe.objects.order_by("pk").values_list("pk", flat=True)[0]
        with without_foreign_keys():
            set_columns(Keyframe, key, session_id="gone")
            findings = get_findings()
            set_columns(Keyframe, key, session_id="a")
        assert ("gone", None, "orphan") in {(f.session_id, f.step, f.problem) for f in findings}
        assert get_findings(deep=True) == []


@pytest.mark.django_db
@pytest.mark.parametrize("read", ["get_headers", "_get_raw_steps"])
@pytest.mark.parametrize("deep", [False, True])
def test_what_others_prune_or_replace_meanwhile_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, read: str, deep: bool
) -> None:
    history = save_long_history("a")

    def change() -> None:
        memory.clear()
        DjangoCheckpointer().save(history[BAD_STEP - 1])
        prune(RetentionPolicy(keep_last=8))

    after_first(monkeypatch, read, change)
    assert get_findings(deep=deep) == []
    assert Step.objects.count() == (len(STEPS) if read == "_get_raw_steps" and not deep else 8)


@pytest.mark.django_db
def test_batches_are_bounded_by_whole_states(monkeypatch: pytest.MonkeyPatch) -> None:
    save_long_history("a")
    monkeypatch.setattr(health, "MAX_DECODE_BATCH_BYTES", 10_000)
    reads: list[int] = []
    real = health.HealthStatements._get_raw_steps

    def measure(self: Any, condition: str, parameters: Any) -> Any:
        rows = real(self, condition, parameters)
        reads.append(sum(row.counts[2] or 0 for row in rows))
        return rows

    monkeypatch.setattr(health.HealthStatements, "_get_raw_steps", measure)
    assert get_findings(deep=True) == []
    assert len(reads) > 3
    assert max(reads) <= 10_000
    reads.clear()
    execute(connection, f"UPDATE {Step._meta.db_table} SET state_bytes = NULL")
    assert len(get_findings(deep=True)) == len(STEPS)
    assert len(reads) == len(STEPS)
