"""How the states of a long history are stored and read: statements, sizes and damaged rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from tests.scratch import execute
from tests.service.statements import captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    Message,
    SerializationError,
    StepExists,
    StepQuery,
    VersionedState,
    serde,
)
from weavegraph_checkpoints.backends.chains import ChainMemory, memory
from weavegraph_checkpoints.backends.keyframes import generate_shift
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde.deltas.planning import MAX_MEMBERS

STEPS = 60


def build_state(step: int) -> VersionedState:
    messages = [Message.user(f"message {number} " + "x" * 500) for number in range(step)]
    return VersionedState.new(messages=messages, extra={"step": step})


def save(checkpointer: DjangoCheckpointer, step: int, **options: Any) -> None:
    checkpointer.save(a_checkpoint("s", step, state=build_state(step)), **options)


@pytest.fixture
def long(committed: None, settings: Any) -> DjangoCheckpointer:
    """A checkpointer with a session of ``STEPS`` steps."""
    settings.WEAVEGRAPH_CHECKPOINTS = {}
    memory.clear()
    checkpointer = DjangoCheckpointer()
    for step in range(1, STEPS + 1):
        save(checkpointer, step)
    return checkpointer


def test_what_is_stored(long: DjangoCheckpointer) -> None:
    assert Step.objects.filter(base=None).count() < 10
    rows = Keyframe.objects.order_by("-id")
    chains: dict[int, list[Keyframe]] = {}
    for row in rows:
        chains.setdefault(row.root_id, []).append(row)
    for root_id, chain in chains.items():
        assert chain[0].id == root_id
        assert [row.previous_id for row in chain] == [None, *[row.id for row in chain[:-1]]]
    assert 3 < len(rows) < STEPS / 4
    session = Session.objects.get()
    newest = Step.objects.get(step=STEPS)
    assert session.last_base_id == newest.base_id is not None
    whole = serde.dumps_state(build_state(STEPS))
    assert session.last_state_bytes == newest.state_bytes == len(whole)
    assert serde.dumps_json(newest.whole_state()).encode() == whole
    stored = sum(len(serde.dumps_json(row.state)) for row in [*rows, *Step.objects.all()])
    assert stored < sum(serde_bytes(step) for step in range(1, STEPS + 1)) / 4


def serde_bytes(step: int) -> int:
    return len(serde.dumps_state(build_state(step)))


def test_small_states_and_the_mode_off_store_whole_states(long: Any, settings: Any) -> None:
    long.save(a_checkpoint("small", 1))
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": None}
    save(long, STEPS + 1)
    for session_id, step in (("small", 1), ("s", STEPS + 1)):
        row = Step.objects.get(session=session_id, step=step)
        assert row.base_id is None
        assert row.whole_state() == row.state
    settings.WEAVEGRAPH_CHECKPOINTS = {}
    save(long, STEPS + 2)
    assert Step.objects.get(step=STEPS + 2).base_id is not None
    for step in (STEPS, STEPS + 1, STEPS + 2):
        assert long.load("s", step).state == build_state(step)


def test_a_state_of_very_many_values_is_stored_whole(long: DjangoCheckpointer) -> None:
    wide = VersionedState.new(extra={f"key {number}": number for number in range(MAX_MEMBERS + 1)})
    long.save(a_checkpoint("s", STEPS + 1, state=wide))
    assert Step.objects.get(step=STEPS + 1).base_id is None
    assert long.load("s", STEPS + 1).state == wide
    save(long, STEPS + 2)
    assert Step.objects.get(step=STEPS + 2).base_id is not None
    assert long.load("s", STEPS + 2).state == build_state(STEPS + 2)


class TestStatements:
    def test_of_a_save(self, long: DjangoCheckpointer) -> None:
        counts = []
        keyframes = Keyframe.objects.count()
        for step in range(STEPS + 1, STEPS + 25):
            with captured() as found:
                save(long, step)
            counts.append(len(found))
        usual = {"mysql": 2}.get(connection.vendor, 1)
        links = Keyframe.objects.count() - keyframes
        assert counts.count(usual) == len(counts) - links
        assert 1 <= links <= 4
        assert max(counts) == {"mysql": 3, "postgresql": 3, "sqlite": 4}[connection.vendor]

    def test_of_a_save_that_does_not_know_the_chain(self, long: DjangoCheckpointer) -> None:
        memory.clear()
        with captured() as found:
            save(long, STEPS + 1)
        assert len(found) <= {"mysql": 4, "postgresql": 4, "sqlite": 5}[connection.vendor]
        assert Step.objects.get(step=STEPS + 1).base_id is not None
        with pytest.raises(StepExists):
            save(long, STEPS + 1, replace=False)

    def test_of_reads(self, long: DjangoCheckpointer) -> None:
        reads = {
            1: lambda: long.load_latest("s"),
            2: lambda: long.query_steps("s", StepQuery(limit=25)),
        }
        for count, read in reads.items():
            memory.clear()
            with captured() as cold:
                read()
            with captured() as warm:
                read()
            assert (len(cold), len(warm)) == (count + 1, count)

    def test_of_a_page_of_light_steps(self, long: DjangoCheckpointer) -> None:
        memory.clear()
        with captured() as found:
            long.query_steps("s", fields=["step"])
        assert len(found) == 2


def test_rolled_back_keyframes_are_not_used(long: DjangoCheckpointer) -> None:
    with transaction.atomic():
        for step in range(STEPS + 1, STEPS + 30):
            save(long, step)
        transaction.set_rollback(True)
    save(long, STEPS + 1)
    memory.clear()
    found = long.load("s", STEPS + 1)
    assert found is not None
    assert found.state == build_state(STEPS + 1)


def test_pruning_deletes_the_keyframes_that_no_step_needs(long: DjangoCheckpointer) -> None:
    Step.objects.filter(step__gt=STEPS - 20).delete()
    prune(RetentionPolicy(keep_last=1))
    (step,) = Step.objects.all()
    needed = Keyframe.objects.filter(root_id=step.base.root_id, id__gte=step.base_id)
    assert set(Keyframe.objects.all()) == set(needed)
    assert step.whole_state() == serde.loads_json(serde.dumps_state(build_state(STEPS - 20)))
    assert long.delete_session("s")
    assert not Keyframe.objects.exists()


class TestDamage:
    """A row that cannot be put together names its session, its step and the path."""

    def read_all(self, checkpointer: DjangoCheckpointer) -> None:
        step = Step.objects.get(step=STEPS)
        memory.clear()
        for read in (
            lambda: checkpointer.load_latest("s"),
            lambda: checkpointer.load("s", STEPS),
            lambda: checkpointer.query_steps("s"),
            step.whole_state,
        ):
            with pytest.raises(SerializationError) as raised:
                read()
            assert str(raised.value).count("'s'") == 1
            assert f"step {STEPS}:" in str(raised.value)
            assert raised.value.path.startswith("$.state")

    def test_a_base_that_is_missing(self, long: DjangoCheckpointer) -> None:
        Step.objects.filter(step=STEPS).update(base=None)
        self.read_all(long)

    def test_a_base_of_another_session(self, long: DjangoCheckpointer) -> None:
        long.fork_session("s", "fork")
        other = Keyframe.objects.filter(session="fork").order_by("id")[0]
        Step.objects.filter(session="s", step=STEPS).update(base=other)
        with pytest.raises(SerializationError, match=f"session 's', step {STEPS}: .*keyframe"):
            long.load("s", STEPS)

    def test_a_broken_chain(self, long: DjangoCheckpointer) -> None:
        base = Session.objects.get().last_base_id
        Keyframe.objects.filter(pk=base).update(previous=None)
        self.read_all(long)

    def test_a_damaged_delta(self, long: DjangoCheckpointer) -> None:
        row = Step.objects.get(step=STEPS)
        row.state["messages"]["items"][0] = [0, 10**6]
        Step.objects.filter(step=STEPS).update(state=row.state)
        self.read_all(long)

    def test_a_damaged_keyframe(self, long: DjangoCheckpointer) -> None:
        base = Session.objects.get().last_base_id
        Keyframe.objects.filter(pk=base).update(state={"messages": {"version": 1, "items": [[]]}})
        self.read_all(long)

    def test_a_save_after_damage_is_whole(self, long: DjangoCheckpointer) -> None:
        base = Session.objects.get().last_base_id
        execute(
            connection, f"UPDATE {Keyframe._meta.db_table} SET state = '{{}}' WHERE id = {base}"
        )
        memory.clear()
        save(long, STEPS + 1)
        assert Step.objects.get(step=STEPS + 1).base_id is None


class TestMemory:
    def test_is_bounded(self, long: DjangoCheckpointer) -> None:
        newest = memory.get("default", "s").newest
        assert newest is not None
        small = ChainMemory(max_bytes=5 * newest.folded.memory_bytes)
        for number in range(50):
            small.set_newest("default", f"s{number}", newest, newest.get_chain_state())
        known = [number for number in range(50) if small.get("default", f"s{number}").newest]
        assert known == list(range(min(known), 50))
        assert 1 <= len(known) <= 5
        small.clear()
        assert small.get("default", "s49").newest is None

    def test_does_not_hold_what_is_larger_than_the_bound(self, long: DjangoCheckpointer) -> None:
        newest = memory.get("default", "s").newest
        assert newest is not None
        small = ChainMemory(max_bytes=1000)
        small.set_newest("default", "s", newest, newest.get_chain_state())
        assert small.get("default", "s").newest is None


def test_copied_ids_stay_in_their_range_and_order() -> None:
    for ids in ([2**62], [2**63 - 1, 2**62], [2**50, 2**49], [2**63 - 1, 2**50]):
        for _ in range(100):
            shift = generate_shift(ids)
            assert all(2**48 <= each + shift < 2**63 for each in ids)
