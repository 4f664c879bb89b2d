"""Random operations on sessions whose states are stored as changes, compared with a model."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from tests.builders import wrong_snapshots
from tests.service.random_states import RandomStates
from weavegraph_checkpoints import (
    Checkpoint,
    ConcurrencyConflict,
    SessionNotFound,
    StepExists,
    StepQuery,
    VersionedState,
    serde,
)
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.compaction import compact
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde.deltas import is_delta, planning

KEYFRAME = Keyframe._meta.db_table
OPERATIONS = 130
PROCESSES = 3


class Model:
    """Sessions by id, their states by step as JSON, and operations that change both sides."""

    def __init__(self, seed: int, settings: Any) -> None:
        self.chance = random.Random(seed)
        self.settings = settings
        self.states = RandomStates(self.chance)
        self.checkpointer = DjangoCheckpointer()
        self.sessions: dict[str, dict[int, bytes]] = {}
        self.processes: list[Any] = [({}, 0)] * PROCESSES
        self.process = 0
        self.names = 0
        self.refused_deletes = 0
        self.deltas = 0
        self.operations: list[tuple[Callable[[], None], int]] = [
            (self.save, 60),
            (self.save_from_latest, 15),
            (self.save_late, 5),
            (self.replace, 6),
            (self.save_checked, 6),
            (self.save_new_only, 4),
            (self.delete_newest, 5),
            (self.delete_some, 2),
            (self.write_whole, 4),
            (self.prune, 3),
            (self.fork, 5),
            (self.delete_session, 2),
            (self.delete_session_by_orm, 1),
            (self.roll_back, 5),
            (self.roll_back_to_savepoint, 5),
            (self.change_process, 12),
            (memory.clear, 3),
            (self.delete_keyframes, 8),
            (self.switch_mode, 2),
            (self.compact, 5),
        ]

    def run(self) -> None:
        operations, weights = zip(*self.operations, strict=True)
        for number in range(OPERATIONS):
            self.chance.choices(operations, weights)[0]()
            if number % 10 == 9:
                self.check()
        self.check()

    # Sessions and states

    def pick(self) -> str:
        """Return a session that has steps, or a new one."""
        if not self.sessions or (len(self.sessions) < 4 and self.chance.random() < 0.05):
            self.names += 1
            return f"session {self.names}"
        return self.chance.choice(list(self.sessions))

    def latest(self, session_id: str) -> VersionedState:
        steps = self.sessions.get(session_id)
        return serde.loads_state(steps[max(steps)]) if steps else VersionedState.new()

    def put(self, session_id: str, step: int, **options: Any) -> None:
        self.write(session_id, step, self.states.next(self.latest(session_id)), **options)

    def write(self, session_id: str, step: int, state: VersionedState, **options: Any) -> None:
        checkpoint = Checkpoint(
            session_id=session_id, step=step, state=state, frontier=["plan"], versions_seen={}
        )
        expected = options.pop("expected", None)
        self.checkpointer.save_with_concurrency_check(checkpoint, expected, **options)
        self.sessions.setdefault(session_id, {})[step] = serde.dumps_state(state)

    def next_step(self, session_id: str) -> int:
        steps = self.sessions.get(session_id)
        return max(steps) + self.chance.choice([1, 1, 1, 3]) if steps else 1

    # Operations

    def save(self) -> None:
        session_id = self.pick()
        for _ in range(self.chance.randint(1, 4)):
            self.put(session_id, self.next_step(session_id))

    def save_from_latest(self) -> None:
        session_id = self.pick()
        found = self.checkpointer.load_latest(session_id)
        state = VersionedState.new() if found is None else found.state
        self.write(session_id, self.next_step(session_id), self.states.next(state))

    def save_late(self) -> None:
        session_id = self.pick()
        self.put(session_id, self.chance.randrange(self.next_step(session_id)))

    def replace(self) -> None:
        session_id = self.pick()
        self.put(session_id, self.chance.choice(list(self.sessions.get(session_id, {1: b""}))))

    def save_checked(self) -> None:
        session_id = self.pick()
        last = max(self.sessions.get(session_id, {0: b""}))
        self.put(session_id, last + 1, expected=last)
        with pytest.raises(ConcurrencyConflict):
            self.put(session_id, last + 2, expected=last)

    def save_new_only(self) -> None:
        session_id = self.pick()
        step = self.next_step(session_id)
        self.put(session_id, step, replace=False)
        with pytest.raises(StepExists):
            self.put(session_id, step, replace=False)

    def delete_newest(self) -> None:
        session_id = self.pick()
        if steps := self.sessions.get(session_id):
            step = max(steps)
            Step.objects.filter(session=session_id, step=step).delete()
            self.drop(session_id, [step])

    def delete_some(self) -> None:
        session_id = self.pick()
        steps = list(self.sessions.get(session_id, {}))
        chosen = self.chance.sample(steps, len(steps) // 3)
        Step.objects.filter(session=session_id, step__in=chosen).delete()
        self.drop(session_id, chosen)

    def drop(self, session_id: str, steps: list[int]) -> None:
        for step in steps:
            del self.sessions[session_id][step]

    def write_whole(self) -> None:
        session_id = self.pick()
        if steps := self.sessions.get(session_id):
            step = self.chance.choice(list(steps))
            state = serde.dumps_state(self.states.next(self.latest(session_id)))
            Step.objects.filter(session=session_id, step=step).update(
                state=serde.loads_json(state), state_bytes=len(state)
            )
            steps[step] = state

    def prune(self) -> None:
        keep = self.chance.randint(1, 12)
        prune(RetentionPolicy(keep_last=keep), batch_size=self.chance.choice([1, 5, 1000]))
        for steps in self.sessions.values():
            for step in sorted(steps)[:-keep]:
                del steps[step]

    def fork(self) -> None:
        session_id = self.pick()
        steps = self.sessions.get(session_id)
        if not steps or len(self.sessions) > 6:
            return
        self.names += 1
        at_step = self.chance.choice([None, *steps])
        target = f"fork {self.names}"
        self.checkpointer.fork_session(session_id, target, at_step=at_step)
        limit = max(steps) if at_step is None else at_step
        self.sessions[target] = {step: state for step, state in steps.items() if step <= limit}

    def delete_session(self) -> None:
        session_id = self.pick()
        assert self.checkpointer.delete_session(session_id) is (session_id in self.sessions)
        self.sessions.pop(session_id, None)
        assert not Keyframe.objects.filter(session=session_id).exists()
        with pytest.raises(SessionNotFound):
            self.checkpointer.fork_session(session_id, "fork of nothing")

    def delete_session_by_orm(self) -> None:
        session_id = self.pick()
        Session.objects.filter(pk=session_id).delete()
        self.sessions.pop(session_id, None)
        assert not Keyframe.objects.filter(session=session_id).exists()

    def roll_back(self) -> None:
        before = {key: copy(steps) for key, steps in self.sessions.items()}
        with transaction.atomic():
            self.save()
            self.save()
            transaction.set_rollback(True)
        self.sessions = before

    def roll_back_to_savepoint(self) -> None:
        with transaction.atomic():
            self.save()
            self.roll_back()
            self.save()

    def change_process(self) -> None:
        """Continue with the memory of another process, which is outdated."""
        self.processes[self.process] = copy(memory._entries), memory._bytes
        self.process = self.chance.randrange(PROCESSES)
        entries, size = self.processes[self.process]
        memory._entries.clear()
        memory._entries.update(entries)
        memory._bytes = size

    def delete_keyframes(self) -> None:
        """Delete some keyframes by the ORM or SQL; the database refuses those that steps need."""
        keys = list(Keyframe.objects.values_list("pk", flat=True))
        chosen = self.chance.sample(keys, self.chance.randint(1, 3)) if len(keys) > 3 else keys
        chosen = self.chance.choice([chosen, keys, sorted(keys)[:1]])
        if not chosen:
            return
        try:
            with transaction.atomic():
                if self.chance.random() < 0.5:
                    Keyframe.objects.filter(pk__in=chosen).delete()
                else:
                    names = ", ".join(map(str, chosen))
                    with connection.cursor() as cursor:
                        cursor.execute(f"DELETE FROM {KEYFRAME} WHERE id IN ({names})")
        except IntegrityError:
            self.refused_deletes += 1

    def switch_mode(self) -> None:
        size = self.chance.choice([None, 0, 0, 0, 2000])
        self.settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": size}

    def compact(self) -> None:
        options = {
            "batch_size": self.chance.choice([1, 3, 1000]),
            "whole": self.chance.choice([True, False, False]),
        }
        counted = compact(**options, dry_run=True)
        assert counted == compact(**options)
        assert compact(**options).rewritten == 0

    # Checks

    def check(self) -> None:
        self.read()
        known = copy(memory._entries), memory._bytes
        memory.clear()
        self.read(by_step=True)
        memory.clear()
        memory._entries.update(known[0])
        memory._bytes = known[1]
        assert wrong_snapshots() == []
        for row in Step.objects.all():
            expected = self.sessions[row.session_id][row.step]
            assert serde.dumps_json(row.whole_state()).encode() == expected
            assert row.state_bytes == len(expected)
            self.deltas += is_delta(serde.dumps_json(row.state))

    def read(self, *, by_step: bool = False) -> None:
        for session_id, steps in self.sessions.items():
            page = self.checkpointer.query_steps(session_id, StepQuery(limit=1000))
            found = {each.step: serde.dumps_state(each.state) for each in page.checkpoints}
            assert found == steps
            latest = self.checkpointer.load_latest(session_id)
            assert (latest is None) == (not steps)
            if latest is not None:
                assert serde.dumps_state(latest.state) == steps[max(steps)]
            for step in self.chance.sample(sorted(steps), min(4, len(steps))):
                if by_step:
                    memory.clear()
                loaded = self.checkpointer.load(session_id, step)
                assert loaded is not None
                assert serde.dumps_state(loaded.state) == steps[step]


@pytest.fixture
def forget() -> Any:
    memory.clear()
    yield
    memory.clear()


@pytest.mark.usefixtures("committed", "forget")
@pytest.mark.parametrize("seed", range(6))
def test_random_operations(seed: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 300)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    if seed % 2:
        monkeypatch.setattr(planning, "MAX_IDLE_ROOTS", 2**31)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": 0}
    model = Model(seed, settings)
    model.run()
    assert model.refused_deletes > 0
    assert model.deltas > 0
