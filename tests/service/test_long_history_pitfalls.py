"""Mistakes that would store or read a wrong state, each with the test that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction

from tests.scratch import execute
from tests.service.long_histories import (
    assert_reads,
    build_state,
    chain_of,
    last_base,
    save,
    save_steps,
)
from tests.service.racing import alias_like
from tests.service.statements import captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import SerializationError, StepQuery, serde
from weavegraph_checkpoints.backends import Backend
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.serde.deltas import planning

SESSION, STEP, KEYFRAME = (model._meta.db_table for model in (Session, Step, Keyframe))


@pytest.fixture(autouse=True)
def tiny_links(committed: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store each state as changes, with a link every three steps."""
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 600)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": 0}
    memory.clear()


def test_a_link_that_was_rolled_back_is_no_prefix_of_its_replacement() -> None:
    """Another link may hang on the same keyframe."""
    save_steps(20)
    before = last_base()
    with transaction.atomic():
        for step in range(21, 30):
            save(step, text="y", kept=20)
        assert last_base() != before
        roots = Keyframe.objects.filter(pk__in=[before, last_base()]).values("root_id")
        assert roots.distinct().count() == 1
        transaction.set_rollback(True)
    known = memory.get("default", "s")
    memory.clear()
    for step in range(21, 30):
        save(step)
    memory.add("default", "s", known.bases.values())
    assert_reads(29)
    memory.set_newest("default", "s", known.newest, known.chain_state)
    save(30)
    assert_reads(30)


def test_a_new_root_follows_a_keyframe_that_another_one_follows() -> None:
    save_steps(12)
    with transaction.atomic():
        step = 12
        newest = last_base()
        while last_base() == newest:
            step += 1
            save(step)
    taken = Keyframe.objects.get(pk=last_base())
    Step.objects.filter(base=taken).delete()
    assert last_base() == taken.previous_id
    save(step, messages=step + 3)
    assert Keyframe.objects.filter(previous=taken.previous_id).get() == taken
    base = Keyframe.objects.get(pk=last_base())
    assert base.id == base.root_id != taken.root_id
    assert_reads(step, messages=step + 3)


def test_what_is_remembered_is_what_another_process_reads() -> None:
    text = 'é😀"\\\n\u2028'
    for step in range(1, 30):
        save(step, text=text)
    newest = memory.get("default", "s").newest
    assert newest is not None
    memory.clear()
    DjangoCheckpointer().load_latest("s")
    read = memory.get("default", "s").newest
    assert read is not newest
    assert read is not None
    assert (read.id, read.root_id, read.links) == (newest.id, newest.root_id, newest.links)
    assert read.folded.messages == newest.folded.messages
    assert list(read.folded.extra.items()) == list(newest.folded.extra.items())
    assert read.folded.errors == newest.folded.errors
    assert read.folded.state_bytes == newest.folded.state_bytes


def test_a_fork_copies_the_links_of_large_keyframes() -> None:
    """MariaDB does not keep the order of an INSERT … SELECT of long texts."""
    for step in range(1, 8):
        save(step, messages=step * 300)
    for step in range(8, 60):
        save(step, messages=2100 + step)
    DjangoCheckpointer().fork_session("s", "fork")
    copies = chain_of("fork")
    by_id = {row.id: row for row in copies}
    origins = {row.id: row for row in chain_of()}
    shift = last_base("fork") - last_base()  # type: ignore[operator]
    assert len(copies) >= 12
    for row in copies:
        origin = origins[row.id - shift]
        assert (row.root_id, row.state) == (origin.root_id + shift, origin.state)
        previous = origin.previous_id
        assert row.previous_id == (None if previous is None else previous + shift)
        assert row.previous_id is None or row.previous_id in by_id
    DjangoCheckpointer().delete_session("s")
    assert_reads(59, "fork", messages=2159)


def test_a_row_and_its_chain_are_read_by_separate_statements() -> None:
    save_steps(20)
    for read in (
        lambda: DjangoCheckpointer().load_latest("s"),
        lambda: DjangoCheckpointer().load("s", 20),
    ):
        memory.clear()
        with captured() as found:
            read()
        assert len(found) == 2
        assert [KEYFRAME in sql for sql in found.statements] == [False, True]


def test_one_statement_reads_a_chain_whatever_else_is_remembered() -> None:
    """A remembered keyframe of another chain may have any id."""
    for attempt in range(12):
        session_id = f"s{attempt}"
        save_steps(9, session_id)
        known = memory.get("default", session_id)
        memory.clear()
        save(10, session_id, text="z")
        assert last_base(session_id) not in known.bases
        save(11, session_id, text="z")
        memory.clear()
        memory.add("default", session_id, known.bases.values())
        with captured() as found:
            DjangoCheckpointer().load_latest(session_id)
        assert len(found) == 2
        assert_reads(11, session_id, text="z")


def test_a_page_ends_by_the_bytes_of_whole_states() -> None:
    save_steps(40)
    sizes = dict(Step.objects.values_list("step", "state_bytes"))
    stored = sum(len(serde.dumps_json(row.state)) for row in Step.objects.all())
    page = DjangoCheckpointer().query_steps("s", StepQuery(limit=40), max_bytes=stored)
    found = [checkpoint.step for checkpoint in page.checkpoints]
    assert sum(sizes.values()) > 3 * stored
    assert sum(sizes[step] for step in found) <= stored
    assert sum(sizes[step] for step in [*found, min(found) - 1]) > stored


READS: dict[str, Callable[[DjangoCheckpointer], Any]] = {
    "load_latest": lambda checkpointer: checkpointer.load_latest("s"),
    "load": lambda checkpointer: checkpointer.load("s", 3),
    "query_steps": lambda checkpointer: checkpointer.query_steps("s"),
}


@pytest.mark.parametrize("name", READS)
def test_what_others_delete_between_two_statements_is_read_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_steps(20)
    read_keyframes = Backend.read_keyframes
    calls = 0

    def replace_first(backend: Backend, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            DjangoCheckpointer().delete_session("s")
            save_steps(4)
        return read_keyframes(backend, *args)

    memory.clear()
    monkeypatch.setattr(Backend, "read_keyframes", replace_first)
    found = READS[name](DjangoCheckpointer())
    assert calls >= 1
    if name == "query_steps":
        states = {each.step: each.state for each in found.checkpoints}
        assert states == {step: build_state(step) for step in range(1, 5)}
    else:
        step = 4 if name == "load_latest" else 3
        assert found.state == build_state(step)


@pytest.mark.parametrize("with_base", [True, False])
def test_a_state_that_was_copied_without_its_keyframe_is_refused(with_base: bool) -> None:
    save_steps(10)
    row = Step.objects.get(step=10)
    Session.objects.create(id="other")
    base_id = row.base_id if with_base else None
    copy = Step(pk=None, session_id="other", step=5, base_id=base_id, state=row.state, frontier=[])
    copy.save()
    for read in (
        lambda: DjangoCheckpointer().load("other", 5),
        lambda: DjangoCheckpointer().load_latest("other"),
        lambda: DjangoCheckpointer().query_steps("other"),
        copy.whole_state,
    ):
        with pytest.raises(SerializationError, match=r"session 'other', step 5: .*\$\.state"):
            read()
    with pytest.raises(SerializationError):
        serde.loads_state(serde.dumps_json(row.state))


def test_large_columns_are_the_last_of_their_tables() -> None:
    """SQLite walks a large column to reach those behind it."""
    with connection.cursor() as cursor:
        for table, column in ((STEP, "state"), (SESSION, "last_state"), (KEYFRAME, "state")):
            description = connection.introspection.get_table_description(cursor, table)
            assert description[-1].name == column


def test_raw_sql_deletes_keyframes_between_steps_and_sessions() -> None:
    save_steps(10)
    with pytest.raises(IntegrityError), transaction.atomic():
        execute(connection, f"DELETE FROM {STEP} WHERE session_id = 's'")
        execute(connection, f"DELETE FROM {SESSION} WHERE id = 's'")
    assert_reads(10)
    with transaction.atomic():
        for table, column in ((STEP, "session_id"), (KEYFRAME, "session_id"), (SESSION, "id")):
            execute(connection, f"DELETE FROM {table} WHERE {column} = 's'")
    assert not Keyframe.objects.exists()


@pytest.mark.parametrize("step", [0, 1])
def test_a_session_that_is_created_again_begins_a_chain(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learnt of the deleted one does not count."""
    checkpointer = DjangoCheckpointer()
    for number in range(1, 6):
        save(number, text=chr(ord("a") + number), messages=10)
    assert memory.get("default", "s").chain_state.pause_left > 0
    checkpointer.delete_session("s")
    save(step, messages=10)
    assert Step.objects.get().base_id is not None
    assert_reads(step, messages=10)


def test_both_aliases_of_a_database_and_another_database() -> None:
    with alias_like("default", "second") as second:
        for step in range(1, 21):
            save(step, using=("default", second)[step // 2 % 2])
        save_other = a_checkpoint("s", 1, state=build_state(1, text="other"))
        DjangoCheckpointer("other").save(save_other)
        for alias in ("default", second):
            assert DjangoCheckpointer(alias).load_latest("s").state == build_state(20)  # type: ignore[union-attr]
        assert Step.objects.filter(base=None).count() == 0
    other = connections["other"].alias
    assert DjangoCheckpointer(other).load_latest("s").state == build_state(1, text="other")  # type: ignore[union-attr]
