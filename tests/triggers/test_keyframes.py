"""The trigger copies the keyframe of the newest step, and no delete takes a needed keyframe."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import execute, query
from tests.triggers.helpers import (
    KEYFRAME,
    SESSION,
    STEP,
    assert_snapshots_right,
    content,
    create_session,
)
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.models import Keyframe, Session, Step

ROOT, SECOND, THIRD = 2**62 + 300, 2**62 + 200, 2**62 + 100


def create_chain(session_id: str = "a", using: str = "default", shift: int = 0) -> None:
    """Create a session with three keyframes, from the root to the newest."""
    create_session(session_id, using)
    previous = None
    for key in (ROOT, SECOND, THIRD):
        Keyframe.objects.using(using).create(
            id=key + shift,
            session_id=session_id,
            root_id=ROOT + shift,
            previous_id=previous,
            state={},
        )
        previous = key + shift


def build_step(session_id: str, step: int, base: int | None) -> Step:
    return Step(session_id=session_id, step=step, **{**content(step), "base_id": base})


def last_base(session_id: str = "a") -> int | None:
    return Session.objects.values_list("last_base_id", flat=True).get(pk=session_id)


@pytest.mark.django_db
class TestSnapshot:
    def test_insert_and_update_and_delete(self) -> None:
        create_chain()
        build_step("a", 5, ROOT).save()
        assert last_base() == ROOT
        build_step("a", 3, SECOND).save()
        assert last_base() == ROOT
        build_step("a", 6, THIRD).save()
        assert last_base() == THIRD
        Step.objects.filter(step=6).update(base=SECOND)
        assert last_base() == SECOND
        Step.objects.filter(step=3).update(base=None)
        assert last_base() == SECOND
        Step.objects.filter(step=6).delete()
        assert last_base() == ROOT
        build_step("a", 7, None).save()
        assert last_base() is None
        assert_snapshots_right()
        Step.objects.all().delete()
        assert last_base() is None

    def test_several_steps_in_one_statement(self) -> None:
        create_chain()
        create_chain("b", shift=1000)
        Step.objects.bulk_create(
            [
                build_step("a", 1, ROOT),
                build_step("a", 4, SECOND),
                build_step("b", 2, THIRD + 1000),
                build_step("a", 2, THIRD),
                build_step("b", 3, None),
            ]
        )
        assert (last_base("a"), last_base("b")) == (SECOND, None)
        Step.objects.all().update(base=ROOT)
        assert (last_base("a"), last_base("b")) == (ROOT, ROOT)
        Step.objects.filter(step__gt=2).delete()
        assert_snapshots_right()

    def test_moves(self) -> None:
        create_chain()
        create_chain("b", shift=1000)
        Step.objects.bulk_create([build_step("a", 1, ROOT), build_step("a", 4, SECOND)])
        Step.objects.filter(step=1).update(step=9)
        assert last_base() == ROOT
        Step.objects.filter(step=9).update(session="b")
        assert (last_base("a"), last_base("b")) == (SECOND, ROOT)
        assert_snapshots_right()


@pytest.mark.usefixtures("committed")
class TestDeletes:
    """Keyframes that a step needs cannot be deleted, by the ORM or by SQL; others can."""

    def refuse(self, condition: str) -> None:
        before = Keyframe.objects.count()
        with pytest.raises(IntegrityError), transaction.atomic():
            execute(connection, f"DELETE FROM {KEYFRAME} WHERE {condition}")
        assert Keyframe.objects.count() == before

    def test_needed_ones(self) -> None:
        create_chain()
        build_step("a", 1, SECOND).save()
        for condition in ("TRUE", f"id = {ROOT}", f"id = {SECOND}", f"id >= {SECOND}"):
            self.refuse(condition)
        with pytest.raises(IntegrityError), transaction.atomic():
            Keyframe.objects.all().delete()
        execute(connection, f"DELETE FROM {KEYFRAME} WHERE id = {THIRD}")
        Step.objects.all().delete()
        self.refuse(f"id = {ROOT}")
        execute(connection, f"DELETE FROM {KEYFRAME}")

    @pytest.mark.parametrize(
        "condition",
        [
            "TRUE",
            "session_id = 'a'",
            f"session_id = 'a' AND root_id = {ROOT}",
            f"id IN ({ROOT}, {SECOND}, {THIRD})",
        ],
    )
    def test_a_chain_that_no_step_needs(self, condition: str) -> None:
        create_chain()
        build_step("a", 1, SECOND).save()
        Step.objects.all().delete()
        execute(connection, f"DELETE FROM {KEYFRAME} WHERE {condition}")
        assert not Keyframe.objects.exists()

    def test_a_session_by_the_orm(self) -> None:
        create_chain()
        create_chain("b", shift=1000)
        build_step("a", 1, SECOND).save()
        build_step("b", 1, SECOND + 1000).save()
        Session.objects.get(pk="a").delete()
        assert set(Keyframe.objects.values_list("session", flat=True)) == {"b"}
        Session.objects.all().delete()
        assert not Keyframe.objects.exists()

    def test_flush(self) -> None:
        create_chain()
        build_step("a", 1, SECOND).save()
        call_command("flush", interactive=False, verbosity=0)
        assert not Keyframe.objects.exists()


@pytest.mark.vendor("sqlite")
class TestWithoutForeignKeys:
    """The shell of SQLite does not enforce foreign keys; a trigger does it instead."""

    def connect(self, scratch: BaseDatabaseWrapper) -> sqlite3.Connection:
        return sqlite3.connect(scratch.settings_dict["NAME"], isolation_level=None)

    def test_needed_keyframes(self, scratch: BaseDatabaseWrapper) -> None:
        create_chain(using="scratch")
        Step.objects.using("scratch").bulk_create([build_step("a", 1, SECOND)])
        with closing(self.connect(scratch)) as shell:
            for condition in ("TRUE", f"id = {ROOT}", f"id = {SECOND}"):
                with pytest.raises(sqlite3.IntegrityError, match="stored as changes"):
                    shell.execute(f"DELETE FROM {KEYFRAME} WHERE {condition}")
            assert shell.execute(f"SELECT COUNT(*) FROM {KEYFRAME}").fetchone() == (3,)
            shell.execute(f"DELETE FROM {KEYFRAME} WHERE id = {THIRD}")
            shell.execute(f"DELETE FROM {STEP}")
            shell.execute(f"DELETE FROM {KEYFRAME}")
            shell.execute(f"DELETE FROM {SESSION}")

    def test_the_trigger_is_inspected(self, scratch: BaseDatabaseWrapper) -> None:
        name = f"{KEYFRAME}_guard"
        execute(scratch, f"DROP TRIGGER {name}")
        assert triggers.problems(scratch) == [triggers.Problem(trigger=name, kind="missing")]
        triggers.install("scratch")
        assert triggers.problems(scratch) == []
        assert query(scratch, "SELECT tbl_name FROM sqlite_master WHERE name = %s", name) == [
            (KEYFRAME,)
        ]


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("options", [[], ["--natural-foreign", "--natural-primary"]])
def test_dumpdata_and_loaddata(tmp_path: object, options: list[str]) -> None:
    create_chain()
    Step.objects.bulk_create([build_step("a", 1, ROOT), build_step("a", 2, THIRD)])
    Session.objects.update(revision=77)
    before = read_rows("default")
    path = f"{tmp_path}/dump.jsonl"
    call_command("dumpdata", "weavegraph_checkpoints", *options, format="jsonl", output=path)
    call_command("loaddata", path, database="other", verbosity=0)
    assert read_rows("other") == before
    assert_snapshots_right("other")
    with connections["other"].constraint_checks_disabled():
        connections["other"].check_constraints()


def read_rows(using: str) -> list[object]:
    return [
        list(Keyframe.objects.using(using).order_by("id").values()),
        list(Step.objects.using(using).order_by("step").values("session", "step", "base", "state")),
        list(Session.objects.using(using).values()),
    ]
