"""The SQL of docs/scale-out.md partitions a database while it is written to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from django.apps import apps
from django.db import connections, migrations, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import ProjectState
from django.db.utils import DatabaseError, OperationalError, ProgrammingError

from tests import partitioning
from tests.builders import everything_stored, save_history, wrong_snapshots
from tests.long_histories import STEPS, grow
from tests.scratch import execute, query
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health import verify
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.pruning import prune

pytestmark = [pytest.mark.vendor("postgresql"), pytest.mark.usefixtures("changes")]

APP = "weavegraph_checkpoints"
COPIED = ["create", "lock", "copy", "compare"]
REST = ["copy", "compare", "copy again", "swap"]


@pytest.fixture
def filled(scratch: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A database with short and long sessions, a fork, labels and a session without steps."""
    checkpointer = DjangoCheckpointer("scratch")
    for number in range(30):
        save_history(checkpointer, f"short {number}", range(3))
    for step in STEPS:
        checkpointer.save(grow("long", step))
    checkpointer.fork_session("long", "fork", at_step=20)
    checkpointer.set_labels("long", {"customer": "4711"})
    Session.objects.using("scratch").create(id="empty")
    return scratch


def read_keyframes() -> list[tuple[object, ...]]:
    return list(Keyframe.objects.using("scratch").order_by("session_id", "id").values_list())


def read_columns(connection: BaseDatabaseWrapper) -> list[tuple[object, ...]]:
    """Return the columns of steps and keyframes: name, type, null, collation, compression."""
    return query(
        connection,
        "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,"
        " attidentity::text, attcollation, attcompression::text FROM pg_attribute"
        " WHERE attnum > 0 AND attrelid = ANY (%s::regclass[]) ORDER BY attrelid::regclass::text,"
        " attnum",
        [Step._meta.db_table, Keyframe._meta.db_table],
    )


def read_schema(connection: BaseDatabaseWrapper) -> list[tuple[object, ...]]:
    """Return the names of everything in the schema."""
    return query(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
        " UNION ALL SELECT conname FROM pg_constraint ORDER BY 1",
    )


def assert_sound(connection: BaseDatabaseWrapper) -> None:
    """Fail unless the tables are partitioned, and every trigger, snapshot and chain is right."""
    kinds = query(
        connection,
        "SELECT relkind::text FROM pg_class WHERE relname = ANY (%s)",
        [Step._meta.db_table, Keyframe._meta.db_table],
    )
    assert kinds == [("p",), ("p",)]
    assert wrong_snapshots("scratch") == []
    assert list(verify(using="scratch", deep=True)) == []


def test_everything_is_copied(filled: BaseDatabaseWrapper) -> None:
    before, keyframes = everything_stored("scratch"), read_keyframes()
    assert keyframes
    partitioning.partition(filled)
    assert (everything_stored("scratch"), read_keyframes()) == (before, keyframes)
    assert_sound(filled)
    left = query(
        filled,
        "SELECT proname FROM pg_proc WHERE proname LIKE 'weavegraph%%'"
        " AND proname <> 'weavegraph_checkpoints_step_snapshot'",
    )
    assert left == []


@contextmanager
def writers(number: int) -> Iterator[list[tuple[str, int]]]:
    """Save, replace, fork, prune and delete in threads; yield the steps that are kept."""
    stop = Event()
    kept: list[tuple[str, int]] = []
    errors: list[BaseException] = []

    def write(worker: int) -> None:
        checkpointer = DjangoCheckpointer("scratch")
        try:
            for turn in itertools.count(1):
                if stop.is_set():
                    return
                checkpointer.save(grow(f"kept {worker}", turn))
                kept.append((f"kept {worker}", turn))
                checkpointer.save(grow("short 1", 100 + turn))
                checkpointer.save(grow(f"gone {worker}", turn % 3))
                if turn % 3 == 0:
                    checkpointer.delete_session(f"gone {worker}")
                if turn % 5 == 0:
                    checkpointer.fork_session(f"kept {worker}", f"fork {worker} {turn}")
        except BaseException as error:
            errors.append(error)
        finally:
            connections["scratch"].close()

    threads = [Thread(target=write, args=(worker,)) for worker in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield kept
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


def wait_for_more(kept: list[tuple[str, int]]) -> None:
    """Wait until the writers have saved 20 more steps."""
    wanted = len(kept) + 20
    while len(kept) < wanted:
        time.sleep(0.01)


def test_nothing_is_lost_of_what_is_saved_meanwhile(filled: BaseDatabaseWrapper) -> None:
    with writers(4) as kept:
        for phase in partitioning.PHASES[:-1]:
            wait_for_more(kept)
            partitioning.run(filled, phase)
        wait_for_more(kept)
    stored = set(Step.objects.using("scratch").values_list("session", "step"))
    assert stored >= set(kept)
    assert_sound(filled)


def test_a_copy_that_was_interrupted_is_continued(filled: BaseDatabaseWrapper) -> None:
    before = everything_stored("scratch")
    partitioning.run(filled, "create", "lock")
    execute(filled, "SELECT weavegraph_copy(ARRAY['fork', 'long', 'short 3'])")
    partitioning.run(filled, "copy", "copy", "compare", "copy again", "swap")
    assert everything_stored("scratch") == before
    assert_sound(filled)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM weavegraph_step_new WHERE session_id = 'short 3' AND step = 1",
        "UPDATE weavegraph_step_new SET state = '{}' WHERE session_id = 'short 3' AND step = 1",
        "UPDATE weavegraph_keyframe_new SET state = '{}' WHERE session_id = 'long'",
        "INSERT INTO weavegraph_copied VALUES ('new')",
    ],
)
def test_a_copy_that_differs_is_not_taken(damage: str, filled: BaseDatabaseWrapper) -> None:
    partitioning.run(filled, "create", "lock", "copy")
    save_history(DjangoCheckpointer("scratch"), "new", [1])
    before = everything_stored("scratch")
    execute(filled, damage)
    with pytest.raises(DatabaseError, match="the copy is not complete"):
        partitioning.run(filled, "compare")
    with pytest.raises(ProgrammingError, match="weavegraph_compared"):
        partitioning.run(filled, "swap")
    assert everything_stored("scratch") == before


def test_a_write_that_does_not_see_the_copy_is_refused(filled: BaseDatabaseWrapper) -> None:
    partitioning.run(filled, "create", "lock")
    other = filled.copy("scratch")
    with other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT 1 FROM weavegraph_copied")
        partitioning.run(filled, "copy")
        with pytest.raises(OperationalError, match="could not serialize"):
            cursor.execute(
                "UPDATE weavegraph_checkpoints_step SET state_bytes = 7"
                " WHERE session_id = 'short 3' AND step = 1"
            )
    other.close()
    partitioning.run(filled, *REST)
    assert_sound(filled)


@pytest.mark.parametrize(("done", "phase"), [(["create"], "lock"), (COPIED, "swap")])
def test_a_long_transaction_in_the_way_changes_nothing(
    done: list[str], phase: str, filled: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitioning.run(filled, *done)
    monkeypatch.setattr(partitioning, "MAX_ATTEMPTS", 1)
    other = filled.copy("scratch")
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(
            "UPDATE weavegraph_checkpoints_step SET ran_nodes = '[\"x\"]' WHERE step = 1"
        )
        with pytest.raises(OperationalError, match="lock timeout"):
            partitioning.run(filled, phase)
        cursor.execute("COMMIT")
    other.close()
    partitioning.run(filled, phase, *(REST if phase == "lock" else []))
    first_steps = Step.objects.using("scratch").filter(step=1)
    assert all(step.ran_nodes == ["x"] for step in first_steps)
    assert_sound(filled)


@pytest.mark.parametrize("done", [["create"], ["create", "lock"], COPIED])
def test_giving_up_leaves_what_was(done: list[str], filled: BaseDatabaseWrapper) -> None:
    before, schema = everything_stored("scratch"), read_schema(filled)
    partitioning.run(filled, *done, "give up")
    assert (everything_stored("scratch"), read_schema(filled)) == (before, schema)
    partitioning.partition(filled)
    assert_sound(filled)


def test_the_ids_of_steps_go_on(filled: BaseDatabaseWrapper) -> None:
    last = max(Step.objects.using("scratch").values_list("pk", flat=True))
    partitioning.partition(filled)
    save_history(DjangoCheckpointer("scratch"), "new", [1])
    assert Step.objects.using("scratch").get(session="new").pk > last


def test_the_columns_are_the_same(filled: BaseDatabaseWrapper) -> None:
    before = read_columns(filled)
    partitioning.partition(filled)
    assert read_columns(filled) == before
    assert any(column[-1] == "l" for column in before)


def test_what_migrations_may_still_do(filled: BaseDatabaseWrapper) -> None:
    partitioning.partition(filled)
    index = models.Index(fields=["message_count"], name="later_index")
    operations = [
        migrations.AddField("step", "later", models.IntegerField(null=True)),
        migrations.AlterField("step", "later", models.BigIntegerField(default=7)),
        migrations.AddIndex("step", index),
        migrations.RemoveIndex("step", "later_index"),
        migrations.RemoveIndex("step", "weavegraph_step_created"),
        migrations.RemoveConstraint("keyframe", "weavegraph_keyframe_unique"),
        migrations.AddConstraint(
            "keyframe",
            models.UniqueConstraint(fields=["session", "root_id", "id"], name="later_unique"),
        ),
        migrations.RemoveField("step", "later"),
    ]
    state = ProjectState.from_apps(apps)
    for operation in operations:
        after = state.clone()
        operation.state_forwards(APP, after)
        with filled.schema_editor() as editor:
            operation.database_forwards(APP, editor, state, after)
        state = after
    assert_sound(filled)


def test_pruning_and_deleting(filled: BaseDatabaseWrapper) -> None:
    partitioning.partition(filled)
    result = prune(RetentionPolicy(keep_last=2), using="scratch")
    assert result.steps == 30 + (len(STEPS) - 2) + 18
    DjangoCheckpointer("scratch").delete_session("fork")
    assert_sound(filled)
